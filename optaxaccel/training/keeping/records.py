"""Records: one JSONL file a run, provenance first, every row whole or absent.

Kinds of rows: "start" (specification and provenance), "train" (means over minibatches), "eval" (over held-out images),
"train_eval" (over a fixed sample of the training images) and "extrapolation" (measurements), "probe" (of curvature, see
`probed`), "diagnostics" (what the method tells of itself, see `diagnosed`), "end" (how the run ended, and how many
searches for negative curvature and jumps were made where the method has them).
A reader takes what is whole and ignores a torn last line, so a run that was killed leaves everything but that line.
"""

import datetime
import functools
import importlib.metadata
import json
import platform
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optaxaccel import __version__
from optaxaccel.training import cores
from optaxaccel.training.keeping import lines, measurements, soundness
from optaxaccel.training.keeping.writer import Sink as Sink
from optaxaccel.training.keeping.writer import Writer as Writer
from optaxaccel.training.run.spec import Run

Row = dict[str, Any]


TIMED = ("time", "seconds", "images_per_second", "compile_seconds", "step_seconds", "wait_seconds", "peak_bytes")
"""Fields that tell how fast a run was; two equal runs are equal in all others."""


_DIAGNOSTICS = b'{"kind": "diagnostics"'
MEASURED = ("train", "eval", "extrapolation", "train_eval")


class Record(NamedTuple):
    """All rows of one run.

    Attributes:
      path: the file.
      start: specification ("spec"), its hash ("digest"), label, phase and provenance.
      rows: the measurements in order; of `read_all` by columns.
      end: the last row if the run ended ({"status": "done" | "diverged" | "failed", ...}), else an empty dictionary.
    """

    path: Path
    start: Row
    rows: Sequence[Row]
    end: Row

    @property
    def status(self) -> str:
        """Return "done", "diverged", or "unfinished"."""
        return self.end.get("status", "unfinished")

    def last(self, kind: str) -> Row:
        """Return the last row of a kind, or an empty dictionary."""
        if isinstance(self.rows, measurements.Rows):
            its = self.rows.of(kind)
            return its[-1] if len(its) else {}
        return next((row for row in reversed(self.rows) if row["kind"] == kind), {})

    def of(self, kind: str | None) -> measurements.Rows:
        """Return the measurements of a kind, or all, by columns."""
        if isinstance(self.rows, measurements.Rows):
            return self.rows.of(kind)
        rows = measurements.Rows()
        rows.extend(measurements.alike([row for row in self.rows if kind in (row["kind"], None)]))
        return rows


def probed(path: Path) -> list[Row]:
    """Return the rows of a record that probes of curvature wrote; tables and figures of runs do not look at them."""
    return [row for row in lines.whole_rows(path) if row["kind"] == "probe"]


def diagnosed(path: Path) -> list[Row]:
    """Return the rows of a record in which the method told what it did: step sizes, cases, jumps, as its card names.

    Counts are so far, all else is a mean over the steps since the row before. Lines of other kinds are not parsed.
    """
    with path.open("rb") as file:
        lines_told = [line for line in file if line.startswith(_DIAGNOSTICS) and line.endswith(b"}\n")]
    return [json.loads(line) for line in lines_told]


def going_on(path: Path, offset: int, run: Run, steps: int, data_hash: str = "") -> int:
    """Return the length of a record from which a run goes on; its first row then says what the run is now.

    A run that goes on longer, to `steps` in all, has another specification than its record began with; that of before
    stays beside it.

    Raises:
      ValueError: it began with other data, see `refuse_other_data`.
    """
    row = next(lines.whole_rows(path), None) if path.exists() else None
    if not isinstance(row, dict):
        return offset
    refuse_other_data(path, row, data_hash)
    if row.get("digest") == run.digest():
        return offset
    text = path.read_bytes()
    before = [*row.get("went_on_from", []), row["digest"]]
    row = {**row, "spec": run.as_dict(), "digest": run.digest(), "steps": steps, "went_on_from": before}
    first = (json.dumps(row, allow_nan=False) + "\n").encode()
    rest = text[text.index(b"\n") + 1 : offset]
    written = path.with_suffix(".new")
    written.write_bytes(first + rest)
    written.replace(path)
    return len(first) + len(rest)


