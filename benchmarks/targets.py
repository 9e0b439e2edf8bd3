"""Training seconds until a test accuracy is reached: the three-convolution network on MNIST and CIFAR-10.

Every method gets one setting, taken from its paper or its defaults and written below, not tuned here; the arena under
`experiments/` is where methods are compared after equal tuning. Each runs until its last epoch, and the record's own
clock tells when the target was passed. Without the prepared data there is nothing to measure, and a row says so.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import Row
from optaxaccel import data
from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.run.spec import Run

TARGETS = {"mnist": (0.97, 1.0), "cifar10": (0.45, 1.0)}  # accuracy, and epochs at most
SETTINGS = {
    "optax.sgd": {"learning_rate": 0.02, "momentum": 0.9},
    "optax.adam": {"learning_rate": 1e-3},
    "optax.polyak_sgd": {"max_learning_rate": 0.1},
    "agd": {"learning_rate": 0.02},
    "nesterov": {"learning_rate": 0.1},
    "interpolatron": {"learning_rate": 0.2},
    "anderson": {"learning_rate": 0.1},
    "indian": {"learning_rate": 0.1},
    "pal": {},
    "gose_sgd": {"learning_rate": 0.02},
    "gose_agd": {"learning_rate": 0.02},
    "ancm": {"learning_rate": 0.02},
    "rna_sgd": {"learning_rate": 0.1},
}


def run(rounds: int) -> list[Row]:
    """Return one row a method and data set; the number of seeds grows with `rounds`."""
    rows = []
    for name, (accuracy, epochs) in TARGETS.items():
        title = (
            f"training seconds to {100 * accuracy:.0f} % test accuracy, three-convolution network, {name}, batch 128"
        )
        try:
            data.check(name, None)
        except FileNotFoundError:
            rows.append({"benchmark": title, "variant": f"{name} is not prepared: optaxaccel data prepare {name}"})
            continue
        for method, arguments in SETTINGS.items():
            spec = Run(method, arguments, model="cnn", data=name, epochs=epochs, eval_every=0.125)
            times = [_seconds_to(spec.replace(seed=seed), accuracy) for seed in range(1, 2 + rounds // 30)]
            reached = [t for t in times if t is not None]
            row = {"benchmark": title, "variant": method, "n": len(times), "reached": len(reached)}
            rows.append(row | ({"seconds": float(np.median(reached))} if reached else {}))
    return rows


def _seconds_to(spec: Run, accuracy: float) -> float | None:
    """Return the training seconds at the first evaluation that reaches the accuracy, or None if none does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.jsonl"
        loop.train(spec, path)
        rows = records.read(path).rows
    return next((r["seconds"] for r in rows if r["kind"] == "eval" and r["accuracy"] >= accuracy), None)
