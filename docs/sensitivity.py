"""Measure how much each method minds its hyperparameters: one is varied at a time, on the embedded digits.

    make sensitivity     # some minutes on two cores; writes docs/_static/sensitivity.json, which the site shows

Protocol: a multilayer perceptron (64 pixels, 128 hidden units), minibatches of 64, 15 epochs of 17 updates,
constant hyperparameters; accuracy on the fifth of the training images that is held out, at the end, for three seeds.
The test images are not looked at. What is not varied stays at `BASE`, which was fixed before the first run.
"""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.run.spec import Run

OUT = Path(__file__).parent / "_static" / "sensitivity.json"
SEEDS = (1, 2, 3)
RUN = Run(model="mlp", data="digits", batch_size=64, epochs=15, validation=0.2, eval_every=15.0)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)

BASE: dict[str, dict[str, Any]] = {
    "optax.sgd": {"learning_rate": 0.1, "momentum": 0.9},
    "optax.adam": {"learning_rate": 0.003},
    "agd": {"learning_rate": 0.1, "momentum": 0.9},
    "nesterov": {"learning_rate": 0.1, "strong_convexity": 0.0},
    "interpolatron": {"learning_rate": 0.3, "coefficients": (0.1, 0.9)},
    "anderson": {"learning_rate": 0.3, "history": 2, "regularization": 1e-6},
    "indian": {"learning_rate": 0.1, "alpha": 0.5, "beta": 0.1},
    "pal": {"measuring_step_size": 0.1, "max_step_size": 1.0, "momentum": 0.4, "loose_approximation": 0.6},
    "gose_sgd": {"learning_rate": 0.1, "momentum": 0.9},
    "gose_agd": {"learning_rate": 0.1, "momentum": 0.9},
    "ancm": {"learning_rate": 0.1, "momentum": 0.9, "period": 100},
    "negative_curvature_descent": {"step_size": 0.5},
    "rna_sgd": {"learning_rate": 0.1, "momentum": 0.0, "history": 10, "period": 17, "regularization": 1e-8},
}
VARIED: dict[str, dict[str, tuple[Any, ...]]] = {
    "optax.sgd": {"learning_rate": RATES},
    "optax.adam": {"learning_rate": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)},
    "agd": {"learning_rate": RATES, "momentum": (0.0, 0.5, 0.9, 0.95)},
    "nesterov": {"learning_rate": RATES, "strong_convexity": (0.0, 0.01, 0.1, 1.0)},
    "interpolatron": {
        "learning_rate": RATES,
        "coefficients": ((1.0,), (0.5, 0.5), (0.1, 0.9), (0.05, 0.95), (0.1, 0.3, 0.6)),
    },
    "anderson": {
        "learning_rate": RATES,
        "history": (1, 2, 3, 5),
        "regularization": (1e-6, 1e-4, 1e-2, 1.0),
        "constraint": (None, "simplex"),
    },
    "indian": {"learning_rate": RATES, "alpha": (0.0, 0.1, 0.5, 1.0, 2.0), "beta": (0.01, 0.1, 0.3, 1.0)},
    "pal": {
        "measuring_step_size": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
        "max_step_size": (0.1, 0.3, 1.0, 3.0),
        "momentum": (0.0, 0.4, 0.6, 0.8),
        "loose_approximation": (0.4, 0.6, 0.8, 1.0),
        "slope": ("exact", "direction_norm", "gradient_norm"),
    },
    "gose_sgd": {"learning_rate": RATES, "gradient_threshold": (0.001, 0.1, 1.0), "step_size": (0.1, 0.5, 1.0)},
    "gose_agd": {"learning_rate": RATES, "gradient_threshold": (0.001, 0.1, 1.0), "step_size": (0.1, 0.5, 1.0)},
    "ancm": {"learning_rate": RATES, "period": (10, 50, 100), "ncd_max_steps": (1, 5)},
    "negative_curvature_descent": {"step_size": (0.1, 0.5, 1.0, 3.0), "max_steps": (1, 5)},
    "rna_sgd": {
        "learning_rate": RATES,
        "regularization": (1e-8, 1e-4, 1e-2, 1.0),
        "history": (3, 5, 10),
        "period": (5, 17, 51),
    },
}


def settings() -> list[tuple[str, str, Any, dict[str, Any]]]:
    """Return (method, what is varied, its value, all hyperparameters) of each setting."""
    return [
        (method, name, value, {**BASE[method], name: value})
        for method, names in VARIED.items()
        for name, values in names.items()
        for value in values
    ]


def measure(method: str, arguments: dict[str, Any]) -> list[float | None]:
    """Return the accuracy on held-out training images at the end, for each seed; None where a run diverged."""
    finals: list[float | None] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            run = RUN.replace(method=method, method_args=arguments, seed=seed)
            outcome = loop.train(run, Path(folder) / "record.jsonl")
            good = outcome.status == "done" and math.isfinite(outcome.last["loss"])
            finals.append(float(outcome.last["accuracy"]) if good else None)
    return finals


def main() -> None:
    """Measure every setting once and write the file."""
    known: dict[str, list[float | None]] = {}
    rows = []
    for method, name, value, arguments in settings():
        key = json.dumps([method, arguments], sort_keys=True)
        if key not in known:
            known[key] = measure(method, arguments)
            print(method, arguments, known[key], flush=True)
        rows.append({"method": method, "varied": name, "value": value, "accuracy": known[key]})
    where = records.provenance("cpu")
    facts = {"seeds": SEEDS, "epochs": RUN.epochs, "batch_size": RUN.batch_size, "model": RUN.model, "data": RUN.data}
    OUT.write_text(json.dumps({"start": {**facts, **where}, "base": BASE, "rows": rows}, indent=None) + "\n")


if __name__ == "__main__":
    main()
