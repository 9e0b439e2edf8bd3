"""One of the runs that are trained at once."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from optaxaccel.training.keeping.journal import Journal, NotFiniteError


class Member:
    """One run among those trained at once: its journal, and how it ended."""

    def __init__(self, journal: Journal):
        """Go on until `status` is set."""
        self.journal, self.status = journal, ""

    def take(self, metrics: np.ndarray, seconds: float) -> None:
        """Record the steps between two evaluations, and end if there is a fault."""
        try:
            self.journal.take(metrics, seconds)
        except NotFiniteError as fault:
            self.end("diverged", fault.step, what=fault.what)

    def evaluated(self, step: int, split: str, held_out: Mapping[str, float], trained: Mapping[str, float]) -> None:
        """Record the evaluations on held-out and on training images, and end if a loss is not finite."""
        if not math.isfinite(held_out["loss"]):
            self.end("diverged", step, what=f"{split} loss")
            return
        try:
            self.journal.trained(step, trained)
            self.journal.evaluated(step, split, held_out)
        except NotFiniteError as fault:
            self.end("diverged", fault.step, what=fault.what)

    def end(self, status: str, step: int, **fields: Any) -> None:
        """Record the end."""
        self.journal.end(status, step, **fields)
        self.status = status
