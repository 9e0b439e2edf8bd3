"""The loop that every line search shares, and what a rule must offer to it.

Used by all searches here, and by the methods that search.

A rule is a pair of functions of scalars. `start(value, slope, first)` sees the loss and its slope at the step 0 and the
first trial; `advance(state, value, slope)` sees them at the trial `state.step`. Both return a state, a NamedTuple with
the fields `step` (the next trial) and `verdict`. One evaluation a turn, whatever the rule does with it, so that the
program holds the loss once and a batch of searches runs under `jax.vmap`.
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics import loops


class Verdict(enum.IntEnum):
    """What a rule thinks of the trial that it has just seen."""

    SEARCHING = 0
    ACCEPTED = 1
    FAILED = 2


class Rule(NamedTuple):
    """A line search, see the module.

    Attributes:
      start: `start(value, slope, first) -> state`.
      advance: `advance(state, value, slope) -> state`.
    """

    start: Callable[[jax.Array, jax.Array, jax.Array], Any]
    advance: Callable[[Any, jax.Array, jax.Array], Any]


class SearchOutcome(NamedTuple):
    """Where a search ended: at the accepted trial, or else at the lowest point that it has seen.

    Attributes:
      step: the step from the start, 0 where no trial was lower.
      value: the loss there.
      payload: what `evaluate` gave there beside the loss and the slope.
      verdict: a `Verdict`; SEARCHING where the evaluations were used up.
      evaluations: trials made, int32.
    """

    step: jax.Array
    value: jax.Array
    payload: Any
    verdict: jax.Array
    evaluations: jax.Array


def search(
    rule: Rule,
    evaluate: Callable[[jax.Array], tuple[jax.Array, jax.Array, Any]],
    here: tuple[jax.Array, jax.Array, Any],
    first: jax.Array,
    *,
    max_evaluations: int,
    needed: jax.typing.ArrayLike = True,
) -> SearchOutcome:
    """Search along a line.

    Args:
      rule: the search.
      evaluate: returns the loss, its slope and anything else at a step.
      here: the same three at the step 0.
      first: the first trial.
      max_evaluations: trials allowed.
      needed: whether to search at all; without it the result is the start.
    """
    value, slope, payload = here

    def unfinished(carry: tuple[Any, SearchOutcome]) -> jax.Array:
        state, best = carry
        return (state.verdict == int(Verdict.SEARCHING)) & (best.evaluations < max_evaluations) & needed

    def turn(carry: tuple[Any, SearchOutcome]) -> tuple[Any, SearchOutcome]:
        state, best = carry
        value, slope, payload = evaluate(state.step)
        after = rule.advance(state, value, slope)
        good = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope))
        better = (after.verdict == int(Verdict.ACCEPTED)) | (good & (value < best.value))
        trial = SearchOutcome(state.step, value, payload, after.verdict, best.evaluations + 1)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, best)
        return after, best._replace(verdict=after.verdict, evaluations=trial.evaluations)

    state = rule.start(value, slope, first)
    zero = jnp.zeros((), jnp.int32)
    start = SearchOutcome(jnp.zeros_like(first), value, payload, state.verdict, zero)
    return loops.while_loop(unfinished, turn, (state, start))[1]
