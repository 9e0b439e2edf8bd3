"""Armijo's rule of running means: how far a step may go that takes enough from the loss, on average over batches.

Used by `salsa`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from optaxaccel.numerics import loops

MOST_TRIALS = 100  # of a search; 0.8^100 is 2e-10


class Line(NamedTuple):
    """What a search looks along: from where, which way, what is known there, the first trial, and how it is cut."""

    params: Any
    direction: Any
    value: jax.Array
    decrease: jax.Array
    slope: jax.Array
    share: Any
    first: jax.Array
    cut: jax.Array


class Outcome(NamedTuple):
    """Where a search ended: the rate, whether it was accepted, what it took from the loss, and the trials."""

    rate: jax.Array
    passed: jax.Array
    fell: jax.Array
    trials: jax.Array


def search(loss: Callable, line: Line, b3: Any, searches: jax.Array) -> Outcome:
    """Return the first rate that is accepted, of the first one times powers of the cut.

    The search ends without one after `MOST_TRIALS`, and where less is asked than one rounding of the loss: what is
    measured there is the difference of two programs' roundings.
    """
    rounding = jnp.finfo(line.value.dtype).eps * jnp.abs(line.value)

    def again(state: Outcome) -> jax.Array:
        resolved = state.rate * line.share * line.slope >= rounding
        return searches & ~state.passed & resolved & (state.trials < MOST_TRIALS)

    def trial(state: Outcome) -> Outcome:
        moved = jax.tree.map(lambda p, d: (p - state.rate * d).astype(p.dtype), line.params, line.direction)
        fell = line.value - lax.stop_gradient(loss(moved)).astype(line.value.dtype)
        enough = b3 * line.decrease + (1 - b3) * fell >= state.rate * line.share * line.slope
        passed = enough | (fell == 0)
        rate = jnp.where(passed, state.rate, state.rate * line.cut).astype(state.rate.dtype)
        return Outcome(rate, passed, fell, state.trials + 1)

    none = jnp.zeros((), jnp.int32)
    return loops.while_loop(again, trial, Outcome(line.first, jnp.zeros((), bool), jnp.zeros_like(line.first), none))
