"""Training as in RNA's paper, section 3.1, extrapolated beside: one iterate an epoch, K = 10, training untouched."""

from collections.abc import Mapping
from typing import Any

from optaxaccel.training.many.experiment import Contender, Plan, Reported
from optaxaccel.training.run.spec import Run

VARIANTS: Mapping[str, Mapping[str, Any]] = {  # how the copy is extrapolated; lambda 1e-8 is the paper's
    "combined": {"K": 10},
    "refreshed": {"K": 10, "statistics": "refreshed"},
    "lambda 1e-4": {"K": 10, "regularization": 1e-4},
    "lambda 1e-1": {"K": 10, "regularization": 1e-1},
    "adaptive": {"K": 10, "regularization": "adaptive", "statistics": "refreshed"},
}
ONLINE = {"online": 1e-8, "online, lambda 1e-1": 1e-1}  # training itself goes on from the extrapolated point


def plan(base: Run, rate: float, drops: tuple[int, ...], seeds: int, variants: tuple[str, ...], constant: bool) -> Plan:
    """SGD with momentum whose rate falls to a tenth at the epochs `drops`; `constant` adds a run without drops.

    Of `variants` those of ONLINE train by online RNA around the same SGD; the others leave training alone.
    """
    base = base.replace(method="optax.sgd", method_args={"learning_rate": rate, "momentum": 0.9}, weight_decay=1e-5)
    scales = {f"{epoch}epochs": 0.1 for epoch in drops}
    falling = {"learning_rate": {"name": "piecewise_constant_schedule", "boundaries_and_scales": scales}}
    base = base.replace(schedule=falling)
    contenders = {name: base.replace(extrapolate=VARIANTS[name]) for name in variants if name in VARIANTS}
    for name in variants:
        if name in ONLINE:
            about = {**base.method_args, "history": 10, "period": "1epoch", "regularization": ONLINE[name]}
            contenders[name] = base.replace(method="rna_sgd", method_args=about)
    if constant:
        contenders["no drop, combined"] = base.replace(schedule={}, extrapolate=VARIANTS["combined"])
    return Plan(tuple(Contender(label, (run,)) for label, run in contenders.items()), seeds)


def smoke(base: Run) -> Plan:
    return plan(base.replace(extrapolate={}), 0.1, (1,), 1, ("combined",), constant=False)


def lowest_error(without: str, with_rna: str) -> Reported:
    """The paper's lowest top-1 errors, Table 1."""
    return Reported("lowest error %, without and with RNA", {"combined": f"{without}, {with_rna}"})
