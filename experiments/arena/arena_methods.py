"""All methods and baselines of the arena, each with eleven values of its main hyperparameter over five decades."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from optaxaccel.training.many.experiment import SMOKE, Contender, Plan
from optaxaccel.training.run.spec import Run

HALF_DECADES = (1.0, 3.0)


def decades(first: int) -> list[float]:
    """Eleven values from 10^first to 10^(first + 5), two a decade."""
    return [float(f"{m * 10.0**e:.1g}") for e in range(first, first + 6) for m in HALF_DECADES][:11]


class Entry(NamedTuple):
    """A contender: its method, the hyperparameter that varies, and what stays fixed, with noise and without.

    Attributes:
      method: its name.
      varied: the main hyperparameter.
      values: what it takes.
      stochastic: the other hyperparameters for minibatches: its defaults, and momentum 0.9 where it is the point.
      deterministic: the same for full batches, where longer histories and longer steps pay; None: as with minibatches.
    """

    method: str
    varied: str
    values: list[float] | list[int]
    stochastic: dict[str, Any] = {}
    deterministic: dict[str, Any] | None = None


RATE = "learning_rate"
METHODS: dict[str, Entry] = {
    "SGD": Entry("optax.sgd", RATE, decades(-3)),
    "momentum": Entry("optax.sgd", RATE, decades(-4), {"momentum": 0.9}),
    "Nesterov momentum": Entry("optax.sgd", RATE, decades(-4), {"momentum": 0.9, "nesterov": True}),
    "Adam": Entry("optax.adam", RATE, decades(-5)),
    "RMSProp": Entry("optax.rmsprop", RATE, decades(-5)),
    "AdaGrad": Entry("optax.adagrad", RATE, decades(-3)),
    "backtracking": Entry("baseline.backtracking_sgd", "max_learning_rate", decades(-2)),
    "Polyak SGD": Entry("optax.polyak_sgd", "max_learning_rate", decades(-3)),
    "schedule-free SGD": Entry("baseline.schedule_free_sgd", RATE, decades(-3)),
    "AGD": Entry("agd", RATE, decades(-4)),
    "nesterov": Entry("nesterov", RATE, decades(-4)),
    "Interpolatron": Entry("interpolatron", RATE, decades(-3)),
    "Anderson": Entry("anderson", RATE, decades(-3), {}, {"history": 10}),
    "Anderson simplex": Entry("anderson", RATE, decades(-3), {"constraint": "simplex"}),
    "INDIAN": Entry("indian", RATE, decades(-4)),
    "PAL": Entry("pal", "measuring_step_size", decades(-3), {}, {"momentum": 0.9, "loose_approximation": 1.0}),
    "GOSE": Entry("gose_sgd", RATE, decades(-4)),
    "combined": Entry("gose_agd", RATE, decades(-4)),
    "ANCM": Entry("ancm", RATE, decades(-4)),
    "RNA-SGD": Entry("rna_sgd", RATE, decades(-3), {"period": "1epoch", "history": 5}, {"period": 1}),
}


FULL_BATCH = {"L-BFGS": Entry("optax.lbfgs", "memory_size", [1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 50])}
WITHOUT_RATE = ("pal", "optax.lbfgs")  # methods that a user may call without an argument
FEW = ("momentum", "Adam", "PAL")  # what a smoke test compiles


def plan(
    base: Run,
    seeds: int,
    by: str = "accuracy",
    every: int = 1,
    *,
    full_batch: bool = False,
    target: float | None = None,
    shifted: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Plan:
    """All methods on one problem; those for whole data sets, and settings for them, where `full_batch` says so.

    Args:
      base: the problem.
      seeds: of the final runs.
      by: what chooses.
      every: 2 takes every second value of a grid.
      full_batch: whether a step sees all data.
      target: see `Plan`.
      shifted: values of a method's grid in place of its own, as many, where its best stood at an end of those.
    """
    contenders = []
    for label, entry in {**METHODS, **(FULL_BATCH if full_batch else {})}.items():
        fixed = entry.stochastic if entry.deterministic is None or not full_batch else entry.deterministic
        values = shifted.get(label, entry.values)[::every]
        args = ({entry.varied: value, **fixed} for value in values)
        settings = [base.replace(method=entry.method, method_args=arguments) for arguments in args]
        default = base.replace(method=entry.method) if entry.method in WITHOUT_RATE else None
        contenders.append(Contender(label, tuple(settings), default))
    return Plan(tuple(contenders), seeds, by, scored=True, target=target)


def smoke(by: str = "accuracy") -> Plan:
    """Three methods, two settings each."""
    whole = plan(Run(**SMOKE), 1, by, every=10)
    return Plan(tuple(contender for contender in whole.contenders if contender.label in FEW), 1, by, scored=True)
