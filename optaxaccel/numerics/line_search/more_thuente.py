"""The search of Moré and Thuente for the strong Wolfe conditions.

Moré and Thuente, "Line search algorithms with guaranteed sufficient decrease", 1994, with the constants of MINPACK-2.

Used by `strong_wolfe`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics.line_search.interpolation import cubic_two_slopes
from optaxaccel.numerics.line_search.rule import Rule, Verdict

FARTHER = 4.0  # a trial without a bracket goes between 1.1 and 4 times farther than the last progress
NEARER = 1.1
SHARE = 0.66  # of the way to the end of a bracket, and by how much two turns must shrink it


class Point(NamedTuple):
    """A point of the line: step, loss, slope."""

    step: jax.Array
    value: jax.Array
    slope: jax.Array


class MoreThuenteState(NamedTuple):
    """The interval of uncertainty, and the next trial.

    Attributes:
      step: the next trial.
      verdict: a `Verdict`.
      origin: the start of the line.
      best: the end of the interval with the lowest function so far.
      other: the other end.
      bracketed: whether a minimum lies between them.
      improving: whether the auxiliary function, from which the demanded decrease is subtracted, still guides.
      nearest, farthest: where the next trial may lie.
      width, width_before: length of the interval after this turn and the last one.
      barrier: the shortest step at which the loss was not finite.
    """

    step: jax.Array
    verdict: jax.Array
    origin: Point
    best: Point
    other: Point
    bracketed: jax.Array
    improving: jax.Array
    nearest: jax.Array
    farthest: jax.Array
    width: jax.Array
    width_before: jax.Array
    barrier: jax.Array


def more_thuente(*, decrease: float, curvature: float, width_tolerance: float = 1e-14) -> Rule:
    """Return the rule.

    Args:
      decrease: c1 of f(a) <= f(0) + c1 a f'(0).
      curvature: c2 of |f'(a)| <= c2 |f'(0)|.
      width_tolerance: the search fails where the interval is relatively shorter.
    """

    def start(value: jax.Array, slope: jax.Array, first: jax.Array) -> MoreThuenteState:
        shortest, longest = _limits(first.dtype)
        origin = Point(jnp.zeros_like(first), value, slope)
        allowed = (first >= shortest) & (first <= longest) & (slope < 0)
        verdict = jnp.where(allowed, int(Verdict.SEARCHING), int(Verdict.FAILED))
        wide = jnp.full_like(first, longest - shortest)
        return MoreThuenteState(
            step=first,
            verdict=verdict,
            origin=origin,
            best=origin,
            other=origin,
            bracketed=jnp.zeros_like(allowed),
            improving=jnp.ones_like(allowed),
            nearest=jnp.zeros_like(first),
            farthest=first + FARTHER * first,
            width=wide,
            width_before=2.0 * wide,
            barrier=jnp.full_like(first, jnp.inf),
        )

    def advance(s: MoreThuenteState, value: jax.Array, slope: jax.Array) -> MoreThuenteState:
        bad = ~(jnp.isfinite(value) & jnp.isfinite(slope))
        moved = _advance_finite(s, Point(s.step, value, slope), decrease, curvature, width_tolerance)
        back = _retreat(s)
        return jax.tree.map(lambda a, b: jnp.where(bad, a, b), back, moved)

    return Rule(start, advance)


def _limits(dtype: jnp.dtype) -> tuple[float, float]:
    """Return the shortest and the longest step: 1e-100 and 1e100 where the dtype can hold them."""
    info = jnp.finfo(dtype)
    return max(1e-100, float(info.tiny)), min(1e100, float(info.max) ** 0.5)


def _retreat(s: MoreThuenteState) -> MoreThuenteState:
    """Go nine tenths of the way back to the best point where the loss is not finite."""
    step = s.best.step + 0.1 * (s.step - s.best.step)
    stuck = jnp.abs(step - s.best.step) <= _limits(step.dtype)[0]
    verdict = jnp.where(stuck, int(Verdict.FAILED), int(Verdict.SEARCHING))
    return s._replace(step=step, verdict=verdict, barrier=jnp.minimum(s.barrier, s.step))


def _advance_finite(s, trial: Point, decrease: float, curvature: float, width_tolerance: float) -> MoreThuenteState:
    shortest, longest = _limits(trial.step.dtype)
    demanded = decrease * s.origin.slope
    line = s.origin.value + trial.step * demanded
    improving = s.improving & ~((trial.value <= line) & (trial.slope >= 0))
    low = trial.value <= line

    narrow = s.bracketed & (s.farthest - s.nearest <= width_tolerance * s.farthest)
    outside = s.bracketed & ((trial.step <= s.nearest) | (trial.step >= s.farthest))
    too_long = (trial.step == longest) & low & (trial.slope <= demanded)
    too_short = (trial.step == shortest) & (~low | (trial.slope >= demanded))
    accepted = low & (jnp.abs(trial.slope) <= -curvature * s.origin.slope)
    failed = narrow | outside | too_long | too_short
    verdict = jnp.where(failed, int(Verdict.FAILED), int(Verdict.SEARCHING))
    verdict = jnp.where(accepted, int(Verdict.ACCEPTED), verdict)

    # While no step satisfies the first condition, the function minus the demanded decrease is the guide.
    tilt = jnp.where(improving & (trial.value <= s.best.value) & ~low, demanded, 0.0)
    best, other, tilted = (Point(p.step, p.value - p.step * tilt, p.slope - tilt) for p in (s.best, s.other, trial))
    best, other, step, bracketed = _choose(best, other, tilted, s.bracketed, s.nearest, s.farthest)
    best, other = (Point(p.step, p.value + p.step * tilt, p.slope + tilt) for p in (best, other))

    slow = bracketed & (jnp.abs(other.step - best.step) >= SHARE * s.width_before)
    step = jnp.where(slow, best.step + 0.5 * (other.step - best.step), step)
    ends = jnp.minimum(best.step, other.step), jnp.maximum(best.step, other.step)
    nearest = jnp.where(bracketed, ends[0], step + NEARER * (step - best.step))
    farthest = jnp.where(bracketed, ends[1], step + FARTHER * (step - best.step))
    step = jnp.clip(step, shortest, longest)
    useless = bracketed & ((step <= nearest) | (step >= farthest) | (farthest - nearest <= width_tolerance * farthest))
    step = jnp.where(useless, best.step, step)
    step = jnp.where(step >= s.barrier, 0.5 * (best.step + s.barrier), step)
    return s._replace(
        step=step,
        verdict=verdict,
        best=best,
        other=other,
        bracketed=bracketed,
        improving=improving,
        nearest=nearest,
        farthest=farthest,
        width=jnp.where(bracketed, jnp.abs(other.step - best.step), s.width),
        width_before=jnp.where(bracketed, s.width, s.width_before),
    )


def _choose(best: Point, other: Point, trial: Point, bracketed, nearest, farthest):
    """Return the new interval, the next trial and whether a minimum is bracketed (section 4 of the paper)."""
    higher = trial.value > best.value
    turned = trial.slope * jnp.sign(best.slope) < 0
    flatter = jnp.abs(trial.slope) < jnp.abs(best.slope)
    forward = trial.step > best.step

    theta, scale, inside = cubic_two_slopes(*best, *trial)
    gamma = scale * jnp.sqrt(jnp.maximum(inside, 0.0))
    away = jnp.where(forward, gamma, -gamma)
    # From the best point, for a trial that is higher:
    cubic = best.step + ((away - best.slope) + theta) / (((away - best.slope) + away) + trial.slope) * (
        trial.step - best.step
    )
    chord = (best.value - trial.value) / (trial.step - best.step)
    parabola = best.step + (best.slope / (chord + best.slope)) / 2.0 * (trial.step - best.step)
    near = jnp.abs(cubic - best.step) <= jnp.abs(parabola - best.step)
    step_higher = jnp.where(near, cubic, cubic + (parabola - cubic) / 2.0)

    # From the trial, where it is lower:
    towards = -away
    ratio = ((towards - trial.slope) + theta) / (((towards - trial.slope) + towards) + best.slope)
    cubic = trial.step + ratio * (best.step - trial.step)
    secant = trial.step + trial.slope / (trial.slope - best.slope) * (best.step - trial.step)
    far = jnp.abs(cubic - trial.step) > jnp.abs(secant - trial.step)
    step_turned = jnp.where(far, cubic, secant)

    ratio = ((towards - trial.slope) + theta) / ((towards + (best.slope - trial.slope)) + towards)
    limit = jnp.where(forward, farthest, nearest)
    cubic = jnp.where((ratio < 0) & (towards != 0), trial.step + ratio * (best.step - trial.step), limit)
    near = jnp.abs(cubic - trial.step) < jnp.abs(secant - trial.step)
    bound = trial.step + SHARE * (other.step - trial.step)
    between = jnp.where(near, cubic, secant)
    between = jnp.where(forward, jnp.minimum(bound, between), jnp.maximum(bound, between))
    beyond = jnp.where(jnp.abs(cubic - trial.step) > jnp.abs(secant - trial.step), cubic, secant)
    step_flatter = jnp.where(bracketed, between, jnp.clip(beyond, nearest, farthest))

    theta, scale, inside = cubic_two_slopes(*trial, *other)
    gamma = scale * jnp.sqrt(jnp.maximum(inside, 0.0))
    gamma = jnp.where(trial.step > other.step, -gamma, gamma)
    ratio = ((gamma - trial.slope) + theta) / (((gamma - trial.slope) + gamma) + other.slope)
    step_steeper = jnp.where(bracketed, trial.step + ratio * (other.step - trial.step), limit)

    step = jnp.where(flatter, step_flatter, step_steeper)
    step = jnp.where(turned, step_turned, step)
    step = jnp.where(higher, step_higher, step)
    new_other = jax.tree.map(lambda t, b, o: jnp.where(higher, t, jnp.where(turned, b, o)), trial, best, other)
    new_best = jax.tree.map(lambda t, b: jnp.where(higher, b, t), trial, best)
    return new_best, new_other, step, bracketed | higher | turned
