"""AlexNet."""

from typing import Any

import jax
from flax import linen as nn

from optaxaccel.models import layers
from optaxaccel.models.linen import from_linen
from optaxaccel.models.model import Model


class AlexNet(nn.Module):
    """Five convolutions, three of them followed by overlapping pools; then three dense layers with dropout."""

    classes: int
    width: float
    dropout: float
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits."""

        def conv(features, size, **geometry):
            return layers.Conv(layers.scaled(features, self.width), size, self.style, **geometry)

        x = nn.relu(conv(64, 11, stride=4, padding=2, pool=(3, 2))(x))
        x = nn.relu(conv(192, 5, bias_start=1.0, pool=(3, 2))(x))
        x = nn.relu(conv(384, 3)(x))
        x = nn.relu(conv(256, 3, bias_start=1.0)(x))
        x = nn.relu(conv(256, 3, bias_start=1.0, pool=(3, 2))(x))
        x = x.reshape(x.shape[0], -1)
        for _ in range(2):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = nn.relu(layers.Dense(layers.scaled(4096, self.width), self.style, bias_start=1.0)(x))
        return layers.Dense(self.classes, self.style)(x)


def make(
    *,
    classes: int,
    width: float = 1.0,
    dropout: float = 0.5,
    dtype: Any = "float32",
    param_dtype: Any = "float32",
    initialiser: str = "normal",
) -> Model:
    """Build AlexNet in its one-tower form.

    Args:
      classes: number of classes.
      width: multiplies the number of channels and of hidden units.
      dropout: share of the inputs of both hidden dense layers that is dropped in training, in [0, 1); 0.5 as in the
        paper, section 4.2.
      dtype: dtype of the computation; the logits are float32.
      param_dtype: dtype of the parameters.
      initialiser: a key of `layers.INITIALISERS`. The paper (section 5) draws from N(0, 0.01^2) and starts the biases
        of convolutions 2, 4, 5 and of the hidden dense layers at 1, the others at 0.

    Example:
      >>> import jax.numpy as jnp
      >>> images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
      >>> params, net_state = jax.eval_shape(make(classes=1000).init, jax.random.key(0), images)
      >>> sum(p.size for p in jax.tree.leaves(params))
      61100840

    References:
      Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", NIPS 2012.
      Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997 (one tower).

    Deviations:
      As in torchvision: one tower of 64, 192, 384, 256, 256 channels, and no local response normalisation.
      Bias and ReLU come after the pool, which commutes with both.
    """
    layers.check_dropout(dropout)
    return from_linen(AlexNet(classes, width, dropout, layers.style(dtype, param_dtype, initialiser)))
