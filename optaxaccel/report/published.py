"""Published results: all records of an experiment at one scale in one small file, from which every table is rebuilt.

The first line says what the file is and holds the specification and provenance that all runs share. Every other line is
a run: what differs from the shared part, its curves as columns of at most 200 points, and how it ended. A study's file
holds its points and values likewise.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optaxaccel.training.keeping.records import MEASURED, Record, Row

POINTS = 200
MOST, FEWEST = 6000, 40  # points of all curves of one kind together, unless that would leave fewer than 40 of each
GRID_POINTS = 1  # of a setting that is not its contender's best: the last
DIGITS = 6
COLUMNS = ("step", "loss", "accuracy", "seconds")
MORE = ("top5",)  # where there are more than ten classes
CALLS = ("value_calls", "grad_calls", "hvp_calls")
ABSENT = "absent"
LEFT_OUT = ("digest", "compile_seconds")  # the first follows from the rest, the second is no result
ONCE = (*LEFT_OUT, "time")  # the time of the first run stands for all


class Published(NamedTuple):
    """What a file of results holds.

    Attributes:
      header: "experiment", "scale", "kind" ("runs" or "study") and the shared "start".
      records: the runs; empty for a study.
      points: a study's points; empty for runs.
      values: a study's measured values; empty for runs.
    """

    header: Row
    records: list[Record]
    points: list[Row]
    values: dict[str, float]


def write_runs(
    path: Path,
    experiment: str,
    scale: str,
    records: Sequence[Record],
    full: Iterable[Record],
    targets: Sequence[float] = (),
) -> None:
    """Write the runs of an experiment.

    Args:
      path: the file.
      experiment: its name.
      scale: its scale.
      records: the runs, finished or diverged.
      full: those whose curves are kept; of the others the last point is.
      targets: training losses; of every run it is kept when it came there.
    """
    full_paths = {record.path for record in full}
    records = [_placeless(record) for record in records]
    shared = {name: value for name, value in records[0].start.items() if name not in LEFT_OUT}
    points = max(FEWEST, min(POINTS, MOST // max(1, len(full_paths))))
    lines = [_packed(record, shared, points if record.path in full_paths else GRID_POINTS) for record in records]
    for line, record in zip(lines, records, strict=True):
        if targets:
            line["end"]["calls_to"] = {repr(target): calls_to(record, target) for target in targets}
    settings: dict[str, int] = {}  # what seeds have in common is written once
    for line in lines:
        common = {name: line.pop(name) for name in ("start", "calls", "splits")}
        line["setting"] = settings.setdefault(json.dumps(common), len(settings))
    header = {"experiment": experiment, "scale": scale, "kind": "runs", "start": shared}
    _write(path, [{**header, "settings": [json.loads(text) for text in settings]}, *lines])


def write_study(path: Path, experiment: str, scale: str, rows: Sequence[Row]) -> None:
    """Write a study's record, at most 200 points a series."""
    series: dict[tuple, list[Row]] = {}
    for row in rows[1:-1]:
        series.setdefault((row["panel"], row["series"]), []).append(row)
    lines = [{"experiment": experiment, "scale": scale, "kind": "study", "start": rows[0]}]
    for (panel, name), points_of_series in series.items():
        points = _thin(points_of_series, POINTS)
        columns = {c: [_short(p[c]) for p in points] for c in ("x", "y", "low", "high") if c in points[0]}
        lines.append({"panel": panel, "series": name, **columns})
    _write(
        path,
        [
            *lines,
            {
                "values": {
                    k: _short(v, 9) if isinstance(v, (int, float)) else None for k, v in rows[-1]["values"].items()
                }
            },
        ],
    )


def write_first_steps(path: Path, experiment: str, scale: str, records: Iterable[Record]) -> None:
    """Write what compiling and a step took, in seconds, and the peak of memory, in bytes, for each run."""
    records = [_placeless(record) for record in records]
    shared = {name: value for name, value in records[0].start.items() if name not in LEFT_OUT}
    lines: list[Row] = [{"experiment": experiment, "scale": scale, "kind": "first steps", "start": shared}]
    for record in records:
        step_seconds = record.end["seconds"] / (record.end["step"] - 1)  # of the steps after the first
        measured = {"compile_seconds": record.start["compile_seconds"], "step_seconds": _short(step_seconds)}
        lines.append({"label": record.start["label"], **measured, "peak_bytes": record.end.get("peak_bytes")})
    _write(path, lines)


def read_first_steps(path: Path) -> tuple[Row, list[Row]]:
    """Read what the first steps of all runs cost: the start that they share, and one row a run."""
    header, *lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return header["start"], lines


