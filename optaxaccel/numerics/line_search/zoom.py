"""Doubling and zooming, the textbook search for the strong Wolfe conditions.

Nocedal and Wright, "Numerical optimization", 2006, Algorithms 3.5 and 3.6.

Used by `strong_wolfe`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics.line_search.interpolation import cubic_one_slope, parabola_one_slope
from optaxaccel.numerics.line_search.rule import Rule, Verdict

CUBIC_MARGIN = 0.2  # a cubic's minimum must stay so far from the ends, as a share of the interval
PARABOLA_MARGIN = 0.1


class ZoomState(NamedTuple):
    """An interval whose low end is the best point that satisfies the first condition.

    Attributes:
      step: the next trial.
      verdict: a `Verdict`.
      origin_value, origin_slope: the start of the line.
      low, low_value, low_slope: the low end; while steps are doubled, the last trial.
      high, high_value: the other end.
      old, old_value: the end that was dropped last, for a cubic.
      zooming: whether there is an interval yet.
      turns: turns in this stage.
    """

    step: jax.Array
    verdict: jax.Array
    origin_value: jax.Array
    origin_slope: jax.Array
    low: jax.Array
    low_value: jax.Array
    low_slope: jax.Array
    high: jax.Array
    high_value: jax.Array
    old: jax.Array
    old_value: jax.Array
    zooming: jax.Array
    turns: jax.Array


def zoom(*, decrease: float, curvature: float, max_turns: int = 10) -> Rule:
    """Return the rule.

    Args:
      decrease: c1 of f(a) <= f(0) + c1 a f'(0).
      curvature: c2 of |f'(a)| <= c2 |f'(0)|.
      max_turns: doublings at most, and as many trials in the interval and one more.
    """

    def start(value: jax.Array, slope: jax.Array, first: jax.Array) -> ZoomState:
        zero = jnp.zeros_like(first)
        verdict = jnp.where((first > 0) & (slope < 0), int(Verdict.SEARCHING), int(Verdict.FAILED))
        none, turns = jnp.zeros((), bool), jnp.zeros((), jnp.int32)
        return ZoomState(first, verdict, value, slope, zero, value, slope, zero, value, zero, value, none, turns)

    def advance(s: ZoomState, value: jax.Array, slope: jax.Array) -> ZoomState:
        value = jnp.where(jnp.isfinite(value) & jnp.isfinite(slope), value, jnp.inf)
        above = value > s.origin_value + decrease * s.step * s.origin_slope
        good = ~above & (jnp.abs(slope) <= -curvature * s.origin_slope)
        cut = jax.tree.map(
            lambda a, b: jnp.where(s.zooming, a, b), _cut(s, value, slope, above), _double(s, value, slope, above)
        )
        last = jnp.where(cut.zooming, cut.turns > max_turns, cut.turns >= max_turns)
        accepted = good & ~(_no_progress(s, value) & (s.zooming | (s.turns > 0)))
        verdict = jnp.where(last, int(Verdict.FAILED), int(Verdict.SEARCHING))
        return cut._replace(verdict=jnp.where(accepted, int(Verdict.ACCEPTED), verdict))

    return Rule(start, advance)


def _no_progress(s: ZoomState, value: jax.Array) -> jax.Array:
    return value >= s.low_value


def _double(s: ZoomState, value: jax.Array, slope: jax.Array, above: jax.Array) -> ZoomState:
    """Find an interval: the trial ends it, or the next one is twice as far."""
    ends = above | (_no_progress(s, value) & (s.turns > 0))  # between the last trial and this one
    returns = ~ends & (slope >= 0)  # between this trial, which is lower, and the last one
    low, low_value, low_slope = (
        jnp.where(ends, a, b) for a, b in ((s.low, s.step), (s.low_value, value), (s.low_slope, slope))
    )
    interval = s._replace(
        low=low,
        low_value=low_value,
        low_slope=low_slope,
        high=jnp.where(ends, s.step, s.low),
        high_value=jnp.where(ends, value, s.low_value),
        old=jnp.zeros_like(s.old),
        old_value=s.origin_value,
        zooming=ends | returns,
        turns=jnp.where(ends | returns, 0, s.turns + 1),
    )
    return interval._replace(step=jnp.where(interval.zooming, _inside(interval), 2.0 * s.step))


def _cut(s: ZoomState, value: jax.Array, slope: jax.Array, above: jax.Array) -> ZoomState:
    """Make the trial an end of the interval."""
    worse = above | _no_progress(s, value)
    flips = ~worse & (slope * (s.high - s.low) >= 0)
    keeps = ~worse & ~flips  # the high end stays, so the low one is dropped
    interval = s._replace(
        low=jnp.where(worse, s.low, s.step),
        low_value=jnp.where(worse, s.low_value, value),
        low_slope=jnp.where(worse, s.low_slope, slope),
        high=jnp.where(worse, s.step, jnp.where(flips, s.low, s.high)),
        high_value=jnp.where(worse, value, jnp.where(flips, s.low_value, s.high_value)),
        old=jnp.where(keeps, s.low, s.high),
        old_value=jnp.where(keeps, s.low_value, s.high_value),
        turns=s.turns + 1,
    )
    return interval._replace(step=_inside(interval))


def _inside(s: ZoomState) -> jax.Array:
    """Return the next trial: the minimum of a cubic, or of a parabola, or the middle."""
    width = jnp.maximum(s.high - s.low, 0.0)  # SciPy's margins hold where the low end is the left one
    left, right = jnp.minimum(s.low, s.high), jnp.maximum(s.low, s.high)

    def usable(x: jax.Array, margin: float) -> jax.Array:
        return jnp.isfinite(x) & (x > left) & (x < right) & (x >= left + margin * width) & (x <= right - margin * width)

    cubic = cubic_one_slope(s.low, s.low_value, s.low_slope, s.high, s.high_value, s.old, s.old_value)
    parabola = parabola_one_slope(s.low, s.low_value, s.low_slope, s.high, s.high_value)
    middle = s.low + 0.5 * (s.high - s.low)
    step = jnp.where(usable(parabola, PARABOLA_MARGIN), parabola, middle)
    return jnp.where((s.turns > 0) & usable(cubic, CUBIC_MARGIN), cubic, step)
