"""One training loop for every method, whatever the task, the model, the data and the number of devices.

    run/        what a run is: its specification, its optimiser, optax's methods to compare with
    steps/      one step and its program: loss, state, devices, batches, evaluation
    keeping/    what stays of a run: records, checkpoints, traces, lines on a terminal
    histories/  extrapolation of the parameters that were kept, beside training or from files
    loop        trains one run, out of all of these; starting: from where another one stands
    many/       many runs: together, in grids, compared, as an experiment
    allocation  how the process holds memory; cores: how many it may use

Imports point from the last to the first. `compare` and `load` are here by name, and imported when
they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["compare", "load"]

_LATE = {"compare": "optaxaccel.training.many.comparing", "load": "optaxaccel.training.loading"}

if TYPE_CHECKING:
    from optaxaccel.training.loading import load
    from optaxaccel.training.many.comparing import compare
else:

    def __getattr__(name: str) -> Any:
        if name in _LATE:
            return getattr(importlib.import_module(_LATE[name]), name)
        raise AttributeError(f"module 'optaxaccel.training' has no attribute {name!r}. It has: {', '.join(__all__)}.")
