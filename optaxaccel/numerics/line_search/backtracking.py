"""Backtracking for arcs: only the first condition of Wolfe, with the decrease that the arc itself promises.

Bertsekas, "On the Goldstein-Levitin-Polyak gradient projection method", 1976.

Used by the search inside bounds.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics.line_search.rule import Rule, Verdict


class BacktrackingState(NamedTuple):
    """The next trial, the start of the arc and its verdict."""

    step: jax.Array
    verdict: jax.Array
    origin_value: jax.Array


def backtracking(*, decrease: float = 1e-4, dtype: Any = None) -> Rule:
    """Return the rule; `slope` at a trial is the promised change of the loss, divided by the step.

    Args:
      decrease: c of f(x(a)) <= f(0) + c g'(x(a) - x(0)).
      dtype: in which the losses were rounded; None is that in which they come.
    """

    def start(value: jax.Array, slope: jax.Array, first: jax.Array) -> BacktrackingState:
        verdict = jnp.where((slope < 0) & (first > 0), int(Verdict.SEARCHING), int(Verdict.FAILED))
        return BacktrackingState(first, verdict, value)

    def advance(s: BacktrackingState, value: jax.Array, slope: jax.Array) -> BacktrackingState:
        good = jnp.isfinite(value) & jnp.isfinite(slope)
        promised = s.step * slope
        rounding = 2 * jnp.finfo(dtype or value.dtype).eps * jnp.abs(s.origin_value)  # hides the last decreases
        accepted = good & (promised < 0) & (value <= s.origin_value + decrease * promised + rounding)
        bend = 2.0 * (value - s.origin_value - promised)  # of the parabola with this slope at the start
        share = jnp.where(bend > 0, -promised / jnp.where(bend > 0, bend, 1.0), 0.5)
        share = jnp.where(good, jnp.clip(share, 0.1, 0.5), 0.1)
        verdict = jnp.where(accepted, int(Verdict.ACCEPTED), int(Verdict.SEARCHING))
        return BacktrackingState(s.step * share, verdict, s.origin_value)

    return Rule(start, advance)
