"""What methods tell of themselves, on the way from their states to the rows of records. No method's name is known here.

Integers count from the start, and a row holds the last one. Of all other numbers it holds the mean over its steps,
which of booleans is a share. What is not finite, since nothing was measured yet, is left out.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel.methods import contract

PREFIX = "told "  # before the names, among the totals of a member
Kinds = Mapping[str, bool]  # of every name whether it counts from the start


def kinds(opt_state: Any, *, members: bool = False) -> dict[str, bool]:
    """Return the names of what a state tells, in the order of `contract.diagnostics`, and which of them count.

    Args:
      opt_state: arrays, or their shapes.
      members: whether it is of several runs along a first axis.
    """
    names: list[str] = []

    def readings(state: Any) -> list[jax.Array]:
        values = contract.diagnostics(state)
        names[:] = values
        return list(values.values())

    mapped = members and jax.tree.leaves(opt_state)  # plain descent has no state to map over, and tells nothing
    shapes = jax.eval_shape(jax.vmap(readings) if mapped else readings, opt_state)
    return {name: bool(jnp.issubdtype(shape.dtype, jnp.integer)) for name, shape in zip(names, shapes, strict=True)}


def row(counted: Kinds, columns: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the fields of a row from what every step of it told.

    Example:
      >>> row({"jumps": True, "step_size": False}, {"jumps": [1.0, 3.0], "step_size": [0.5, 1.5]})
      {'jumps': 3, 'step_size': 1.0}
    """
    fields = {name: columns[name][-1] if counts else mean(columns[name]) for name, counts in counted.items()}
    return {name: int(v) if counted[name] else v for name, v in fields.items() if math.isfinite(v)}


def mean(values: Sequence[float]) -> float:
    """Return the mean; of a few values without NumPy, whose calls take longer than the sum, to the same last bit."""
    if len(values) >= 8:  # which NumPy does not add one after the other
        return float(np.mean(values))
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def nothing(readings: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Return the sums over no steps: what `added` begins with."""
    return {name: jnp.zeros((), _kept(value)) for name, value in readings.items()}


def added(sums: Mapping[str, jax.Array], readings: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Return the sums with what one more step told; of counts the newest."""
    kept = {name: value.astype(_kept(value)) for name, value in readings.items()}
    return {name: v if jnp.issubdtype(v.dtype, jnp.integer) else sums[name] + v for name, v in kept.items()}


def begun_anew(sums: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Return the sums over no steps, but for the counts, which stay."""
    return {n: v if jnp.issubdtype(v.dtype, jnp.integer) else jnp.zeros_like(v) for n, v in sums.items()}


def recalled(sums: Mapping[str, jax.Array], kept: Mapping[str, float]) -> dict[str, jax.Array]:
    """Return sums like these from the numbers of a checkpoint; one that lacks some makes their next mean unknown."""
    unknown = {n: 0 if jnp.issubdtype(v.dtype, jnp.integer) else float("nan") for n, v in sums.items()}
    return {n: jnp.asarray(kept.get(n, unknown[n]), v.dtype) for n, v in sums.items()}


def row_of_totals(totals: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the fields of a row from a member's totals, see `members.look`; {} where there was no step.

    Example:
      >>> row_of_totals({"steps": np.int32(2), "told jumps": np.int32(3), "told step_size": np.float32(2.0)})
      {'jumps': 3, 'step_size': 1.0}
    """
    steps, sums = int(totals["steps"]), {n.removeprefix(PREFIX): v for n, v in totals.items() if n.startswith(PREFIX)}
    if not steps:
        return {}
    counted = {name: bool(np.issubdtype(np.asarray(value).dtype, np.integer)) for name, value in sums.items()}
    fields = {name: float(v) if counted[name] else float(v) / steps for name, v in sums.items()}
    return {name: int(v) if counted[name] else v for name, v in fields.items() if np.isfinite(v)}


def _kept(value: jax.Array) -> Any:
    return jnp.int32 if jnp.issubdtype(value.dtype, jnp.integer) else jnp.float32
