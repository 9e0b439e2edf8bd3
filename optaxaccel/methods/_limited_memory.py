"""Directions of L-BFGS: the inverse Hessian as a product of the last few pairs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import flat


class LimitedMemoryState(NamedTuple):
    """State of the direction of `lbfgs`; vectors hold all parameters, complex ones as two reals.

    Attributes:
      count: updates made, int32.
      notfinite_count: updates held still because the gradient or the loss was not finite, int32.
      pairs: pairs stored so far, int32.
      steps: ring of the steps, shape (memory_size, n).
      changes: ring of the changes of the gradient over them, shape (memory_size, n).
      last_params: the parameters of the last update, shape (n,).
      last_gradient: the gradient there, shape (n,).
    """

    count: jax.Array
    notfinite_count: jax.Array
    pairs: jax.Array
    steps: jax.Array
    changes: jax.Array
    last_params: jax.Array
    last_gradient: jax.Array


def scale_by_limited_memory(memory_size: int) -> optax.GradientTransformationExtraArgs:
    """Multiply the gradient by the inverse Hessian of L-BFGS; `update` needs `params`."""
    contract.check_count("memory_size", memory_size, "it is the number of pairs kept")

    def init(params: optax.Params) -> LimitedMemoryState:
        n, dtype = flat.real_size(params), flat.real_dtype(params)
        counts = [jnp.zeros((), jnp.int32) for _ in range(3)]
        shapes = [(memory_size, n), (memory_size, n), (n,), (n,)]
        return LimitedMemoryState(*counts, *(jnp.zeros(shape, dtype) for shape in shapes))

    def update(updates, state, params=None, *, value=None, **extra):
        del extra
        contract.require_params("lbfgs", params)
        x = flat.flatten(params)
        g = flat.flatten(updates).astype(x.dtype)  # gradients may be summed in a wider dtype than the state has
        finite = contract.step_is_finite(g, value)
        s, y = x - state.last_params, g - state.last_gradient
        learn = finite & (state.count > 0) & (jnp.dot(s, y) > 0)
        slot = state.pairs % memory_size
        steps, changes = (
            ring.at[slot].set(jnp.where(learn, new, ring[slot])) for ring, new in ((state.steps, s), (state.changes, y))
        )
        new = LimitedMemoryState(
            count=state.count + finite,
            notfinite_count=state.notfinite_count + ~finite,
            pairs=state.pairs + learn,
            steps=steps,
            changes=changes,
            last_params=jnp.where(finite, x, state.last_params),
            last_gradient=jnp.where(finite, g, state.last_gradient),
        )
        direction = apply_pairs(jnp.where(finite, g, 0.0), new.steps, new.changes, new.pairs)
        return flat.unflatten(direction, updates), new

    return contract.transformation("lbfgs", LimitedMemoryState, init, update)


@jax.jit  # outside of jax.jit a scan compiles at every call
def apply_pairs(
    gradient: jax.Array, steps: jax.Array, changes: jax.Array, pairs: jax.Array, free: jax.Array | None = None
) -> jax.Array:
    """Return the product of the inverse Hessian with a vector, by two loops over the pairs.

    Args:
      gradient: the vector, shape (n,).
      steps: ring of steps, shape (m, n).
      changes: ring of changes of the gradient, shape (m, n).
      pairs: how many were stored.
      free: 1 where a variable may move, 0 elsewhere; the pairs are cut down to the free ones. None: all may.
    """
    memory = steps.shape[0]
    if free is not None:
        steps, changes, gradient = steps * free[None, :], changes * free[None, :], gradient * free
    inner = jnp.sum(steps * changes, axis=1)
    newest_first = (pairs - 1 - jnp.arange(memory)) % memory
    usable = (jnp.arange(memory) < pairs) & (inner[newest_first] > 0)
    rho = jnp.where(usable, 1.0 / jnp.where(usable, inner[newest_first], 1.0), 0.0)

    def down(q, turn):
        k, weight = turn
        alpha = weight * jnp.dot(steps[k], q)
        return q - alpha * changes[k], alpha

    def up(r, turn):
        k, weight, alpha = turn
        return r + (alpha - weight * jnp.dot(changes[k], r)) * steps[k], None

    q, alphas = jax.lax.scan(down, gradient, (newest_first, rho))
    last = newest_first[jnp.argmax(usable)]
    square = jnp.dot(changes[last], changes[last])
    size = jnp.where(jnp.any(usable), inner[last] / jnp.where(square > 0, square, 1.0), 1.0)
    return jax.lax.scan(up, size * q, (newest_first, rho, alphas), reverse=True)[0]
