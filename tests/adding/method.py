r"""Gradient descent: what a method needs at least."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods.contract import Card

__all__ = ["ToyState", "toy"]


class ToyState(NamedTuple):
    """State of `toy`.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
    """

    count: jax.Array
    notfinite_count: jax.Array


def toy(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformationExtraArgs:
    r"""Step against the gradient.

    Example:
      Half of the way to the minimum:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.toy(0.5)
      >>> updates, state = tx.update(jnp.array(2.0), tx.init(jnp.array(2.0)), jnp.array(2.0))
      >>> float(updates)
      -1.0

    .. math::

        x_{t+1} = x_t - \gamma g_t

    with :math:`\gamma` = `learning_rate` and :math:`g_t` the updates handed in.

    Args:
      learning_rate: :math:`\gamma` >= 0, or a schedule of it.

    Returns:
      A transformation.

    References:
      Cauchy, "Methode generale pour la resolution des systemes d'equations simultanees", 1847.

    Deviations:
      A step whose `value`, if given, is not finite moves nothing and is not counted. The gradient is not looked at:
      `optax.apply_if_finite` does that.
    """
    contract.check_learning_rate(learning_rate)

    def init(params: optax.Params) -> ToyState:
        del params
        return ToyState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, value=None, **extra):
        del params, extra
        finite = contract.loss_is_finite(value)
        rate = contract.at_step(learning_rate, state.count)
        updates = jax.tree.map(lambda g: jnp.where(finite, -rate * g, 0).astype(g.dtype), updates)
        return updates, ToyState(
            count=jnp.where(finite, optax.safe_increment(state.count), state.count),
            notfinite_count=jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count)),
        )

    return contract.transformation("toy", ToyState, init, update)


CARD = Card(name="toy", make=toy, paper="Cauchy, Comptes Rendus, 1847", example={"learning_rate": 0.5})
