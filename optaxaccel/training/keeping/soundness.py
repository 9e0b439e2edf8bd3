"""What a record's rows must hold, so that whoever reads one need not ask again. Standard library only.

A record may be damaged, edited by hand, or written by another program; tables and figures would fail somewhere in the
middle, far from the file and the line that are the cause.
"""

import math
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
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
_MISSING = {"nan", "inf", "-inf", None}


def refuse_unsound(path: Path, rows: Sequence[Any], measured: Sequence[str]) -> None:
    """Raise ValueError, with file and line, unless the rows of a record are what readers rely on.

    Args:
      path: the file.
      rows: all of them, the first of kind "start".
      measured: the kinds that hold measurements.
    """
    refuse_other_than_rows(path, rows)
    refuse_unsound_rows(path, rows, 1, rows[0], measured)
    refuse_unfinished(path, {row["kind"] for row in rows}, rows[-1])


def refuse_unsound_rows(
    path: Path, rows: Sequence[Any], first: int, start: Mapping[str, Any], measured: Sequence[str]
) -> None:
    """Raise unless some rows of a record are what readers rely on; the first is in the line of this number."""
    for number, row in enumerate(rows, first):
        where = f"{path}, line {number}"
        if number == 1:
            _check_start(where, row)
        elif row["kind"] in measured:
            if row["kind"] != "train":
                _check(where, row, "split", _TEXT)
            for name in _required(start):
                _check_number(where, row, name, strict=_strict(row["kind"], name))
        elif row["kind"] == "end":
            _check(where, row, "status", _TEXT)
        if number > 1:
            for name in row:
                if name not in _TEXTS and isinstance(row[name], (int, float, str)):
                    _check_number(where, row, name, strict=False)


def refuse_unfinished(path: Path, kinds: Collection[str], last: Mapping[str, Any]) -> None:
    """Raise where a run says that it is done, and holds no evaluation."""
    if last.get("status") == "done" and last["kind"] == "end" and "eval" not in kinds:
        raise ValueError(f"{path} says that the run is done, and holds no evaluation, with which every run ends.")


def surely_sound(
    kind: str, columns: Mapping[str, Sequence[Any]], start: Mapping[str, Any], measured: Sequence[str]
) -> bool:
    """Return whether rows, given by columns, pass `refuse_unsound_rows` by a look at whole columns.

    A record of a long run has hundreds of thousands of rows, whose entries are of one type each. False is no verdict.
    """
    required = _required(start) if kind in measured else ()
    split_is_told = kind == "train" or kind not in measured or set(map(type, columns.get("split", (None,)))) == {str}
    if kind in ("start", "end") or not split_is_told:
        return False
    if any(name not in columns for name in required if _strict(kind, name)):
        return False
    return all(
        _surely_numbers(column, strict=name in required and _strict(kind, name))
        for name, column in columns.items()
        if name not in _TEXTS
    )


def _surely_numbers(column: Sequence[Any], *, strict: bool) -> bool:
    if isinstance(column, array):
        return column.typecode == "q" or math.isfinite(sum(column))  # neither infinity nor NaN leaves a sum finite
    types = set(map(type, column))
    if types <= {int, float}:
        return all(map(_is_finite, column))
    return not strict and types <= {str, type(None)} and set(column) <= _MISSING


def _required(start: Mapping[str, Any]) -> Sequence[str]:
    """Return what a row of measurements holds; a task says what else it measures."""
    return (*_POSITION, "loss") if start.get("score") else (*_POSITION, "loss", "accuracy")


def _strict(kind: str, name: str) -> bool:
    return name in _POSITION or kind in ("eval", "train_eval")


def refuse_other_than_rows(path: Path, rows: Sequence[Any], first: int = 1) -> None:
    """Raise ValueError unless every line is an object with a kind."""
    for number, row in enumerate(rows, first):
        if type(row) is not dict or not isinstance(row.get("kind"), str):  # what JSON's objects are read as
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
    if not number and (strict or value not in (*_MISSING, True, False)):
        raise ValueError(f"{where}: {name!r} is {_shown(value)}, and not a number.")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "a huge integer"
    return text if len(text) <= 60 else f"{text[:60]}..."
