"""The tasks of the self-tuning track, at its sizes; `quarter` and `whole` budgets follow from their steps."""

from typing import Any

import numpy as np

from optaxaccel import data, tasks

WRONG = 0.2  # share of the training labels that are drawn anew


def _wrong_labels() -> dict[str, Any]:
    """Return the digits, a fifth of the training labels drawn anew by a fixed seed; the test labels are right."""
    digits = data.load("digits")
    labels, draw = np.array(digits.train.label), np.random.default_rng(0)
    drawn = draw.random(len(labels)) < WRONG
    labels[drawn] = draw.integers(0, digits.classes, int(drawn.sum()))
    return {
        "x_train": digits.train.image,
        "y_train": labels,
        "x_test": digits.test.image,
        "y_test": digits.test.label,
    }


TASKS: dict[str, tuple[str, dict[str, Any]]] = {  # name of the task, and its arguments beside those of "smoke"
    "softmax_regression": ("softmax_regression", {"examples": 500, "steps": 600}),
    "lasso": ("lasso", {"steps": 600}),
    "matrix_factorisation": ("matrix_factorisation", {"steps": 600}),
    "phase_retrieval": ("phase_retrieval", {"steps": 600}),
    "cp_tensor": ("cp_tensor", {"steps": 600}),
    "rosenbrock": ("rosenbrock", {"dimension": 10, "steps": 800}),
    "poisson_1d": ("poisson_1d", {"steps": 1000}),
    "copy": ("copy", {"steps": 600}),
    "language": ("language", {"steps": 400}),
    # The second set, see README.md.
    "autoencoder": ("autoencoder", {"steps": 800}),
    "table, classes": ("table", {"data": "breast_cancer", "steps": 600}),
    "table, regression": ("table", {"data": "diabetes", "steps": 600}),
    "images, cnn": ("images", {"model": "cnn", "batch_size": 64, "steps": 400}),
    "images, batch norm": ("images", {"model": "resnet20_cifar", "width": 0.25, "batch_size": 64, "steps": 400}),
    "images, wrong labels": ("images", {"model": "mlp", "batch_size": 32, "steps": 800}),
}
FIRST = tuple(TASKS)[:9]  # those that candidate 1 ran on
SECOND = tuple(TASKS)[9:]


def make(name: str) -> tasks.Task:
    """Return a task of the track."""
    maker, arguments = TASKS[name]
    if name == "images, wrong labels":
        arguments = {**arguments, "dataset": _wrong_labels()}
    return tasks.make(maker, size="smoke", **arguments)
