"""Deep linear network: a product of matrices, whose loss has saddle points and no bad minima."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn

from optaxaccel.models import layers
from optaxaccel.models.linen import from_linen
from optaxaccel.models.model import Model


class DeepLinear(nn.Module):
    """Flatten; matrices without biases, without nonlinearities."""

    classes: int
    hidden: tuple[int, ...]
    scale: float
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits."""
        x = x.reshape(x.shape[0], -1)
        for features in (*self.hidden, self.classes):
            x = layers.Dense(features, self.style, use_bias=False, kernel_scale=self.scale)(x)
        return x


def make(
    *,
    classes: int,
    hidden: Sequence[int] = (64, 64),
    scale: float = 1.0,
    dtype: Any = "float32",
    param_dtype: Any = "float32",
    initialiser: str = "glorot",
) -> Model:
    r"""Build a deep linear network.

    \[ f(x) = W_L \cdots W_2 W_1 x \]

    The origin W = 0 is a saddle point. With one hidden layer its Hessian has negative eigenvalues (a strict saddle);
    with two or more the Hessian vanishes there, and near it gradients are of the order scale^(L-1).

    Args:
      classes: number of classes.
      hidden: width of each hidden layer; L is one more than their number.
      scale: multiplies the initial matrices: 0 starts on the saddle point, 0.1 near it.
      dtype: dtype of the computation; the logits are float32.
      param_dtype: dtype of the parameters.
      initialiser: a key of `layers.INITIALISERS`; the default keeps the variance of a linear net in both directions
        (Glorot and Bengio 2010, eq. 16).

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.ones((1, 8, 8, 1))
      >>> model = make(classes=10, hidden=(5,), scale=0.0)
      >>> params, net_state = model.init(jax.random.key(0), x)
      >>> gradient = jax.grad(lambda p: model.apply(p, net_state, x)[0][0, 3])(params)
      >>> max(float(abs(g).max()) for g in jax.tree.leaves(gradient))
      0.0

    References:
      Baldi and Hornik, "Neural networks and principal component analysis", Neural Networks 2, 1989 (one hidden layer).
      Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
      networks", ICLR 2014.
      Kawaguchi, "Deep learning without poor local minima", NIPS 2016, theorem 2.3.
    """
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden={tuple(hidden)} has an empty layer; every hidden layer needs 1 unit or more.")
    return from_linen(DeepLinear(classes, tuple(hidden), scale, layers.style(dtype, param_dtype, initialiser)))
