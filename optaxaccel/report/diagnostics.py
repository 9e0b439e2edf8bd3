"""What methods told while they ran, drawn against steps: one panel a name, one colour a contender."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from optaxaccel.report.figures import COLOURS, figure_of, log_if_wide, look
from optaxaccel.report.grouping import groups
from optaxaccel.training.keeping.records import Record, Row, diagnosed

ABOUT = frozenset({"kind", "step", "epoch", "value_calls", "grad_calls", "hvp_calls", "seconds"})
MOST = len(COLOURS)
LINES = 5  # runs of each that are drawn
Series = Mapping[str, Sequence[Sequence[Row]]]  # rows of every run, by contender


def draw(records: Sequence[Record], path: Path, title: str = "") -> Path | None:
    """Draw what was told by the final runs of the first eight contenders that tell anything; None where none does.

    Every run is a line. What stayed zero in all of them has no panel.

    Args:
      records: the runs.
      path: the PNG.
      title: its title.
    """
    by_name = rows_by_name(records, diagnosed)
    fields = dict.fromkeys(n for runs in by_name.values() for rows in runs for row in rows for n in row)
    drawn = [n for n in fields if n not in ABOUT and _ever(n, by_name.values())]
    return panels(by_name, drawn, path, title) if drawn else None


def rows_by_name(records: Sequence[Record], read: Callable[[Path], list[Row]]) -> Series:
    """Return what `read` finds in the records of the final runs of the first eight contenders with any such rows."""
    finals = [record for record in records if record.start["phase"] not in ("tune", "score", "default")]
    by_name = {
        group.name: [
            rows for one in group.members[:LINES] if one.path.is_file() and (rows := read(one.path))
        ]  # a record that was never written has none
        for group in groups(finals)
    }
    by_name = {name: runs for name, runs in by_name.items() if runs}
    return {name: by_name[name] for name in list(by_name)[:MOST]}


def panels(
    by_name: Series, fields: Sequence[str], path: Path, title: str, levels: Mapping[str, float] | None = None
) -> Path:
    """Draw a panel a field against steps, with a dashed line at a field's level."""
    columns = min(3, len(fields))
    with figure_of(path, -(-len(fields) // columns), columns, title, size=(3.6, 2.5)) as axes:
        flat = [axis for row in axes for axis in row]
        for axis, field in zip(flat, fields, strict=False):
            for index, (name, runs) in enumerate(by_name.items()):
                for place, rows in enumerate(runs):
                    points = [(row["step"], row[field]) for row in rows if isinstance(row.get(field), (int, float))]
                    if points:
                        _line(axis, points, index, name if place == 0 else None)
            axis.set(xlabel="steps", title=field.replace("_", " "))
            log_if_wide(axis)
            if levels and field in levels:
                axis.axhline(levels[field], color="#777777", linewidth=0.8, linestyle="--", zorder=0)
        for axis in flat[len(fields) :]:
            axis.set_visible(False)
    return path


def _line(axis, points: Sequence[tuple[int, float]], index: int, label: str | None) -> None:
    x, y = np.array(points, float).T
    axis.plot(x, y, linewidth=1.0, alpha=0.8, label=label, marker="" if len(x) > 1 else "o", **look(index))


def _ever(field: str, runs_of_all) -> bool:
    return any(row.get(field, 0) not in (0, "nan") for runs in runs_of_all for rows in runs for row in rows)
