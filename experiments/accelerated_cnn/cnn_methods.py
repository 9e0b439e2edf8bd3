"""The methods of the accelerated-CNN report as contenders of one setting each: it tunes nothing but the rate."""

from optaxaccel.training.experiment import Contender
from optaxaccel.training.spec import Run


def contenders(base: Run, rate: float) -> tuple[Contender, ...]:
    """The report's five methods with momentum 0.9, and Nesterov's method as optax has it."""
    momentum = {"learning_rate": rate, "momentum": 0.9}
    found = {
        "standard": ("optax.sgd", momentum),
        "AGD": ("agd", momentum),
        "GOSE": ("gose_sgd", momentum),
        "ANCM": ("ancm", momentum),
        "combined": ("gose_agd", momentum),
        "optax Nesterov": ("optax.sgd", {**momentum, "nesterov": True}),
    }
    return tuple(
        Contender(label, (base.replace(method=method, method_args=arguments),))
        for label, (method, arguments) in found.items()
    )
