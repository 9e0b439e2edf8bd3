"""All methods and baselines of the arena, each with eleven values of its main hyperparameter over five decades."""

from typing import Any

from optaxaccel.training.many.experiment import SMOKE, Contender, Plan
from optaxaccel.training.run.spec import Run

HALF_DECADES = (1.0, 3.0)


def decades(first: int) -> list[float]:
    """Eleven values from 10^first to 10^(first + 5), two a decade."""
    return [float(f"{m * 10.0**e:.1g}") for e in range(first, first + 6) for m in HALF_DECADES][:11]


METHODS: dict[str, tuple[str, str, list[float] | list[int], dict[str, Any]]] = {
    # label: (method, main hyperparameter, its values, what stays fixed)
    "SGD": ("optax.sgd", "learning_rate", decades(-3), {}),
    "momentum": ("optax.sgd", "learning_rate", decades(-4), {"momentum": 0.9}),
    "Nesterov momentum": ("optax.sgd", "learning_rate", decades(-4), {"momentum": 0.9, "nesterov": True}),
    "Adam": ("optax.adam", "learning_rate", decades(-5), {}),
    "RMSProp": ("optax.rmsprop", "learning_rate", decades(-5), {}),
    "AdaGrad": ("optax.adagrad", "learning_rate", decades(-3), {}),
    "backtracking": ("baseline.backtracking_sgd", "max_learning_rate", decades(-2), {}),
    "Polyak SGD": ("optax.polyak_sgd", "max_learning_rate", decades(-3), {}),
    "schedule-free SGD": ("baseline.schedule_free_sgd", "learning_rate", decades(-3), {}),
    "AGD": ("agd", "learning_rate", decades(-4), {}),
    "nesterov": ("nesterov", "learning_rate", decades(-4), {}),
    "Interpolatron": ("interpolatron", "learning_rate", decades(-3), {}),
    "Anderson": ("anderson", "learning_rate", decades(-3), {}),
    "Anderson simplex": ("anderson", "learning_rate", decades(-3), {"constraint": "simplex"}),
    "INDIAN": ("indian", "learning_rate", decades(-4), {}),
    "PAL": ("pal", "measuring_step_size", decades(-3), {}),
    "GOSE": ("gose_sgd", "learning_rate", decades(-4), {}),
    "combined": ("gose_agd", "learning_rate", decades(-4), {}),
    "ANCM": ("ancm", "learning_rate", decades(-4), {}),
    "RNA-SGD": ("rna_sgd", "learning_rate", decades(-3), {}),
}


FULL_BATCH = {"L-BFGS": ("optax.lbfgs", "memory_size", [1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 50], {})}
FEW = ("momentum", "Adam", "PAL")  # what a smoke test compiles


def plan(base: Run, seeds: int, by: str = "accuracy", every: int = 1, full_batch: bool = False) -> Plan:
    """All methods on one problem; those for whole data sets where `full_batch` says that batches are."""
    contenders = []
    for label, (method, name, values, fixed) in {**METHODS, **(FULL_BATCH if full_batch else {})}.items():
        settings = [base.replace(method=method, method_args={name: value, **fixed}) for value in values]
        contenders.append(Contender(label, tuple(settings[::every])))
    return Plan(tuple(contenders), seeds, by)


def smoke(by: str = "accuracy") -> Plan:
    """Three methods, two settings each."""
    whole = plan(Run(**SMOKE), 1, by, every=10)
    return Plan(tuple(contender for contender in whole.contenders if contender.label in FEW), 1, by)
