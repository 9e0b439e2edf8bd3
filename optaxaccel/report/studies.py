"""A study's table, measured against expected, and its figure, panel by panel."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optaxaccel.report import figures, tables
from optaxaccel.training.keeping.records import Row
from optaxaccel.training.many.experiment import Expect, Panel


def table(values: Mapping[str, float], expected: Mapping[str, Expect], title: str) -> tables.Table:
    """Return one line a measured value, and whether it lies where it was expected."""
    rows = []
    for name, value in values.items():
        wanted = expected.get(name)
        value = value if isinstance(value, (int, float)) else None  # a record writes infinity as a word
        shown = "-" if value is None else f"{value:.6g}"
        if wanted is None:
            rows.append([name, "-", shown, "-", ""])
        else:
            as_expected = "yes" if value is not None and wanted.holds(value) else "NO"
            rows.append([name, _range(wanted), shown, as_expected, wanted.source])
    return tables.Table(title, ("quantity", "expected", "measured", "as expected", "source"), rows, tables.WORDS)


def _range(wanted: Expect) -> str:
    if math.isinf(wanted.high):
        return f"at least {wanted.low:.6g}"
    if math.isinf(wanted.low):
        return f"at most {wanted.high:.6g}"
    middle, half = (wanted.low + wanted.high) / 2, (wanted.high - wanted.low) / 2
    if half > 0.1 * abs(middle):
        return f"{wanted.low:.6g} to {wanted.high:.6g}"
    return f"{middle:.6g}" + (f" ± {half:.2g}" if half else "")


def figure(points: Sequence[Row], panels: Mapping[str, Panel], path: Path, title: str = "") -> Path:
    """Draw a study's points, one panel after the other."""
    columns = min(3, len(panels))
    index: dict[str, int] = {}
    with figures.figure_of(path, -(-len(panels) // columns), columns, title) as axes:
        flat = [axis for row in axes for axis in row]
        for axis, (name, panel) in zip(flat, panels.items(), strict=False):
            series: dict[str, list[Row]] = {}
            for point in points:
                if point["panel"] == name:
                    series.setdefault(point["series"], []).append(point)
            for label, of_label in series.items():
                _draw_series(axis, of_label, panel, label, index.setdefault(label, len(index)))
            axis.set(xlabel=panel.x, ylabel=panel.y, title=panel.title)
            axis.set(**{f"{which}scale": "log" for which in panel.log})
            if panel.equal:
                axis.set_aspect("equal", "datalim")
        for axis in flat[len(panels) :]:
            axis.set_visible(False)
    return path


def _draw_series(axis: Any, points: Sequence[Row], panel: Panel, label: str, index: int) -> None:
    x, y = [p["x"] for p in points], np.array([np.nan if p["y"] is None else p["y"] for p in points], float)
    if "y" in panel.log:
        y[y <= 0] = np.nan  # an exact zero has no place on a logarithmic axis
    drawn = figures.look(index)
    if panel.kind == "points":
        axis.plot(x, y, figures.MARKERS[index % 8], color=drawn["color"], label=label, markersize=4)
    elif panel.kind == "path":
        axis.plot(x, y, marker=figures.MARKERS[index % 8], markersize=2.5, linewidth=0.8, label=label, **drawn)
    else:
        axis.plot(x, y, linewidth=1.5, label=label, **drawn)
    if "low" in points[0]:
        axis.fill_between(
            x, [p["low"] for p in points], [p["high"] for p in points], color=drawn["color"], alpha=0.15, linewidth=0
        )
