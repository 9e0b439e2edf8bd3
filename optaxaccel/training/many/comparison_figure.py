"""The figure of a comparison: the score against steps, oracle calls and seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optaxaccel.training.keeping.records import Record
from optaxaccel.training.many.compared import calls

AGAINST = (("steps", lambda row: row["step"]), ("oracle calls", calls), ("seconds", lambda row: row["seconds"]))
PLACES = 100


def draw(comparison: Any, path: Path) -> Path:
    """Draw a comparison into a file; its ending says in which format."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metric = comparison.score["metric"]
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(AGAINST), sharey=True)
    for axis, (name, at) in zip(axes, AGAINST, strict=True):
        for index, method in enumerate(comparison.methods):
            _draw_method(axis, comparison.final(method), metric, at, {"color": f"C{index}", "label": method})
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(metric)
    values = [row[metric] for r in comparison.records for row in _evaluations(r) if r.start["phase"] == "final"]
    if values and min(values) > 0 and max(values) > 30 * min(values):
        axes[0].set_yscale("log")
    axes[0].legend(fontsize="small")
    figure.suptitle(comparison.task)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def _evaluations(record: Record) -> list[Any]:
    return [row for row in record.rows if row["kind"] == "eval"]


def _draw_method(axis: Any, runs: Sequence[Record], metric: str, at: Any, look: dict[str, Any]) -> None:
    """Draw the median of the runs that are done with its band, and where others diverged or ended."""
    done = [_evaluations(record) for record in runs if record.status == "done"]
    if done:
        end = min(at(rows[-1]) for rows in done)
        x = np.linspace(0.0, end, PLACES)
        curves = np.array([np.interp(x, [at(r) for r in rows], [r[metric] for r in rows]) for rows in done])
        axis.plot(x, np.median(curves, axis=0), **look)
        axis.fill_between(x, curves.min(axis=0), curves.max(axis=0), color=look["color"], alpha=0.2, linewidth=0)
    for record in runs:
        if record.status != "done":
            last = _evaluations(record)[-1:]
            label = {} if done else {"label": f"{look['label']} ({record.status})"}
            axis.plot([at(r) for r in last], [r[metric] for r in last], "x", color=look["color"], **label)
            done = done or [last]
