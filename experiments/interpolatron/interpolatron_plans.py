"""The methods of Interpolatron's paper, section 4, with rates that fall to a tenth."""

from collections.abc import Mapping
from typing import Any

from optaxaccel.training.many.experiment import Contender, Plan
from optaxaccel.training.run.spec import Run


def falling(base: Run, method: str, drops: tuple[int, ...], **arguments: Any) -> Run:
    """A method whose learning rate falls to a tenth at the epochs `drops`."""
    scales = {f"{epoch}epochs": 0.1 for epoch in drops}
    schedule = {"learning_rate": {"name": "piecewise_constant_schedule", "boundaries_and_scales": scales}}
    return base.replace(method=method, method_args=arguments, schedule=schedule)


def plan(
    base: Run,
    rates: Mapping[str, float],
    two: tuple[float, float],
    drops: tuple[int, ...],
    seeds: int,
    decay: float = 4e-4,
) -> Plan:
    """All methods that `rates` names. The paper's 2e-4 ||x||^2 in the loss is a decay of 4e-4, half of which counts."""
    base = base.replace(weight_decay=decay)
    methods = {
        "SGD": ("optax.sgd", {}),
        "Adam": ("optax.adam", {}),
        "momentum": ("optax.sgd", {"momentum": 0.9}),
        "Nesterov": ("optax.sgd", {"momentum": 0.9, "nesterov": True}),
        "2 steps": ("interpolatron", {"coefficients": two}),
        "3 steps": ("interpolatron", {"coefficients": (0.1, 0.3, 0.6)}),
        "Anderson": ("anderson", {}),
    }
    contenders = {}
    for label, rate in rates.items():
        method, fixed = methods[label]
        contenders[label] = falling(base, method, drops, learning_rate=rate, **fixed)
    return Plan(tuple(Contender(label, (run,)) for label, run in contenders.items()), seeds, by="train loss")
