"""Multinomial logistic regression: what a model needs at least."""

import jax
import jax.numpy as jnp

from optaxaccel.models.model import Model


def make(*, classes: int, scale: float = 0.0) -> Model:
    """Build the regression.

    Args:
      classes: number of classes.
      scale: standard deviation of the initial weights.

    Example:
      >>> params, net_state = make(classes=10).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
      >>> sum(p.size for p in jax.tree.leaves(params))
      650
    """

    def init(key, x):
        weights = scale * jax.random.normal(key, (x[0].size, classes))
        return {"weights": weights, "bias": jnp.zeros(classes)}, {}

    def apply(params, net_state, x, *, key=None, train=False):
        del key, train
        return x.reshape(x.shape[0], -1) @ params["weights"] + params["bias"], net_state

    return Model(init, apply)
