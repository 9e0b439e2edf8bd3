"""Interleaved timing: all variants of a comparison take turns in one process, and ratios are taken round by round.

This is what makes a figure from a busy machine worth something: a disturbance hits neighbours in a round alike, and the
median over rounds ignores it.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

Row = dict[str, Any]
CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
"""What `timed` reads: the time that passes, or that of the processor, which other work on the machine hardly moves."""
CHOSEN = "BENCH_CLOCK"  # in the environment, since groups are measured in processes of their own


def stay_on_one_core() -> None:
    """Keep this process, and those that it starts, on one core, where the system lets it choose.

    On several the processor's time of a short call is wrong: Linux tells that of threads which are still running, as
    those of XLA are that wait for the next call, as of the last tick, up to four milliseconds ago.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


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
    return alternate({name: timed(call) for name, call in variants.items()}, rounds=rounds, reference=reference)


def timed(call: Callable[[], Any]) -> Callable[[], float]:
    """Return a function that calls, waits for what is returned, and gives the seconds."""
    clock = CLOCKS[os.environ.get(CHOSEN, "wall")]

    def seconds() -> float:
        started = clock()
        jax.block_until_ready(call())
        return clock() - started

    return seconds


def second_call(call: Callable[[], Any]) -> Callable[[], float]:
    """Return a function that calls twice and gives the seconds of the second: nothing of its neighbour is left then."""

    def seconds() -> float:
        jax.block_until_ready(call())
        return timed(call)()

    return seconds


def alternate(
    variants: Mapping[str, Callable[[], float]], *, rounds: int, reference: str | None = None, warm_up: int = 2
) -> dict[str, Timing]:
    """Call in turn variants that return the seconds they took; the order turns from round to round.

    Args:
      variants: functions of no argument.
      rounds: how often each is called, after `warm_up` calls that do not count.
      reference: the variant that ratios refer to; by default the first.
      warm_up: see rounds.
    """
    names = list(variants)
    reference = reference or names[0]
    for _ in range(warm_up):
        for call in variants.values():
            call()
    seconds = {name: np.zeros(rounds) for name in names}
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            seconds[name][i] = variants[name]()
    timings = {}
    for name in names:
        ratios = seconds[name] / seconds[reference]
        low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        timings[name] = Timing(float(np.median(seconds[name])), float(ratio), float(low), float(high))
    return timings


def rows_of(
    title: str,
    timings: Mapping[str, Timing],
    *,
    goals: Mapping[str, float] | None = None,
    limits: Mapping[str, float] | None = None,
) -> list[Row]:
    """Return timings as rows of a table.

    Args:
      title: what was done, and what ratios refer to where that is not the first variant.
      timings: of `interleave` or `alternate`.
      goals: the largest ratio that is good enough, by variant.
      limits: the least ratio that is possible, by variant.
    """
    return [
        {
            "benchmark": title,
            "variant": name,
            "ms": 1e3 * timing.seconds,
            "ratio": timing.ratio,
            "quartiles": (timing.low, timing.high),
            "limit": (limits or {}).get(name),
            "goal": (goals or {}).get(name),
        }
        for name, timing in timings.items()
    ]


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
