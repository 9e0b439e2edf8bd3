"""SGD with momentum as a base of other methods: m <- mu m + g, and a step of -gamma m.

Unlike `optax.sgd` it keeps its state where the loss is not finite, and its momentum may be a schedule.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import trees


class SgdState(NamedTuple):
    """State of `heavy_ball`.

    Attributes:
      count: updates made, int32.
      velocity: a tree like the parameters.
    """

    count: jax.Array
    velocity: optax.Updates


def heavy_ball(
    method: str, learning_rate: optax.ScalarOrSchedule, momentum: optax.ScalarOrSchedule
) -> optax.GradientTransformationExtraArgs:
    """SGD as in optax, except that a loss which is not finite leaves its state alone; `method` is whose base it is."""

    def init(params: optax.Params) -> SgdState:
        contract.check_params(method, params)
        return SgdState(jnp.zeros((), jnp.int32), trees.zeros_like(params))

    def update(updates, state, params=None, *, value=None, **extra):
        del params, extra
        finite = contract.loss_is_finite(value)
        rate, share = (contract.at_step(number, state.count) for number in (learning_rate, momentum))
        velocity = jax.tree.map(
            lambda v, g: jnp.where(finite, share * v + g, v).astype(v.dtype), state.velocity, updates
        )
        updates = jax.tree.map(lambda v: (-rate * v).astype(v.dtype), velocity)
        count = jnp.where(finite, optax.safe_increment(state.count), state.count)
        return updates, SgdState(count, velocity)

    return contract.transformation(method, SgdState, init, update)
