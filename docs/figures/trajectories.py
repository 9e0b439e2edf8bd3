"""The paths of all methods on three functions of two numbers: Rosenbrock's, INDIAN's Fig. 1, and a saddle.

Hyperparameters were chosen by hand so that each method shows its character; nothing here is a race.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from canvas import make, path_of, save

from optaxaccel import METHODS


class Landscape(NamedTuple):
    """A function, where to start, what to draw, and how methods are set that their card's example does not suit."""

    name: str
    loss: Callable[[jax.Array], jax.Array]
    start: list[float]
    steps: int
    window: tuple[float, float, float, float]
    levels: np.ndarray
    minima: list[tuple[float, float]]
    methods: dict[str, dict[str, Any]]


ROSENBROCK = Landscape(
    name="rosenbrock",
    loss=lambda p: (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2,
    start=[-1.0, 1.2],
    steps=400,
    window=(-1.6, 1.6, -0.6, 2.0),
    levels=np.logspace(-1, 3, 9),
    minima=[(1.0, 1.0)],
    methods={
        "optax.sgd": {"learning_rate": 1e-3},
        "agd": {"learning_rate": 1e-3, "momentum": 0.9},
        "nesterov": {"learning_rate": 1e-3},
        "interpolatron": {"learning_rate": 1e-3, "coefficients": (0.1, 0.9)},
        "anderson": {"learning_rate": 1e-3, "history": 2, "regularization": 1e-2},
        "indian": {"learning_rate": 0.02, "alpha": 0.5, "beta": 0.05},
        "pal": {"measuring_step_size": 0.01, "max_step_size": 0.5, "momentum": 0.4, "loose_approximation": 0.8},
        "gose_sgd": {"learning_rate": 1e-3, "momentum": 0.9},
        "gose_agd": {"learning_rate": 1e-3, "momentum": 0.9},
        "ancm": {"learning_rate": 1e-3, "momentum": 0.9, "period": 50},
        "rna_sgd": {"learning_rate": 1e-3, "history": 5, "period": 20, "regularization": 1e-2},
        "negative_curvature_descent": {"step_size": 0.1},
        "averaged_sgd": {"learning_rate": 1e-3, "momentum": 0.9},
    },
)
KINKED = Landscape(
    name="kinked_valley",
    loss=lambda p: 100 * (p[1] - jnp.abs(p[0])) ** 2 + jnp.abs(1 - p[0]),
    start=[-1.0, 0.5],
    steps=1500,
    window=(-1.3, 1.5, -0.4, 1.5),
    levels=np.logspace(-1, 2.3, 9),
    minima=[(1.0, 1.0)],
    methods={
        "optax.sgd": {"learning_rate": 2e-3},
        "agd": {"learning_rate": 1e-3, "momentum": 0.9},
        "nesterov": {"learning_rate": 5e-4},
        "interpolatron": {"learning_rate": 2e-3, "coefficients": (0.1, 0.9)},
        "anderson": {"learning_rate": 2e-3, "history": 2, "constraint": "simplex"},
        "indian": {"learning_rate": 0.008, "alpha": 0.3, "beta": 0.1},
        "pal": {"measuring_step_size": 0.01, "max_step_size": 0.5, "momentum": 0.4, "loose_approximation": 0.8},
        "gose_sgd": {"learning_rate": 1e-3, "momentum": 0.9},
        "gose_agd": {"learning_rate": 1e-3, "momentum": 0.9},
        "ancm": {"learning_rate": 1e-3, "momentum": 0.9, "period": 50},
        "rna_sgd": {"learning_rate": 2e-3, "history": 5, "period": 20, "regularization": 1e-2},
        "negative_curvature_descent": {"step_size": 0.1},
        "averaged_sgd": {"learning_rate": 1e-3, "momentum": 0.9},
    },
)
SADDLE = Landscape(
    name="saddle",
    loss=lambda p: p[0] ** 2 / 2 - p[1] ** 2 / 2 + p[1] ** 4 / 4,
    start=[1.4, 0.0],
    steps=200,
    window=(-0.8, 1.6, -1.4, 1.4),
    levels=np.linspace(-0.24, 1.0, 13),
    minima=[(0.0, 1.0), (0.0, -1.0)],
    methods={
        "optax.sgd": {"learning_rate": 0.1},
        "agd": {"learning_rate": 0.1, "momentum": 0.9},
        "nesterov": {"learning_rate": 0.1},
        "interpolatron": {"learning_rate": 0.1, "coefficients": (0.1, 0.9)},
        "anderson": {"learning_rate": 0.1, "history": 2, "regularization": 1e-2},
        "indian": {"learning_rate": 0.1, "alpha": 0.5, "beta": 0.1},
        "pal": {"measuring_step_size": 0.1, "max_step_size": 1.0, "momentum": 0.4, "loose_approximation": 0.8},
        "gose_sgd": {"learning_rate": 0.1, "momentum": 0.9, "gradient_threshold": 0.05},
        "gose_agd": {"learning_rate": 0.1, "momentum": 0.9, "gradient_threshold": 0.05},
        "ancm": {"learning_rate": 0.1, "momentum": 0.9, "period": 50},
        "rna_sgd": {"learning_rate": 0.1, "history": 5, "period": 10, "regularization": 1e-2},
        "negative_curvature_descent": {"step_size": 0.1},
    },
)


def draw(landscape: Landscape) -> None:
    """Draw one panel a method and store the figure."""
    left, right, bottom, top = landscape.window
    x, y = np.meshgrid(np.linspace(left, right, 161), np.linspace(bottom, top, 161))
    height = np.asarray(jax.vmap(landscape.loss, in_axes=1)(jnp.array([x.ravel(), y.ravel()]))).reshape(x.shape)
    methods = {**landscape.methods, **{n: c.example for n, c in METHODS.items() if n not in landscape.methods}}
    rows = -(-len(methods) // 4)
    figure, panels = plt.subplots(
        rows, 4, figsize=(11, 8 / 3 * rows), sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    for panel in panels.flat[len(methods) :]:
        panel.set_axis_off()
    for panel, (method, arguments) in zip(panels.flat, methods.items(), strict=False):
        points = path_of(make(method, arguments), landscape.loss, landscape.start, landscape.steps)
        panel.contour(x, y, height, levels=landscape.levels, colors="0.82", linewidths=0.7)
        panel.plot(*points.T, color="tab:blue", linewidth=0.9)
        panel.plot(*points.T, ".", color="tab:blue", markersize=2.5)
        panel.plot(*landscape.start, "o", color="black", markersize=5)
        panel.plot(*np.array(landscape.minima).T, "*", color="tab:orange", markersize=9)
        panel.plot(*points[-1], "s", color="tab:red", markersize=5)
        panel.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
        settings = ", ".join(f"{short(name)} {value}" for name, value in arguments.items())
        panel.set_title(method, fontsize=10)
        loss = float(landscape.loss(jnp.array(points[-1])))
        panel.set_xlabel(f"{settings}\nloss {loss:.3g} after {landscape.steps} steps", fontsize=6.5)
    save(figure, f"{landscape.name}.png", colours=48, methods=tuple(methods))
    plt.close(figure)


def short(name: str) -> str:
    """Return a hyperparameter's name for a small label."""
    words = {"learning_rate": "rate", "measuring_step_size": "measure", "max_step_size": "max"}
    words |= {"loose_approximation": "loose", "regularization": "reg", "gradient_threshold": "threshold"}
    return words.get(name, name)


if __name__ == "__main__":
    for landscape in (ROSENBROCK, KINKED, SADDLE):
        draw(landscape)
