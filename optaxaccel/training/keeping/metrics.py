"""The metrics of steps on their way from the device: one array a step, METRICS first and then what the method tells."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from optaxaccel.training.steps.step import METRICS, UNKNOWN

Metrics = Any  # of one step: an array on its way from the device, or numbers
Collect = Callable[[Metrics], Metrics]
Columns = Mapping[str, list[float]]  # by name, a number a step
_OLDER = {"search_attempts": 0.0, "line_values": UNKNOWN, "line_grads": UNKNOWN}  # of checkpoints that lack them


def read(collect: Collect, pending: Sequence[Metrics]) -> list[list[float]]:
    """Fetch metrics from the device; those that a checkpoint kept are numbers already."""
    return [m if isinstance(m, list) else np.asarray(m, float).tolist() for m in _fetched(collect, pending)]


def completed(metrics: Sequence[float], readings: Sequence[str]) -> list[float]:
    """Return the metrics of a step from a checkpoint, with what an older version did not keep of it."""
    metrics = [*metrics, *(_OLDER[name] for name in METRICS[len(metrics) :])]
    return [*metrics, *(float("nan") for _ in range(len(METRICS) + len(readings) - len(metrics)))]


def columns(metrics: np.ndarray, readings: Sequence[str]) -> tuple[Columns, Columns]:
    """Return the metrics [steps, ...] by name, as numbers since they are few, and what the method told by name."""
    values = metrics.T.astype(float).tolist()
    known: dict[str, list[float]] = dict(zip(METRICS, values, strict=False))
    return known, dict(zip(readings, values[len(METRICS) :], strict=True))


def faults(columns: Columns) -> list[str]:
    """Return what is wrong with each step, or an empty string."""
    each = zip(columns["loss"], columns["grad_norm"], columns["measurement_failed"], strict=True)
    return [_fault(*step) for step in each]


def _fault(loss: float, norm: float, failed: float) -> str:
    if not math.isfinite(loss):
        return "loss"
    if not math.isfinite(norm):
        return "gradient"
    return "loss that the method measured" if failed > 0 else ""


def _fetched(collect: Collect, pending: Sequence[Metrics]) -> list[Any]:
    """Return the metrics as arrays of NumPy; all are on their way before the first is waited for."""
    metrics = [m if isinstance(m, list) else collect(m) for m in pending]
    if jax.default_backend() != "cpu":  # there they are in the host's memory, and need no way
        for array in metrics:
            if isinstance(array, jax.Array):
                array.copy_to_host_async()
    return [np.asarray(m) for m in metrics]
