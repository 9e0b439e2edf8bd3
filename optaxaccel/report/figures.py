"""Figures of loss and accuracy against epochs, oracle calls and seconds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optaxaccel.report.tables import calls, group
from optaxaccel.training.records import Record, Row

# Okabe and Ito's colours, which colour-blind readers tell apart; line styles help in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
AXES: Mapping[str, tuple[str, Callable[[Row], float]]] = {
    "epochs": ("epochs", lambda row: row["epoch"]),
    "calls": ("oracle calls", calls),
    "seconds": ("training seconds", lambda row: row["seconds"]),
}
POINTS = 200


def curves(
    records: Sequence[Record], kind: str, value: str, x: Callable[[Row], float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return common abscissae [p] and the members' values there [n, p], with at most 200 points.

    Members are put on one grid by linear interpolation over the range that all of them cover.
    """
    series = []
    for record in records:
        points = [(x(row), row[value]) for row in record.rows if row["kind"] == kind and isinstance(row[value], float)]
        if len(points) > 1:
            series.append(np.array(points, float).T)
    if not series:
        return np.zeros(0), np.zeros((0, 0))
    low, high = max(s[0][0] for s in series), min(s[0][-1] for s in series)
    count = min(POINTS, max(len(s[0]) for s in series))
    grid = np.linspace(low, high, count)
    return grid, np.array([np.interp(grid, s[0], s[1]) for s in series])


def draw(records: Sequence[Record], path: Path, title: str = "") -> Path:
    """Draw mean curves with bands of one standard error and write a PNG.

    Args:
      records: all records; final runs are drawn, by label.
      path: the PNG's path.
      title: the figure's title.

    Returns:
      The path.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = group(records)
    split = next((row["split"] for record in records for row in record.rows if row["kind"] == "eval"), "test")
    rows = (
        ("train", "loss", "training loss (nats)"),
        ("eval", "loss", f"{split} loss (nats)"),
        ("eval", "accuracy", f"{split} accuracy (%)"),
    )
    figure, axes = plt.subplots(len(rows), len(AXES), figsize=(4.2 * len(AXES), 3.1 * len(rows)), squeeze=False)
    for i, (kind, value, ylabel) in enumerate(rows):
        for j, (xlabel, x) in enumerate(AXES.values()):
            for k, (label, members) in enumerate(groups.items()):
                _band(axes[i][j], *curves(members, kind, value, x), label=label, index=k, percent=value == "accuracy")
            axes[i][j].set(xlabel=xlabel, ylabel=ylabel)
            axes[i][j].grid(alpha=0.3)
            if value == "loss":
                axes[i][j].set_yscale("log")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(6, len(labels) or 1), frameon=False)
    if title:
        figure.suptitle(title)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
    return path


def _band(axis: Any, x: np.ndarray, values: np.ndarray, *, label: str, index: int, percent: bool) -> None:
    if not len(x):
        return
    values = 100 * values if percent else values
    mean = values.mean(0)
    colour, style = COLOURS[index % len(COLOURS)], STYLES[index % len(STYLES)]
    if percent and len(mean) > 1:  # the jump from chance level would flatten everything else
        low = min(axis.get_ylim()[0] if axis.lines else np.inf, mean[1:].min() - 1)
        axis.set_ylim(bottom=low)
    axis.plot(x, mean, color=colour, linestyle=style, label=label, linewidth=1.5)
    if len(values) > 1:
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        low = mean - error if percent else np.maximum(mean - error, mean * 1e-2)
        axis.fill_between(x, low, mean + error, color=colour, alpha=0.15, linewidth=0)
