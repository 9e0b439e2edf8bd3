"""A search along arcs that bend at the walls of a box: Wolfe's weak conditions, by doubling and halving.

Used by the search inside bounds.

The decrease is compared with what the arc itself promises (Bertsekas, "On the Goldstein-Levitin-Polyak gradient
projection method", 1976), and a step is lengthened while the arc descends nearly as it did at its start (Lewis and
Overton, "Nonsmooth optimization via quasi-Newton methods", 2013). Without walls the pair then has a positive curvature.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics.line_search.rule import Rule, Verdict

LONGEST = 12  # trials behind the first one that decreases the loss; then that is good enough


class ArcState(NamedTuple):
    """The next trial and its verdict, the start of the arc, and the interval in which to look.

    Attributes:
      step: the next trial.
      verdict: of the last trial.
      origin_value: the loss at the start.
      origin_slope: the slope there.
      low: the longest step that decreases the loss and is too short, 0 before there is one.
      high: the shortest step that does not decrease it, infinite before there is one.
      longer: trials since `low` is above 0, int32.
    """

    step: jax.Array
    verdict: jax.Array
    origin_value: jax.Array
    origin_slope: jax.Array
    low: jax.Array
    high: jax.Array
    longer: jax.Array


def arc(*, decrease: float = 1e-4, curvature: float = 0.9, dtype: Any = None) -> Rule:
    """Return the rule; slopes are pairs: the promised change of the loss over the step, and the arc's slope there.

    Args:
      decrease: c of f(x(a)) <= f(0) + c g'(x(a) - x(0)).
      curvature: the share of the first slope at which the arc no longer descends as it did.
      dtype: in which the losses were rounded; None is that in which they come.
    """

    def start(value: jax.Array, slopes: jax.Array, first: jax.Array) -> ArcState:
        verdict = jnp.where((slopes[1] < 0) & (first > 0), int(Verdict.SEARCHING), int(Verdict.FAILED))
        far = jnp.full_like(first, jnp.inf)
        return ArcState(first, verdict, value, slopes[1], jnp.zeros_like(first), far, jnp.zeros((), jnp.int32))

    def advance(s: ArcState, value: jax.Array, slopes: jax.Array) -> ArcState:
        a, promised, slope = s.step, s.step * slopes[0], slopes[1]
        good = jnp.isfinite(value) & jnp.all(jnp.isfinite(slopes))
        # Rounding, of a sum say, hides the last decreases; it does not hide that the slope becomes less.
        rounding = 100 * jnp.finfo(dtype or value.dtype).eps * jnp.abs(s.origin_value)
        flat = (value <= s.origin_value + rounding) & (jnp.abs(slope) < curvature * jnp.abs(s.origin_slope))
        lower = (value <= s.origin_value + decrease * promised) & (value < s.origin_value)
        enough = good & (promised < 0) & (lower | flat)
        descends = (slope < curvature * s.origin_slope) & (value < s.origin_value)
        accepted = enough & (~descends | (s.longer >= LONGEST))
        low = jnp.where(enough & descends, a, s.low)
        high = jnp.where(enough, s.high, a)
        longer = s.longer + (low > 0)

        flatter = slope - s.origin_slope  # where a parabola through both slopes has its minimum
        ahead = jnp.where(flatter > 0, -s.origin_slope / jnp.where(flatter > 0, flatter, 1.0), 4.0)
        ahead = a * jnp.clip(ahead, 2.0, 4.0)
        bend = 2.0 * (value - s.origin_value - promised)  # of the parabola with this value and the slope at the start
        share = jnp.where(bend > 0, -promised / jnp.where(bend > 0, bend, 1.0), 0.5)
        back = a * jnp.where(good, jnp.clip(share, 0.1, 0.5), 0.1)
        between = 0.5 * (low + jnp.where(jnp.isfinite(high), high, low))
        following = jnp.where(jnp.isinf(high), ahead, jnp.where(low > 0, between, back))
        following = jnp.where((low > 0) & (longer >= LONGEST), low, following)  # to be accepted
        verdict = jnp.where(accepted, int(Verdict.ACCEPTED), int(Verdict.SEARCHING))
        return ArcState(following, verdict, s.origin_value, s.origin_slope, low, high, longer)

    return Rule(start, advance)
