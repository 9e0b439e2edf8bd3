"""What probes of curvature found beside training, drawn against steps: eigenvalues, and the rate times the largest."""

from collections.abc import Sequence
from pathlib import Path

from optaxaccel.report.diagnostics import panels, rows_by_name
from optaxaccel.training.keeping.records import Record, probed

LEVELS = {"rate_times_sharpness": 2.0, "smallest_eigenvalue": 0.0}  # the edge of stability; below, a saddle


def draw(records: Sequence[Record], path: Path, title: str = "") -> Path | None:
    """Draw the probes of the final runs of the first eight contenders that have any; None where none has.

    Every run is a line. A dashed line stands at 2, where plain gradient descent on a quadratic is on the edge of
    stability, and at a smallest eigenvalue of 0.

    Args:
      records: the runs.
      path: the PNG.
      title: its title.
    """
    by_name = rows_by_name(records, probed)
    there = {name for runs in by_name.values() for rows in runs for row in rows for name in row}
    fields = [name for name in ("sharpness", "rate_times_sharpness", "smallest_eigenvalue") if name in there]
    return panels(by_name, fields, path, title, LEVELS) if fields else None
