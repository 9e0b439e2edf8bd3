"""Faults to plant in a stand-in: ways to spoil its state, its update or its factory."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .standin import State, advance, aware, init_state, plain

# --- How a state is spoilt --------------------------------------------------------------------------------------------


def state_with(**fields: Callable[[Any], Any]):
    """Put other things into the state's fields, made from the parameters."""
    return lambda init, params: init(params)._replace(**{k: make(params) for k, make in fields.items()})


def needs_a_first_leaf(init, params):
    return init(params)._replace(count=jnp.zeros((), jnp.int32) * jax.tree.leaves(params)[0].dtype.itemsize)


def put_on_the_first_device(init, params):
    return jax.device_put(init(params), jax.devices()[0])


def share_a_counter(init, params):
    state = init(params)
    return state._replace(notfinite_count=state.count)


def log_zero(init, params):
    return Logged(init(params), jnp.zeros(()), zeros(params))


def zeros(params):
    return jax.tree.map(lambda p: jnp.zeros_like(p, dtype=p.dtype), params)


class Carrying(NamedTuple):
    """A good state with something else beside it."""

    inner: Any
    other: Any


def carrying(make: Callable[[], Any]) -> dict[str, Callable]:
    """Carry something along that the method does not use."""

    def update(own, grads, state, params=None, **extra):
        updates, inner = own(grads, state.inner, params, **extra)
        return updates, Carrying(inner, state.other)

    return {"init": lambda init, params: Carrying(init(params), make()), "update": update}


class Logged(NamedTuple):
    """Names a field `value`, but fills it with the loss of the old point."""

    inner: Any
    value: jax.Array
    grad: Any


def log_value(own, grads, state, params=None, *, value=None, grad=None, **extra):
    updates, inner = own(grads, state.inner, params, value=value, grad=grad, **extra)
    return updates, Logged(inner, value, grad)


# --- How an update is spoilt ------------------------------------------------------------------------------------------


def scaled(factor: Callable[[Any], Any]):
    """Multiply the step by `factor(gradient)`."""

    def update(own, grads, state, params=None, **extra):
        updates, state = own(grads, state, params, **extra)
        return jax.tree.map(lambda u: (factor(grads) * u).astype(u.dtype), updates), state

    return update


def cast(dtype):
    def update(own, grads, state, params=None, **extra):
        updates, state = own(grads, state, params, **extra)
        return jax.tree.map(lambda u: u.astype(dtype), updates), state

    return update


def keep_value(own, grads, state, params=None, *, value=None, **extra):
    updates, state = own(grads, state, params, value=value, **extra)
    return updates, state._replace(count=state.count + 0 * jnp.asarray(value))


def keep_gradient(own, grads, state, params=None, **extra):
    updates, state = own(grads, state, params, **extra)
    return updates, state._replace(velocity=grads)


def norm_of_each_leaf(own, grads, state, params=None, **extra):
    return own(jax.tree.map(lambda g: g / (1.0 + jnp.sum(g * g)), grads), state, params, **extra)


def square_without_conjugate(grads):
    return 1.0 / (1.0 + jnp.real(sum(jnp.sum(g * g) for g in jax.tree.leaves(grads))))


def ravelled_dot(grads):
    return 1.0 / (1.0 + sum(jnp.vdot(g.ravel(), g.ravel()) for g in jax.tree.leaves(grads)))


def host_noise(grads):
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    return 0.5 + jax.pure_callback(lambda: np.float32(random.random()), shape)


def device_number(grads):
    try:
        return 1.0 / (1 + jax.lax.axis_index("data"))
    except NameError:
        return 1.0


seen: list[Any] = []


def number_of_traces(grads):
    seen.append(grads)
    return 1.0 / len(seen)


def no_checks(own, grads, state, params=None, *, value_fn=None, **extra):
    """What a method does that calls `value_fn` by itself."""
    factor = jnp.sum(value_fn(params, extra["batch"])) / (1.0 + value_fn(params, extra["batch"]))
    state, updates = advance(state, grads, True, 0.3 * jnp.max(factor), 0.5)
    return updates, state


def broadcasts(own, grads, state, params=None, **extra):
    """What JAX does by itself."""
    return own(jax.tree.map(lambda g, p: jnp.broadcast_to(g, p.shape), grads, params), state, params, **extra)


def starts_anew(own, grads, state, params=None, **extra):
    return own(grads, state if isinstance(state, State) else init_state(params), params, **extra)


def ignores_params(own, grads, state, params=None, **extra):
    state, updates = advance(state, grads, True, 0.3 if params is None else 0.1, 0.5)
    return updates, state


def complains(own, grads, state, params=None, *, value_fn=None, **extra):
    if value_fn is None:
        raise ValueError("value_fn is missing")
    return own(grads, state, params, value_fn=value_fn, **extra)


def refuses_extras(own, grads, state, params=None, *, value=None, grad=None, value_fn=None, batch=None):
    return own(grads, state, params, value=value, value_fn=value_fn, batch=batch)


def hands_on_nothing(own, grads, state, params=None, *, value_fn=None, **extra):
    value_fn(params)
    return own(grads, state, params, value_fn=value_fn, **extra)


def uses_the_extra_gradient(own, grads, state, params=None, *, grad=None, **extra):
    return own(grad, state, params, **extra)


def keep_tracers(grads):
    seen.append(grads)
    return 1.0


def ignore_nonfinite(own, grads, state, params=None, **extra):
    state, updates = advance(state, grads, True, 0.3, 0.5)
    return updates, state


def hold_but_not_count(own, grads, state, params=None, **extra):
    updates, new = own(grads, state, params, **extra)
    return updates, new._replace(notfinite_count=state.notfinite_count)


def undocumented(learning_rate: optax.ScalarOrSchedule, *, momentum: float = 0.5):
    return optax.GradientTransformationExtraArgs(init_state, plain(learning_rate, momentum=momentum).update)


def unannotated(learning_rate: float):
    return plain(learning_rate)


def late_schedule(learning_rate: optax.ScalarOrSchedule):
    if callable(learning_rate):
        return plain(lambda count: learning_rate(count - 1))
    return plain(learning_rate)


def branches_on_number(learning_rate: optax.ScalarOrSchedule):
    return plain(learning_rate if callable(learning_rate) or learning_rate > 0 else 0.0)


def promoted_by_its_rate(learning_rate: optax.ScalarOrSchedule):
    tx = plain(learning_rate)

    def update(grads, state, params=None, **extra):
        updates, state = tx.update(grads, state, params, **extra)
        return jax.tree.map(lambda u: u * (1.0 if callable(learning_rate) else learning_rate), updates), state

    return optax.GradientTransformationExtraArgs(tx.init, update)


def positional(learning_rate, momentum=0.5):
    return aware(learning_rate, momentum=momentum)
