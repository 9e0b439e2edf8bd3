"""Multilayer perceptron."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn

from optaxaccel.models import layers
from optaxaccel.models.linen import from_linen
from optaxaccel.models.model import Model


class MLP(nn.Module):
    """Flatten, then dense layers with ReLU between them."""

    classes: int
    hidden: tuple[int, ...]
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits."""
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = nn.relu(layers.Dense(width, self.style)(x))
        return layers.Dense(self.classes, self.style)(x)


def make(
    *,
    classes: int,
    hidden: Sequence[int] = (128,),
    dtype: Any = "float32",
    param_dtype: Any = "float32",
    initialiser: str = "he",
) -> Model:
    """Build a perceptron with ReLU.

    Args:
      classes: number of classes.
      hidden: width of each hidden layer; empty for logistic regression.
      dtype: dtype of the computation; the logits are float32.
      param_dtype: dtype of the parameters.
      initialiser: a key of `layers.INITIALISERS`; the default keeps the variance through ReLU (He et al. 2015,
        eq. 10). Biases start at 0.

    Example:
      >>> import jax.numpy as jnp
      >>> params, net_state = make(classes=10).init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
      >>> sum(p.size for p in jax.tree.leaves(params))
      101770
    """
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden={tuple(hidden)} has an empty layer; every hidden layer needs 1 unit or more.")
    return from_linen(MLP(classes, tuple(hidden), layers.style(dtype, param_dtype, initialiser)))