def read(path: Path) -> Published:
    """Read a file of results.

    Raises:
      ValueError: it is none.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not lines or lines[0].get("kind") not in ("runs", "study"):
        raise ValueError(f"{path} holds no published results: its first line does not say kind 'runs' or 'study'.")
    header = lines[0]
    if header["kind"] == "study":
        return Published(header, [], [p for line in lines[1:-1] for p in _points(line)], lines[-1]["values"])
    return Published(header, [_unpacked(path, line, header) for line in lines[1:]], [], {})


def _points(line: Row) -> Iterator[Row]:
    """Yield a series' points from its columns."""
    names = [name for name in line if name not in ("panel", "series")]
    for values in zip(*(line[name] for name in names), strict=True):
        yield {"panel": line["panel"], "series": line["series"], **dict(zip(names, values, strict=True))}


def mean_log_loss(record: Record) -> float:
    """Return the mean of log10 of the training loss over a run: how low, and how soon it was low."""
    if "mean_log_loss" in record.end:
        return record.end["mean_log_loss"]
    losses = [loss for loss in record.of("train").column("loss").tolist() if isinstance(loss, float)]
    return math.fsum(math.log10(max(loss, 1e-13)) for loss in losses) / len(losses) if losses else math.nan


def calls_to(record: Record, target: float) -> float | None:
    """Return the oracle calls until the training loss is at most `target`; None where it never is."""
    if "calls_to" in record.end:
        return record.end["calls_to"].get(repr(target))
    losses = (row for row in record.of("train") if isinstance(row["loss"], float))
    return next((sum(row[name] for name in CALLS) for row in losses if row["loss"] <= target), None)


def _placeless(record: Record) -> Record:
    """Forget where the data lay: that is a matter of the machine."""
    return record._replace(start={**record.start, "spec": {**record.start["spec"], "data_dir": None}})


# --- A run as one line ------------------------------------------------------------------------------------------------


def _packed(record: Record, shared: Row, points: int) -> Row:
    last = record.rows[-1] if record.rows else {}
    step = last.get("step") or 1
    end = {name: record.end[name] for name in ("status", "what", "skipped") if record.end.get(name)}
    start = _difference(record.start, shared)
    seed = start.get("spec", {}).pop("seed", shared["spec"]["seed"])
    line: Row = {
        "seed": seed,
        "start": start,
        "calls": [_short(last.get(name, 0) / step) for name in CALLS],
        "splits": {row["kind"]: row["split"] for row in record.of(None).having("split")},
        "end": {**end, "mean_log_loss": _short(mean_log_loss(record))},
    }
    for kind in MEASURED:
        rows = _thin(record.of(kind), points)
        if rows:
            line[kind] = {name: [_short(row[name]) for row in rows] for name in (*COLUMNS, *MORE) if name in rows[0]}
    return line


def _unpacked(path: Path, line: Row, header: Row) -> Record:
    shared, setting = header["start"], header["settings"][line["setting"]]
    spec = {**shared["spec"], **setting["start"].get("spec", {}), "seed": line["seed"]}
    start = {**shared, **setting["start"], "spec": spec}
    rows = []
    for kind in MEASURED:
        columns = line.get(kind, {})
        split = {"split": setting["splits"][kind]} if kind in setting["splits"] else {}
        for values in zip(*columns.values(), strict=True):
            row = {"kind": kind, **split, **dict(zip(columns, values, strict=True))}
            row["epoch"] = round(row["step"] / start.get("steps_per_epoch", 1), 6)
            rows.append(row | {name: row["step"] * cost for name, cost in zip(CALLS, setting["calls"], strict=True)})
    return Record(path, start, sorted(rows, key=lambda row: row["step"]), line["end"])


def _difference(ours: Mapping[str, Any], shared: Mapping[str, Any]) -> Row:
    """Return what has to be laid over `shared` to get `ours`; a specification is compared field by field."""
    names = [name for name in ours if name not in ("spec", *ONCE)]
    result: Row = {name: ours[name] for name in names if shared.get(name, ABSENT) != ours[name]}
    spec = {name: value for name, value in ours["spec"].items() if shared["spec"].get(name, ABSENT) != value}
    return {**result, "spec": spec} if spec else result


def _thin(rows: Sequence[Row], points: int) -> Sequence[Row]:
    """Keep at most `points` rows, evenly spread, the first and the last among them (of 1 point the last)."""
    if len(rows) <= points:
        return rows
    if points == 1:
        return rows[-1:]
    return [rows[round(i * (len(rows) - 1) / (points - 1))] for i in range(points)]


def _short(value: Any, digits: int = DIGITS) -> Any:
    """Return a number with as many digits as are published."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _write(path: Path, lines: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in _plain(lines))
    path.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """Replace numbers that JSON lacks by None."""
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple, Iterator)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
