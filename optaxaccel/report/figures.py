"""Figures from records and points: curves, box plots over settings, sensitivities, panels of a study."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from optaxaccel.report import grids, tables
from optaxaccel.report.grouping import by_label, groups
from optaxaccel.report.tables import calls
from optaxaccel.training.keeping.records import Record, Row

# Okabe and Ito's colours, which colour-blind readers tell apart; line styles help in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
MARKERS = "osv^Dx+*"
AXES: Mapping[str, tuple[str, Callable[[Row], float]]] = {
    "epochs": ("epochs", lambda row: row["epoch"]),
    "calls": ("oracle calls", calls),
    "seconds": ("training seconds", lambda row: row["seconds"]),
}
DRAWN = 200
DPI = 110
PALETTE = 96  # colours of a file; antialiased lines need no more
FLOOR = 1e-13  # losses below are drawn here, as in PAL's figures


def look(index: int) -> dict[str, Any]:
    """Return colour and line style of the contender of this index; no two of the first 56 are alike."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": STYLES[(index + index // 8) % len(STYLES)]}


class _Columns(dict):
    """What an abscissa is computed from: a column by name, of all rows at once; they are the entry ""."""

    def __missing__(self, name: str) -> np.ndarray:
        return self[""].column(name)


def curves(
    records: Sequence[Record], kind: str, value: str, x: Callable[[Row], float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return common abscissae [p] and the members' values there [n, p], with at most 200 points.

    `value` is a column of the rows, or "error": one minus the accuracy. Members are put on one grid by linear
    interpolation over the range that all of them cover.
    """
    series = []
    for record in records:
        rows = record.of(kind)
        measured = rows.column("accuracy" if value == "error" else value)
        kept = np.array([isinstance(y, float) for y in measured], bool) if measured.dtype != float else slice(None)
        at: Any = x(_Columns({"": rows}))  # a column, since what it is computed from are columns
        at, y = np.asarray(at[kept], float), np.asarray(measured[kept], float)
        points = np.stack([at, 1.0 - y if value == "error" else y])
        if points.shape[1] > 1:
            series.append(points)
    if not series:
        return np.zeros(0), np.zeros((0, 0))
    low, high = max(s[0][0] for s in series), min(s[0][-1] for s in series)
    count = min(DRAWN, max(len(s[0]) for s in series))
    grid = np.linspace(low, high, count)
    return grid, np.array([np.interp(grid, s[0], s[1]) for s in series])


def draw(
    records: Sequence[Record],
    path: Path,
    title: str = "",
    by: str = "accuracy",
    reported: Mapping[str, Sequence[Sequence[float]]] = MappingProxyType({}),
) -> Path:
    """Draw mean curves of the final runs, by label, with bands of one standard error; of many contenders the best 8.

    Args:
      records: the runs.
      path: the PNG.
      title: its title.
      by: how contenders are ranked.
      reported: accuracies at epochs 0, 1, ... of the paper's own runs, by label; drawn faintly behind.
    """
    finals = [record for record in records if record.start["phase"] != "tune"] or records
    split = next((rows[0]["split"] for record in finals if len(rows := record.of("eval"))), "test")
    rows = (
        ("train", "loss", "loss of minibatches (nats)"),
        ("eval", "loss", f"{split} loss (nats)"),
        ("eval", "accuracy", f"{split} accuracy (%)"),
    )
    drawn = {group.name: group.members for group in groups(records)}
    if len(drawn) > len(COLOURS):
        best = [line.name for line in tables.lines(records, by)][: len(COLOURS)]
        title = f"{title}: the best {len(best)} of {len(drawn)} by {by}".removeprefix(": ")
        drawn = {name: drawn[name] for name in best}
    counts = [len(record.of("eval")) for members in drawn.values() for record in members]
    if max(counts, default=0) < 3:  # a line from the start to the end says no more than the table
        rows = rows[:1]
    timed = all(_timed(record) for members in drawn.values() for record in members)
    against = [axis for name, axis in AXES.items() if timed or name != "seconds"]
    with figure_of(path, len(rows), len(against), title) as axes:
        for i, (kind, value, ylabel) in enumerate(rows):
            for axis, (xlabel, x) in zip(axes[i], against, strict=True):
                _draw_groups(axis, drawn, kind, value, x)
                axis.set(xlabel=xlabel, ylabel=ylabel)
                if value == "loss":
                    log_if_wide(axis)
                if (value, xlabel) == ("accuracy", "epochs"):
                    _draw_reported(axis, list(drawn), reported)
    return path


def _timed(record: Record) -> bool:
    """Return whether a run's seconds say something: it had the machine's program for itself, and steps took time."""
    seconds = record.of(None).having("seconds").column("seconds")
    numbers = seconds if seconds.dtype == float else [s for s in seconds.tolist() if isinstance(s, float)]
    largest = np.max(numbers, initial=0.0)
    return record.start.get("members", 1) == 1 and (not record.rows or largest > 0)


def log_if_wide(axis: Any, which: str = "y") -> None:
    """Make an axis logarithmic if what is drawn on it is positive and spans a decade at least.

    Below that a logarithmic axis has hardly a labelled tick, and what is not positive has no place on it.
    """
    drawn = [np.asarray(line.get_ydata() if which == "y" else line.get_xdata(), float) for line in axis.get_lines()]
    values = np.concatenate([v[np.isfinite(v)] for v in drawn]) if drawn else np.zeros(0)
    if values.size and values.min() > 0 and values.max() >= 10 * values.min():
        axis.set(**{f"{which}scale": "log"})


def _draw_reported(axis: Any, labels: Sequence[str], reported: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Draw every run of the paper as a thin line in its contender's colour."""
    for index, label in enumerate(labels):
        for accuracies in reported.get(label, ()):
            axis.plot(100 * np.array(accuracies), color=look(index)["color"], linewidth=0.6, alpha=0.5, zorder=1)
    if reported:
        axis.plot([], [], color="#777777", linewidth=0.6, label="the paper's runs")
        highest = max(100 * value for runs in reported.values() for accuracies in runs for value in accuracies)
        axis.set_ylim(top=min(101.0, max(axis.get_ylim()[1], highest + 1)))


def extrapolated(records: Sequence[Record], path: Path, title: str = "") -> Path:
    """Draw the error of the network and of its extrapolation, one panel a contender."""
    all_groups = groups(records)
    columns = min(3, len(all_groups))
    with figure_of(path, -(-len(all_groups) // columns), columns, title) as axes:
        for axis in axes.flat[len(all_groups) :]:
            axis.set_visible(False)
        for axis, group in zip(axes.flat, all_groups, strict=False):
            for index, (kind, name) in enumerate((("eval", "network"), ("extrapolation", "extrapolated"))):
                x, values = curves(group.members, kind, "accuracy", AXES["epochs"][1])
                _band(axis, x, 100 - 100 * values, label=name, index=index)
            axis.set(xlabel="epochs", ylabel="test error (%)", title=group.name)
            log_if_wide(axis)
    return path


def boxes(records: Sequence[Record], path: Path, by: str, title: str = "") -> Path:
    """Draw the distribution over settings (all, and the best quarter) and the curves of each contender's best."""
    by = tables.ranked_by(records, by)
    by_label = grids.settings(records, by)
    what = {"accuracy": "error (%)", "loss": "held-out loss (nats)"}.get(by, "training loss (nats)")
    scale = 100.0 if by == "accuracy" else 1.0
    with figure_of(path, 1, 3, title) as axes:
        for axis, share in ((axes[0][0], 1), (axes[0][1], 4)):
            shown = {label: [s.value for s in own][: -(-len(own) // share)] for label, own in by_label.items()}
            finite = [[scale * max(v, FLOOR) for v in values if v < math.inf] for values in shown.values()]
            axis.boxplot(finite, whis=(0, 100), widths=0.6, medianprops={"color": COLOURS[1]})
            failed = [len(values) - len(done) for values, done in zip(shown.values(), finite, strict=True)]
            names = [f"{label}\n{n} failed" if n else label for label, n in zip(shown, failed, strict=True)]
            axis.set_xticks(range(1, len(names) + 1), names, rotation=30 if len(names) > 4 else 0, fontsize=7)
            if max(map(max, filter(None, finite)), default=0) >= 10 * min(map(min, filter(None, finite)), default=1):
                axis.set_yscale("log")
            axis.set(ylabel=what, title="all settings" if share == 1 else "best quarter of the settings")
        best = {label: members[0].group.members for label, members in by_label.items()}
        kind, value = {"train loss": ("train_eval", "loss"), "accuracy": ("eval", "error")}.get(by, ("eval", by))
        _draw_groups(axes[0][2], best, kind, value, AXES["epochs"][1])
        axes[0][2].set(xlabel="epochs", ylabel=what, title="best setting of each")
        log_if_wide(axes[0][2])
    return path


def sensitivity(records: Sequence[Record], path: Path, by: str, title: str = "") -> Path | None:
    """Draw what tuning found against the one hyperparameter that each contender varied; None where none did."""
    lines = {}
    tuning = by_label(records, "tune")
    by = tables.ranked_by([record for members in tuning.values() for record in members], by)
    for label, members in tuning.items():
        points = _along_the_main_argument(members, by)
        if points:
            lines[label] = points
    if not lines:
        return None
    columns = min(4, len(lines))
    seen = [value for _, points in lines.values() for _, value in points if value < math.inf]
    what = {"accuracy": "validation error (%)", "loss": "validation loss (nats)"}.get(by, "training loss (nats)")
    with figure_of(path, -(-len(lines) // columns), columns, title, legend=False, size=(3.0, 2.3)) as axes:
        flat = [axis for row in axes for axis in row]
        for axis, (label, (name, points)) in zip(flat, lines.items(), strict=False):
            x, y = zip(*points, strict=True)
            scale = 100.0 if by == "accuracy" else 1.0
            axis.plot(x, [scale * max(v, FLOOR) if v < math.inf else math.nan for v in y], "o-", color=COLOURS[0], ms=3)
            for value, result in points:
                if math.isinf(result):
                    axis.axvline(value, color=COLOURS[1], linestyle=":", linewidth=1)
            axis.set(xlabel=name, ylabel=what, title=label, xscale="log")
            if max(seen) >= 10 * max(min(seen), FLOOR):
                axis.set_yscale("log")
            axis.set_ylim(0.8 * scale * max(min(seen), FLOOR), 1.25 * scale * max(seen))
        for axis in flat[len(lines) :]:
            axis.set_visible(False)
    return path


def _along_the_main_argument(members: Sequence[Record], by: str) -> tuple[str, list[tuple[float, float]]] | None:
    """Return the name of the only argument that varies, and (its value, outcome) in order; None if there is none."""
    specs = [record.start["spec"] for record in members]
    names = {name for spec in specs for name in spec["method_args"]}
    varied = [n for n in names if len({json.dumps(spec["method_args"].get(n)) for spec in specs}) > 1]
    if len(varied) != 1:
        return None
    (name,) = varied
    return name, sorted((s["method_args"][name], tables.outcome(r, by)) for s, r in zip(specs, members, strict=True))


def _draw_groups(axis: Any, groups: Mapping[str, Sequence[Record]], kind: str, value: str, x: Any) -> None:
    scale = 100.0 if value in ("accuracy", "error") else 1.0
    lows = []
    for index, (label, members) in enumerate(groups.items()):
        curves_of_runs, values = curves([m for m in members if m.status == "done"] or members, kind, value, x)
        _band(axis, curves_of_runs, scale * np.maximum(values, FLOOR), label=label, index=index)
        if len(curves_of_runs) > 1:
            lows.append(scale * values.mean(0)[1:].min())
    if value == "accuracy" and lows:  # the jump from chance level would flatten everything else
        axis.set_ylim(bottom=max(0.0, float(np.median(lows)) - 3))
        axis.set_ylim(top=min(101.0, axis.get_ylim()[1]))


def _band(axis: Any, x: np.ndarray, values: np.ndarray, *, label: str, index: int) -> None:
    """Draw a mean with a band of one standard error."""
    if not len(x):
        axis.plot([], [], label=label, **look(index))
        return
    mean = values.mean(0)
    axis.plot(x, mean, label=label, linewidth=1.5, **look(index))
    if len(values) > 1:
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        low = np.maximum(mean - error, mean * 1e-2)
        axis.fill_between(x, low, mean + error, color=look(index)["color"], alpha=0.15, linewidth=0)


@contextlib.contextmanager
def figure_of(
    path: Path, rows: int, columns: int, title: str, *, legend: bool = True, size: tuple[float, float] = (4.2, 3.1)
) -> Iterator[Any]:
    """Yield a grid of axes; afterwards write it as a small PNG, the same for the same input."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False)
    try:
        yield axes
        handles: dict[str, Any] = {}
        for axis in axes.flat:
            axis.grid(alpha=0.3)
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        below = 0.0
        if legend and handles:
            across = min(6, 2 * columns, len(handles))
            lines = -(-len(handles) // across)
            room = 0.12 + (0.22 if lines <= 3 else 0.18) * lines  # inches
            figure.set_figheight(figure.get_figheight() + (room if lines > 3 else 0.0))  # a long one is added
            below = room / figure.get_figheight()
            figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=across, frameon=False, fontsize=8)
        if title:
            figure.suptitle(title, fontsize=10)
        figure.tight_layout(rect=(0, below, 1, 1))
        _save(figure, path)
    finally:
        plt.close(figure)


def _save(figure: Any, path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.set_dpi(DPI)
    figure.canvas.draw()  # once; `savefig` draws twice, and writes what would be read again here
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    image.quantize(PALETTE, dither=Image.Dither.NONE).save(path, format="PNG", optimize=True)
