"""The loss along a line, for plots of what a search sees."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import trees

__all__ = ["line_profile"]


def line_profile(
    value_fn: contract.ValueFn,
    params: optax.Params,
    direction: optax.Updates,
    distances: jax.typing.ArrayLike,
    **data: Any,
) -> jax.Array:
    r"""Evaluate the loss along a line, for plots of what PAL approximates.

    Example:
      >>> loss = lambda w: w**2
      >>> line_profile(loss, jnp.array(3.0), jnp.array(-6.0), jnp.array([0.0, 1.0, 3.0])).tolist()
      [9.0, 4.0, 0.0]

    .. math:: l(s) = f(\theta + s\, d / \lVert d \rVert)

    with f = `value_fn`, :math:`\theta` = `params`, d = `direction`, s each of `distances`. The direction is normalised,
    so that the distances are those of `measuring_step_size` and of the states' `step_size`; a zero direction gives the
    loss at `params` everywhere.

    Args:
      value_fn: the loss, called as `value_fn(params, **data)`.
      params: the point on the line where s = 0.
      direction: a tree like `params`, for example the negative momentum of `PalState`.
      distances: array of any shape, in units of the parameters.
      **data: the keyword arguments that `value_fn` names.

    Returns:
      The losses, in the shape of `distances`.

    References:
      Mutschler and Zell, 2019, Eq. 1 and Fig. 5.

    Costs:
      One loss a distance, one after the other (`jax.lax.map`), so that memory stays that of a single evaluation.
    """
    loss = contract.bind_value_fn("line_profile", value_fn, data)
    norm = trees.norm(direction)
    length = jnp.where(norm > 0, norm, jnp.inf)
    distances = jnp.asarray(distances, trees.accumulation_dtype())
    losses = jax.lax.map(lambda s: loss(trees.add_scaled(params, s / length, direction)), distances.ravel())
    return losses.reshape(distances.shape)
