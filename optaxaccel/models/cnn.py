"""The three-convolution network of the accelerated-CNN report."""

from typing import Any

import jax
from flax import linen as nn

from optaxaccel.models import layers
from optaxaccel.models.linen import from_linen
from optaxaccel.models.model import Model


class CNN(nn.Module):
    """Three times convolution, ReLU, 2x2 max-pool; then one dense layer."""

    classes: int
    channels: tuple[int, int, int]
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits."""
        for features, size in zip(self.channels, (5, 3, 3), strict=True):
            x = nn.relu(layers.Conv(features, size, self.style, pool=(2, 2))(x))
        return layers.Dense(self.classes, self.style)(x.reshape(x.shape[0], -1))


def make(
    *,
    classes: int,
    width: float = 1.0,
    dtype: Any = "float32",
    param_dtype: Any = "float32",
    initialiser: str = "torch",
) -> Model:
    """Build the 3-conv CNN.

    Convolution 5x5 to 32 channels, 3x3 to 64, 3x3 to 64, each with ReLU and 2x2 max-pool after it, and a dense layer.
    Convolutions keep the size (zero padding 2, 1, 1) and pools drop an odd last row, which is what the published
    parameter counts come from: 28x28x1 ends in 3x3x64 (62,026), 32x32x3 in 4x4x64 (68,106). 8x8 ends in 1x1x64.

    Args:
      classes: number of classes.
      width: multiplies the number of channels.
      dtype: dtype of the computation; the logits are float32.
      param_dtype: dtype of the parameters.
      initialiser: a key of `layers.INITIALISERS`. The report's code is PyTorch's with its default
        U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for kernels and biases.

    Example:
      >>> import jax.numpy as jnp
      >>> params, net_state = make(classes=10).init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
      >>> sum(p.size for p in jax.tree.leaves(params))
      62026

    References:
      Xiao, "Accelerated optimization methods on convolutional neural networks", course report 2019, section 5.

    Deviations:
      Bias and ReLU come after the pool, which commutes with both; a quarter of their work is left.
    """
    channels = layers.scaled(32, width), layers.scaled(64, width), layers.scaled(64, width)
    return from_linen(CNN(classes, channels, layers.style(dtype, param_dtype, initialiser)))
