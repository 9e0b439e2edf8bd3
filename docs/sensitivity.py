"""Measure how much each method minds its hyperparameters: one is varied at a time, on the embedded digits.

    make sensitivity                                # some minutes on two cores; the site shows what it writes
    python docs/sensitivity.py innaprop cdat        # these alone; those of other methods stay as they were measured

Protocol: a multilayer perceptron (64 pixels, 128 hidden units), minibatches of 64, 15 epochs of 17 updates,
constant hyperparameters; accuracy on the fifth of the training images that is held out, at the end, for three seeds.
The test images are not looked at. What is not varied stays at `BASE`, which was fixed before the first run.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optaxaccel.training.keeping import records
from optaxaccel.training.many import sweep
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
    "innaprop": {"learning_rate": 0.003, "alpha": 0.1, "beta": 0.9, "weight_decay": 0.0},
    "cdat": {"sigma": 2.0, "momentum": 0.9, "ema_decay": 0.9},
    "gpa_adamw": {"learning_rate": 0.003, "mu_x": 0.97, "mu_y": 0.7},
    "schedule_free_adamw": {"learning_rate": 0.01, "b1": 0.9},
    "snoo_adamw": {"learning_rate": 0.003, "period": 17, "step_size": 0.3006, "momentum": 0.7675},
    "averaged_sgd": {"learning_rate": 0.1, "momentum": 0.9, "power": 8.0},
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
    "innaprop": {
        "learning_rate": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
        "alpha": (0.01, 0.1, 0.5, 1.0, 2.0),
        "beta": (0.3, 0.9, 1.0, 2.0),
    },
    "cdat": {"sigma": (0.5, 1.0, 1.5, 2.0, 2.5), "momentum": (0.0, 0.5, 0.9), "ema_decay": (0.0, 0.5, 0.9, 0.99)},
    "gpa_adamw": {
        "learning_rate": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
        "mu_x": (0.0, 0.9, 0.97, 0.99, 0.9967),
        "mu_y": (0.5, 0.7, 1.0),
    },
    "schedule_free_adamw": {"learning_rate": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3), "b1": (0.5, 0.9, 0.98)},
    "snoo_adamw": {
        "learning_rate": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
        "period": (5, 17, 51),
        "step_size": (0.1, 0.3006, 0.7, 1.0),
        "momentum": (0.0, 0.5, 0.7675, 0.9),
    },
    "averaged_sgd": {"learning_rate": RATES, "power": (0.0, 2.0, 8.0, 32.0)},
}


def settings(method: str) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return what is varied, its value, and all hyperparameters of each setting of a method."""
    return [(name, value, {**BASE[method], name: value}) for name, values in VARIED[method].items() for value in values]


def measure(method: str, arguments: Sequence[dict[str, Any]]) -> list[list[float | None]]:
    """Return for each setting the accuracy on held-out training images at the end, a seed each; None if it diverged."""
    runs = [RUN.replace(method=method, method_args=one, seed=seed) for one in arguments for seed in SEEDS]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{k}.jsonl" for k in range(len(runs))]
        statuses = sweep.train_many(runs, paths, labels=[method] * len(runs))
        finals = [_final(path) if status == "done" else None for path, status in zip(paths, statuses, strict=True)]
    return [finals[k : k + len(SEEDS)] for k in range(0, len(finals), len(SEEDS))]


def _final(path: Path) -> float | None:
    return records.read(path).last("eval")["accuracy"]


def main(methods: Sequence[str]) -> None:
    """Measure every setting of some methods once, or of all, and write the file."""
    kept: dict[str, Any] = json.loads(OUT.read_text()) if methods else {"rows": []}
    by_method: dict[str, list[dict[str, Any]]] = {}
    for row in kept["rows"]:
        by_method.setdefault(row["method"], []).append(row)
    where = records.provenance("cpu")
    for method in methods or BASE:
        everything = settings(method)
        distinct = {json.dumps(one, sort_keys=True): one for *_, one in everything}
        known = dict(zip(distinct, measure(method, list(distinct.values())), strict=True))
        by_method[method] = [
            {"method": method, "varied": name, "value": value, "accuracy": known[json.dumps(one, sort_keys=True)]}
            for name, value, one in everything
        ]
        print(method, json.dumps(by_method[method]), flush=True)
    facts = {"seeds": SEEDS, "epochs": RUN.epochs, "batch_size": RUN.batch_size, "model": RUN.model, "data": RUN.data}
    start = kept["start"] if methods else {**facts, **where}
    later = {**kept.get("later", {}), **{method: where for method in methods}}
    rows = [row for method in BASE for row in by_method.get(method, [])]
    written = {"start": start, "later": later, "base": BASE, "rows": rows}
    OUT.write_text(json.dumps(written, indent=None) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
