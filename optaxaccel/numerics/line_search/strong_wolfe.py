"""The search of Moré and Thuente and, where it fails, doubling and zooming from the same first trial.

Used by the Wolfe search of full-batch methods.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics.line_search.more_thuente import more_thuente
from optaxaccel.numerics.line_search.rule import Rule, Verdict
from optaxaccel.numerics.line_search.zoom import zoom


class Counted(NamedTuple):
    """State of the first search, and how many trials it has seen."""

    inner: Any
    turns: jax.Array


class StrongWolfeState(NamedTuple):
    """States of both searches, and which of them is asked.

    Attributes:
      step: the next trial.
      verdict: a `Verdict`.
      second: whether the first search has failed.
      more_thuente: state of the first.
      zoom: state of the second.
    """

    step: jax.Array
    verdict: jax.Array
    second: jax.Array
    more_thuente: Any
    zoom: Any


def strong_wolfe(*, decrease: float = 1e-4, curvature: float = 0.9, max_turns: int = 100) -> Rule:
    """Return the rule; `max_turns` bounds the first search."""
    one = more_thuente(decrease=decrease, curvature=curvature)
    two = zoom(decrease=decrease, curvature=curvature)

    def start(value: jax.Array, slope: jax.Array, first: jax.Array) -> StrongWolfeState:
        inner = one.start(value, slope, first)
        return _joined(Counted(inner, jnp.zeros((), jnp.int32)), two.start(value, slope, first))

    def advance(s: StrongWolfeState, value: jax.Array, slope: jax.Array) -> StrongWolfeState:
        inner = one.advance(s.more_thuente.inner, value, slope)
        turns = s.more_thuente.turns + 1
        spent = (turns >= max_turns) & (inner.verdict == int(Verdict.SEARCHING))
        inner = inner._replace(verdict=jnp.where(spent, int(Verdict.FAILED), inner.verdict))
        first = jax.tree.map(lambda a, b: jnp.where(s.second, b, a), Counted(inner, turns), s.more_thuente)
        then = two.advance(s.zoom, value, slope)
        return _joined(first, jax.tree.map(lambda a, b: jnp.where(s.second, a, b), then, s.zoom))

    return Rule(start, advance)


def _joined(first: Any, zoom: Any) -> StrongWolfeState:
    second = first.inner.verdict == int(Verdict.FAILED)
    step, verdict = (jnp.where(second, getattr(zoom, f), getattr(first.inner, f)) for f in ("step", "verdict"))
    return StrongWolfeState(step, verdict, second, first, zoom)
