"""The safeguard of Anderson's mean: an extrapolation that raised the loss is taken back."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.numerics import trees

HALVINGS = 3  # of an extrapolation that raised the loss, before a plain step is made instead


class AndersonGuard(NamedTuple):
    """What the safeguard of `anderson` remembers.

    Attributes:
      value: the loss at the last point taken; infinite before the first.
      jump: whether the step from there extrapolated.
      halved: how often that step was halved since, int32.
      pairs: older pairs that count, int32.
      rejected: extrapolations taken back, since they raised the loss, int32.
      backward: extrapolations not tried, since they opposed the gradient step, int32.
    """

    value: jax.Array
    jump: jax.Array
    halved: jax.Array
    pairs: jax.Array
    rejected: jax.Array
    backward: jax.Array


def fresh(dtype) -> AndersonGuard:
    """Return what is remembered before the first step."""
    zeros = [jnp.zeros((), jnp.int32) for _ in range(4)]
    return AndersonGuard(jnp.full((), jnp.inf, dtype), jnp.zeros((), bool), *zeros)


def rises(guard: AndersonGuard | None, value, finite: jax.Array) -> jax.Array:
    """Return whether the point just evaluated, a mean, is to be taken back; rounding of the loss is no rise."""
    if guard is None:
        return jnp.array(False)
    value = jnp.asarray(value, guard.value.dtype)
    slack = 8 * jnp.finfo(jnp.result_type(value, jnp.float32)).eps * jnp.abs(guard.value)
    return guard.jump & ~(finite & (value <= guard.value + slack))


def turned_forward(moves, gradient, coefficients, rate):
    """Return the step, a plain one where the mean opposes that, its coefficients, and whether it did not."""
    forward = trees.vdot(moves, gradient) < 0
    newest = jnp.zeros_like(coefficients).at[0].set(1.0)
    forward = forward | jnp.all(coefficients == newest)
    moves = jax.tree.map(lambda u, g: jnp.where(forward, u, (-rate * g).astype(u.dtype)), moves, gradient)
    return moves, jnp.where(forward, coefficients, newest), forward


def taken_back(moves, params, base, back: jax.Array, halved: jax.Array):
    """Return the step, where a mean is taken back half of the way to the last point, or a plain step from there."""
    iterate, gradient, rate = base

    def leaf(u, p, x, g):
        aim = jnp.where(halved < HALVINGS, (x - p) / 2, x - rate * g - p)
        return jnp.where(back, aim, u).astype(u.dtype)

    return jax.tree.map(leaf, moves, params, iterate, gradient)


def remember(guard: AndersonGuard, value, coefficients, taken: jax.Array, back: jax.Array, forward: jax.Array):
    """Return the guard after a step that was taken, was taken back, or was neither, not being finite."""
    leap = jnp.any(coefficients[1:] != 0)
    again = guard.jump & (guard.halved < HALVINGS)
    pairs = jnp.where(forward, optax.safe_increment(guard.pairs), 1)
    return AndersonGuard(
        value=jnp.where(taken, jnp.asarray(value, guard.value.dtype), guard.value),
        jump=jnp.where(taken, leap, jnp.where(back, again, guard.jump)),
        halved=jnp.where(taken, 0, guard.halved + back),
        pairs=jnp.where(taken, pairs, guard.pairs),
        rejected=guard.rejected + back,
        backward=guard.backward + (taken & ~forward),
    )
