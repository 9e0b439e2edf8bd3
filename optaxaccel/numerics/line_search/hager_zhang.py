"""The search of Hager and Zhang, whose test works where losses no longer differ in floating point.

Used by the Wolfe search of full-batch methods.

Hager and Zhang, "A new conjugate gradient method with guaranteed descent and an efficient line search", 2005, section
4, and "Algorithm 851: CG_DESCENT", 2006, section 4.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics.line_search.rule import Rule, Verdict

GROWTH = 5.0  # rho: while no minimum is bracketed, the next trial is so much farther
SHRINKAGE = 0.66  # gamma: an interval that two secants leave longer is bisected
EXPANDING, FIRST_SECANT, SECOND_SECANT, BISECTION = range(4)


class HagerZhangState(NamedTuple):
    """An interval with a falling loss at its low end and a rising one, or a higher one, at its high end.

    Attributes:
      step: the next trial.
      verdict: a `Verdict`.
      origin_value, origin_slope: the start of the line.
      low, low_slope: the low end and the slope there.
      high, high_slope: the other end; infinite while there is none.
      old_low, old_low_slope, old_high, old_high_slope: the interval before the first secant.
      stage: which trial this is: EXPANDING, FIRST_SECANT, SECOND_SECANT or BISECTION.
      halving: whether an end is too high, and is brought down first (U3).
    """

    step: jax.Array
    verdict: jax.Array
    origin_value: jax.Array
    origin_slope: jax.Array
    low: jax.Array
    low_slope: jax.Array
    high: jax.Array
    high_slope: jax.Array
    old_low: jax.Array
    old_low_slope: jax.Array
    old_high: jax.Array
    old_high_slope: jax.Array
    stage: jax.Array
    halving: jax.Array


def hager_zhang(*, decrease: float = 0.1, curvature: float = 0.9, tolerance: float = 1e-6) -> Rule:
    """Return the rule.

    Args:
      decrease: delta of f(a) <= f(0) + delta a f'(0), and of the test that stands for it near a minimum,
        f'(a) <= (2 delta - 1) f'(0) where f(a) <= f(0) + tolerance |f(0)|.
      curvature: sigma of f'(a) >= sigma f'(0).
      tolerance: epsilon, by which a loss may seem to rise.
    """

    def start(value: jax.Array, slope: jax.Array, first: jax.Array) -> HagerZhangState:
        zero, none = jnp.zeros_like(first), jnp.full_like(first, jnp.inf)
        verdict = jnp.where((first > 0) & (slope < 0), int(Verdict.SEARCHING), int(Verdict.FAILED))
        stage, halving = jnp.full((), EXPANDING, jnp.int32), jnp.zeros((), bool)
        low, high = (zero, slope), (none, zero)
        return HagerZhangState(first, verdict, value, slope, *low, *high, *low, *high, stage, halving)

    def advance(s: HagerZhangState, value: jax.Array, slope: jax.Array) -> HagerZhangState:
        good = jnp.isfinite(value) & jnp.isfinite(slope)
        allowed = s.origin_value + tolerance * jnp.abs(s.origin_value)
        wolfe = value <= s.origin_value + decrease * s.step * s.origin_slope
        approximate = (value <= allowed) & (slope <= (2.0 * decrease - 1.0) * s.origin_slope)
        accepted = good & (slope >= curvature * s.origin_slope) & (wolfe | approximate)

        rises = good & (slope >= 0)
        falls = good & ~rises & (value <= allowed)
        after = _take(s, slope, rises, falls)
        expanding = (s.stage == EXPANDING) & falls & ~s.halving
        follow = _next_trial(after)
        middle = 0.5 * (after.low + after.high)
        step = jnp.where(after.halving, middle, follow.step)
        after = jax.tree.map(lambda a, b: jnp.where(after.halving | expanding, a, b), after, follow)
        step = jnp.where(expanding, GROWTH * s.step, step)
        narrow = jnp.isfinite(after.high) & (after.high - after.low <= 4 * jnp.finfo(step.dtype).eps * after.high)
        failed = narrow | ~jnp.isfinite(step) | ((step == s.step) & ~expanding)
        verdict = jnp.where(failed, int(Verdict.FAILED), int(Verdict.SEARCHING))
        return after._replace(step=step, verdict=jnp.where(accepted, int(Verdict.ACCEPTED), verdict))

    return Rule(start, advance)


def _take(s: HagerZhangState, slope: jax.Array, rises: jax.Array, falls: jax.Array) -> HagerZhangState:
    """Make the trial an end of the interval (U1 to U3); an end that is too high starts the halving."""
    high = ~rises & ~falls
    return s._replace(
        low=jnp.where(falls, s.step, s.low),
        low_slope=jnp.where(falls, slope, s.low_slope),
        high=jnp.where(falls, s.high, s.step),
        high_slope=jnp.where(falls, s.high_slope, jnp.where(rises, slope, s.high_slope)),
        halving=high | (s.halving & falls),
    )


def _next_trial(s: HagerZhangState) -> HagerZhangState:
    """Choose the next trial once an interval is in order: a second secant, the middle, or a first secant."""
    moved_high, moved_low = s.step == s.high, s.step == s.low
    second = jnp.where(
        moved_high,
        _secant(s.old_high, s.old_high_slope, s.high, s.high_slope),
        _secant(s.old_low, s.old_low_slope, s.low, s.low_slope),
    )
    use_second = (s.stage == FIRST_SECANT) & (moved_high | moved_low) & (second > s.low) & (second < s.high)
    wide = s.high - s.low > SHRINKAGE * (s.old_high - s.old_low)
    use_middle = ~use_second & ((s.stage == FIRST_SECANT) | (s.stage == SECOND_SECANT)) & wide
    middle = 0.5 * (s.low + s.high)
    first = _secant(s.low, s.low_slope, s.high, s.high_slope)
    first = jnp.where((first > s.low) & (first < s.high), first, middle)
    begins = ~use_second & ~use_middle
    stage = jnp.where(use_second, SECOND_SECANT, jnp.where(use_middle, BISECTION, FIRST_SECANT))
    return s._replace(
        step=jnp.where(use_second, second, jnp.where(use_middle, middle, first)),
        stage=stage.astype(s.stage.dtype),
        old_low=jnp.where(begins, s.low, s.old_low),
        old_low_slope=jnp.where(begins, s.low_slope, s.old_low_slope),
        old_high=jnp.where(begins, s.high, s.old_high),
        old_high_slope=jnp.where(begins, s.high_slope, s.old_high_slope),
    )


def _secant(a: jax.Array, slope_a: jax.Array, b: jax.Array, slope_b: jax.Array) -> jax.Array:
    """Return where the line through both slopes is zero; not finite where there is none."""
    rise = slope_b - slope_a
    return (a * slope_b - b * slope_a) / jnp.where(rise == 0, jnp.nan, rise)