def refuse_other_data(path: Path, start: Row, data_hash: str) -> None:
    """Raise ValueError where a run began with other data than there are now.

    That can be told where the same versions ran on the same machine; on another one data that are computed differ in
    their last digits.

    Args:
      path: of the record, for the message.
      start: its first row; one of an older version knows no hash, and is taken as it is.
      data_hash: of the data, and of the functions of a task of one's own.
    """
    if start.get("data_hash", data_hash) == data_hash or not data_hash:
        return
    import jax  # those who read records do without it

    device = jax.devices()[0]
    now = provenance(f"{device.platform} {device.device_kind}")
    if all(start.get(name) == now[name] for name in ("versions", "device", "machine")):
        what = start["spec"].get("task") or start["spec"]["data"]
        raise ValueError(
            f"{path}: the run began with other data, or another task, than {what} is now. Bring back what it was, or "
            "train anew with another --out."
        )


def read(path: Path) -> Record:
    """Read one record.

    Raises:
      ValueError: the file does not begin with a "start" row, or a row is no row; says which.
    """
    rows = list(lines.whole_rows(path))
    start = _first(path, rows)
    soundness.refuse_other_than_rows(path, rows)
    end = rows[-1] if rows[-1]["kind"] == "end" else {}
    return Record(path, start, [row for row in rows[1:] if row["kind"] in MEASURED], end)


def first_row(path: Path) -> Row:
    """Return the first row of a record.

    Raises:
      ValueError: it is not whole, or of another kind than "start".
    """
    return _first(path, [next(lines.whole_rows(path), None)])


def readable(path: Path) -> bool:
    """Return whether a file begins with the whole first row of a record."""
    try:
        return bool(first_row(path))
    except ValueError:
        return False


def read_all(path: Path) -> list[Record]:
    """Read every record at or below a path, in the order of their names; in a folder only those with a whole row.

    Raises:
      FileNotFoundError: there is none.
      ValueError: a row is not what tables and figures rely on; says which.
    """
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*.jsonl")) if has_a_row(file)]
    if not files:
        command = f"optaxaccel train --out {shlex.quote(str(path))}"
        raise FileNotFoundError(f"No records (*.jsonl) at {path}. Train something: {command}.")
    loaded = [_sound(file) for file in files]
    usual = Run().as_dict()  # a field that an older version lacked has its default
    return [r._replace(start={**r.start, "spec": {**usual, **r.start["spec"]}}) for r in loaded]


def has_a_row(path: Path) -> bool:
    """Return whether a record has a whole row; a run that is killed at its first leaves none."""
    with path.open("rb") as file:
        return file.readline().endswith(b"\n")


def _sound(path: Path) -> Record:
    """Read one record as `read` does, keep its measurements by columns, and look at every row.

    Raises:
      ValueError: see `read`, or a row is not what tables and figures rely on; says which.
    """
    start: Row = {}
    measured, kinds, last, number = measurements.Rows(), set(), {}, 1
    for rows in lines.chunks(path):
        if number == 1:
            start = _first(path, rows)
        soundness.refuse_other_than_rows(path, rows, number)
        rest = rows[number == 1 :]
        by_kind = measurements.alike(rest)
        sure = (soundness.surely_sound(kind, its.columns, start, MEASURED) for (kind, _), its in by_kind.items())
        if number == 1 or not all(sure):
            soundness.refuse_unsound_rows(path, rows, number, start, MEASURED)
        measured.extend({key: its for key, its in by_kind.items() if key[0] in MEASURED})
        kinds |= {kind for kind, _ in by_kind}
        number, last = number + len(rows), rows[-1]
    if not start:
        _first(path, [])
    soundness.refuse_unfinished(path, kinds, last)
    return Record(path, start, measured, last if last["kind"] == "end" else {})


def _first(path: Path, rows: Sequence[Any]) -> Row:
    if not rows or not isinstance(rows[0], dict) or rows[0].get("kind") != "start":
        raise ValueError(f"{path} is no record of a run: its first row is not of kind 'start'.")
    return rows[0]


def provenance(device: str) -> Row:
    """Return commit, versions, machine and time: where a number comes from."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": dict(_versions()),
        "device": device,
        "machine": cores.machine(),
    }


@functools.cache
def _versions() -> Row:
    # What is installed may be another checkout than the one that runs, found on PYTHONPATH: it says itself what it is.
    others = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "optax", "flax", "numpy")}
    return {"optaxaccel": __version__, **others, "python": platform.python_version()}


@functools.cache
def _git(*arguments: str) -> str:
    """Return what git says about the source tree of this package, or nothing outside a checkout."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
