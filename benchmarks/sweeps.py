"""Many runs of a small network: trained together by `train_many`, against one after another, records and all."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Row, interleave, rows_of
from optaxaccel.training.many import sweep
from optaxaccel.training.run.spec import Run

RATES = {"optax.sgd": "learning_rate", "pal": "measuring_step_size", "gose_sgd": "learning_rate"}
VALUES = (0.01, 0.02, 0.05, 0.1)
TITLE = "runs of a perceptron on digits, 264 steps"


def run(rounds: int) -> list[Row]:
    """Return one row a variant: 16 runs of three methods, and 4 and 64 of the first."""
    rows = []
    for method, seeds in (("optax.sgd", 4), ("pal", 4), ("gose_sgd", 4), ("optax.sgd", 1), ("optax.sgd", 16)):
        runs = sweep.grid(
            Run(method=method, model="mlp", data="digits", batch_size=64, epochs=12),
            seeds=range(seeds),
            method_args={RATES[method]: VALUES},
        )
        variants = {"one after another": _trained(runs, together=False), "together": _trained(runs, together=True)}
        title = f"{len(runs)} {TITLE} of {method.removeprefix('optax.')}"
        goal = {"together": 1 / 3} if len(runs) == 16 else None
        rows += rows_of(title, interleave(variants, rounds=max(3, rounds // 6)), goals=goal)
    return rows


def _trained(runs: list[Run], *, together: bool) -> Callable[[], None]:
    def train() -> None:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{i}.jsonl" for i in range(len(runs))]
            statuses = sweep.train_many(runs, paths, vectorize=together)
        if set(statuses) != {"done"}:
            raise RuntimeError(f"The runs ended as {statuses}, so their seconds tell nothing.")

    return train
