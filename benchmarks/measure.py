"""Interleaved timing: all variants of a comparison take turns in one process, and ratios are taken round by round.

This is what makes a figure from a busy machine worth something: a disturbance hits neighbours in a round alike, and the
median over rounds ignores it.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Timing(NamedTuple):
    """Median seconds and the ratio to the reference: median and quartiles over rounds."""

    seconds: float
    ratio: float
    low: float
    high: float


def interleave(
    variants: Mapping[str, Callable[[], Any]], *, rounds: int, reference: str | None = None
) -> dict[str, Timing]:
    """Time variants in turn.

    Args:
      variants: functions of no argument; what they return is waited for.
      rounds: how often each is called, after two calls that do not count.
      reference: the variant that ratios refer to; by default the first.
    """
    names = list(variants)
    reference = reference or names[0]
    for _ in range(2):
        for call in variants.values():
            jax.block_until_ready(call())
    seconds = {name: np.zeros(rounds) for name in names}
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            started = time.perf_counter()
            jax.block_until_ready(variants[name]())
            seconds[name][i] = time.perf_counter() - started
    timings = {}
    for name in names:
        ratios = seconds[name] / seconds[names[0]]
        low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        timings[name] = Timing(float(np.median(seconds[name])), float(ratio), float(low), float(high))
    return timings


class Donated:
    """A compiled function (state, *rest) -> (state, ...) that is fed its own state, as a training loop does."""

    def __init__(self, function: Callable[..., Any], state: Any, *rest: Any):
        """Compile with the state donated; outputs come in the order of the inputs, so that buffers match."""
        started = time.perf_counter()
        self._call = jax.jit(function, donate_argnums=0).lower(state, *rest).compile()
        self.compile_seconds = time.perf_counter() - started
        memory = self._call.memory_analysis()
        self.temporary_bytes = int(memory.temp_size_in_bytes) if memory is not None else 0
        self._state, self._rest = state, rest

    def __call__(self) -> Any:
        """Make one step."""
        self._state = self._call(self._state, *self._rest)
        return self._state
