"""Two faultless methods, and cards of them in which faults can be planted."""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel import Card, Cost
from optaxaccel.methods import contract


class State(NamedTuple):
    """Heavy ball's."""

    count: jax.Array
    notfinite_count: jax.Array
    velocity: Any

    def eval_params(self, params):
        return jax.tree.map(lambda p, v: (p + 0.1 * v).astype(p.dtype), params, self.velocity)


def init_state(params) -> State:
    zeros = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=p.dtype), params)
    return State(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), zeros)


def advance(state, updates, finite, rate, momentum):
    velocity = jax.tree.map(
        lambda v, g: jnp.where(finite, (momentum * v - rate * g).astype(v.dtype), v), state.velocity, updates
    )
    count = jnp.where(finite, optax.safe_increment(state.count), state.count)
    bad = jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count))
    return State(count, bad, velocity), jax.tree.map(lambda v: jnp.where(finite, v, jnp.zeros_like(v)), velocity)


def plain(learning_rate: optax.ScalarOrSchedule, *, momentum: optax.ScalarOrSchedule = 0.5):
    """Heavy ball, which looks at the gradient only; `optax.apply_if_finite` guards it."""

    def update(updates, state, params=None, *, value=None, **extra):
        finite = jnp.all(jnp.isfinite(jnp.asarray(0.0 if value is None else value)))
        rate, decay = contract.at_step(learning_rate, state.count), contract.at_step(momentum, state.count)
        state, updates = advance(state, updates, finite, rate, decay)
        return updates, state

    return contract.transformation("plain", State, init_state, update)


def aware(learning_rate: optax.ScalarOrSchedule, *, momentum: optax.ScalarOrSchedule = 0.5, trials: int = 1):
    """Heavy ball that stands still where its step does not lower the loss."""

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        contract.require_params("aware", params)
        loss, initial = contract.bind_value_fn("aware", value_fn, extra), value
        finite = contract.step_is_finite(updates, initial)
        rate, decay = contract.at_step(learning_rate, state.count), contract.at_step(momentum, state.count)
        state, step = advance(state, updates, finite, rate, decay)
        for _ in range(trials):
            falls = jnp.isfinite(loss(optax.apply_updates(params, step)))
            step = jax.tree.map(lambda s: jnp.where(falls, s, jnp.zeros_like(s)), step)  # noqa: B023
        return step, state

    return contract.transformation("aware", State, init_state, update, sees_loss=True)


def card(make=aware, init=None, update=None, **changes) -> Card:
    """The card of a stand-in, after `init(init, params)` or `update(update, *args, **extra)` was put around its own."""

    def factory(*args, **kwargs):
        tx = make(*args, **kwargs)
        new_init = tx.init if init is None else lambda params: init(tx.init, params)
        new_update = tx.update if update is None else lambda *a, **k: update(tx.update, *a, **k)
        return optax.GradientTransformationExtraArgs(new_init, new_update)

    factory.__signature__, factory.__annotations__ = inspect.signature(make), make.__annotations__
    factory.__doc__ = make.__doc__
    good = Card(
        name=f"{make.__name__}",
        make=make if init is update is None else factory,
        paper="Polyak 1964, heavy ball",
        example={"learning_rate": 0.3},
        cost=Cost(values=float(make is aware)),
        state_copies=1.0,
        static_args=("trials",) if make is aware else (),
    )
    return good._replace(**changes)
