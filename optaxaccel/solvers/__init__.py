"""Whole loops for deterministic problems, one `while_loop` each: `minimize`, `proximal_gradient` and `fixed_point`."""

from optaxaccel.solvers._accelerate import Accelerated, accelerate
from optaxaccel.solvers._fixed_point import anderson_init, anderson_update, fixed_point
from optaxaccel.solvers._minimize import minimize
from optaxaccel.solvers._proximal_gradient import ProximalGradientState, proximal_gradient
from optaxaccel.solvers.minimize_result import MinimizeResult, MinimizeState
from optaxaccel.solvers.outcome import FixedPoint, FixedPointStatus
from optaxaccel.solvers.proximal_operators import (
    make_prox_from_projection,
    prox_elastic_net,
    prox_group_lasso,
    prox_lasso,
    prox_non_negative_lasso,
    prox_non_negative_ridge,
    prox_none,
    prox_ridge,
)

__all__: list[str] = [
    "Accelerated",
    "FixedPoint",
    "FixedPointStatus",
    "MinimizeResult",
    "MinimizeState",
    "ProximalGradientState",
    "accelerate",
    "anderson_init",
    "anderson_update",
    "fixed_point",
    "make_prox_from_projection",
    "minimize",
    "prox_elastic_net",
    "prox_group_lasso",
    "prox_lasso",
    "prox_non_negative_lasso",
    "prox_non_negative_ridge",
    "prox_none",
    "prox_ridge",
    "proximal_gradient",
]
