"""How a run ended."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from optaxaccel.training.steps.state import TrainState


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
      status: "done", "diverged", or "stopped" by a signal, after saving.
      step: the number of updates, or of those before the fault.
      state: the state after the last update made.
      last: the last evaluation row.
      signal: the signal that stopped it.
    """

    status: str
    step: int
    state: TrainState
    last: Mapping[str, Any]
    signal: int = 0
