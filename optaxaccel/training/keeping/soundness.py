"""What a record's rows must hold, so that whoever reads one need not ask again. Standard library only.

A record may be damaged, edited by hand, or written by another program; tables and figures would fail somewhere in the
middle, far from the file and the line that are the cause.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_TEXT = ("a text", lambda value: isinstance(value, str))
_TABLE = ("a table", lambda value: isinstance(value, Mapping))
_START: Mapping[str, tuple[str, Callable[[Any], bool]]] = {"spec": _TABLE, "label": _TEXT, "phase": _TEXT}
_TOLD = ("digest", "data_note", "time", "commit", "device", "machine")  # texts, or nothing
_SPEC: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("method", "model", "data"), _TEXT),
    **dict.fromkeys(("method_args", "schedule", "model_args", "extrapolate"), _TABLE),
    **dict.fromkeys(("seed", "batch_size"), ("an integer", lambda value: type(value) is int and abs(value) < 2**63)),
}
_NEEDED = ("method", "model", "data", "seed", "method_args", "schedule")
_POSITION = ("step", "epoch", "value_calls", "grad_calls", "hvp_calls", "seconds")
_TEXTS = ("kind", "split", "what", "status")


def refuse_unsound(path: Path, rows: Sequence[Any], measured: Sequence[str]) -> None:
    """Raise ValueError, with file and line, unless the rows of a record are what readers rely on.

    Args:
      path: the file.
      rows: all of them, the first of kind "start".
      measured: the kinds that hold measurements.
    """
    refuse_other_than_rows(path, rows)
    for number, row in enumerate(rows, 1):
        where = f"{path}, line {number}"
        if number == 1:
            _check_start(where, row)
        elif row["kind"] in measured:
            if row["kind"] != "train":
                _check(where, row, "split", _TEXT)
            required = ("loss",) if rows[0].get("score") else ("loss", "accuracy")  # a task says what else it measures
            for name in (*_POSITION, *required):
                _check_number(where, row, name, strict=name in _POSITION or row["kind"] in ("eval", "train_eval"))
        elif row["kind"] == "end":
            _check(where, row, "status", _TEXT)
        if number > 1:
            for name in row:
                if name not in _TEXTS and isinstance(row[name], (int, float, str)):
                    _check_number(where, row, name, strict=False)

    kinds = [row["kind"] for row in rows]
    if rows[-1].get("status") == "done" and kinds[-1] == "end" and "eval" not in kinds:
        raise ValueError(f"{path} says that the run is done, and holds no evaluation, with which every run ends.")


def refuse_other_than_rows(path: Path, rows: Sequence[Any]) -> None:
    """Raise ValueError unless every line is an object with a kind."""
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping) or not isinstance(row.get("kind"), str):
            raise ValueError(f"{path}, line {number}: a row is a JSON object with a kind, and this is {_shown(row)}.")


def _check_start(where: str, row: Mapping[str, Any]) -> None:
    for name, wanted in _START.items():
        _check(where, row, name, wanted)
    for name in _TOLD:
        if row.get(name) is not None:
            _check(where, row, name, _TEXT)
    spec = row["spec"]
    for name, wanted in _SPEC.items():
        if name in spec or name in _NEEDED:
            _check(f"{where}, spec", spec, name, wanted)
    for name, schedule in spec["schedule"].items():
        named = isinstance(schedule, str) or (isinstance(schedule, Mapping) and isinstance(schedule.get("name"), str))
        if not named:
            raise ValueError(f"{where}, spec: the schedule of {name!r} is {_shown(schedule)}, which names none.")
    for name in ("compile_seconds", "members", "steps", "steps_per_epoch"):
        if row.get(name) is not None:
            _check_number(where, row, name, strict=True)


def _check(where: str, row: Mapping[str, Any], name: str, wanted: tuple[str, Callable[[Any], bool]]) -> None:
    if not wanted[1](row.get(name)):
        raise ValueError(f"{where}: {name!r} is {_shown(row.get(name))}, and not {wanted[0]}.")


def _check_number(where: str, row: Mapping[str, Any], name: str, *, strict: bool) -> None:
    """Raise unless a field is a number; one that JSON lacks is written as a text, which only some readers expect."""
    value = row.get(name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value)
    if not number and (strict or value not in ("nan", "inf", "-inf", None, True, False)):
        raise ValueError(f"{where}: {name!r} is {_shown(value)}, and not a number.")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "a huge integer"
    return text if len(text) <= 60 else f"{text[:60]}..."
