"""Whole loops for deterministic problems, one `while_loop` each: `minimize` and `fixed_point`."""

from optaxaccel.solvers._accelerate import Accelerated, accelerate
from optaxaccel.solvers._fixed_point import anderson_init, anderson_update, fixed_point
from optaxaccel.solvers._minimize import MinimizeResult, MinimizeState, minimize
from optaxaccel.solvers.outcome import FixedPoint, FixedPointStatus

__all__: list[str] = [
    "Accelerated",
    "FixedPoint",
    "FixedPointStatus",
    "MinimizeResult",
    "MinimizeState",
    "accelerate",
    "anderson_init",
    "anderson_update",
    "fixed_point",
    "minimize",
]
