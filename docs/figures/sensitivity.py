"""How much each method minds its step size, drawn from what `make sensitivity` measured."""

import json

import matplotlib.pyplot as plt
from canvas import STATIC, save

STEP = {"pal": "measuring_step_size", "negative_curvature_descent": "step_size", "cdat": "sigma"}


def main() -> None:
    """Draw accuracy against step size, one panel a method, with optax's SGD behind each."""
    rows = json.loads((STATIC / "sensitivity.json").read_text())["rows"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    behind = curve(rows, "optax.sgd")
    figure, panels = plt.subplots(4, 5, figsize=(11, 8.6), sharex=True, sharey=True, layout="constrained")
    for panel, method in zip(panels.flat, methods, strict=False):
        panel.plot(*behind[:2], color="0.75", linewidth=1.2)
        x, y, spread = curve(rows, method)
        panel.errorbar(x, y, spread, color="tab:blue", marker=".", capsize=2)
        panel.set(xscale="log", ylim=(80, 100))
        panel.set_title(method, fontsize=9)
        panel.set_xlabel(STEP.get(method, "learning_rate"), fontsize=8)
        panel.tick_params(labelsize=7, labelbottom=True)
        panel.grid(color="0.92")
    for panel in panels.flat[len(methods) :]:
        panel.set_axis_off()
    for panel in panels[:, 0]:
        panel.set_ylabel("accuracy %", fontsize=8)
    save(figure, "step_sizes.png", colours=48)


def curve(rows: list[dict], method: str) -> tuple[list[float], list[float], list[float]]:
    """Return step sizes, mean accuracies in percent and half the range over seeds; diverged runs count as 0."""
    name = STEP.get(method, "learning_rate")
    chosen = [row for row in rows if row["method"] == method and row["varied"] == name]
    seeds = [[100.0 * (a or 0.0) for a in row["accuracy"]] for row in chosen]
    means = [sum(s) / len(s) for s in seeds]
    return [row["value"] for row in chosen], means, [(max(s) - min(s)) / 2 for s in seeds]


if __name__ == "__main__":
    main()
