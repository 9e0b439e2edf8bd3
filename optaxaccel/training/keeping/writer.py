"""What writes a record: one row a line, whole or absent."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Sink = Callable[[str, Mapping[str, Any]], None]  # takes a row: its kind and its fields
_AS_THEY_ARE = frozenset({int, str, bool, type(None)})
_json = json.JSONEncoder(allow_nan=False).encode


class Writer:
    """Append rows to a file; the system has each when `write` returns. Without a path nothing is written."""

    def __init__(self, path: Path | None, *, offset: int = 0, also: Sequence[Sink] = ()):
        """Start the file anew, or go on behind the first `offset` bytes of it; `also` gets every row, too.

        Raises:
          ValueError: the file is shorter than `offset`.
        """
        self._file, self._also, self._several = None, also, False
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if offset and (not path.exists() or path.stat().st_size < offset):
                raise ValueError(
                    f"{path} has lost rows that the checkpoint beside it counts on ({offset} bytes). Bring the file "
                    "back, or pass another --out."
                )
            self._file = path.open("r+" if offset else "w", encoding="utf-8")
            self._file.seek(offset)
            self._file.truncate()

    def write(self, kind: str, **fields: Any) -> None:
        """Write one row; numbers that JSON lacks (NaN, inf) are written as strings."""
        if self._file is not None:
            try:
                self._file.write(_line({"kind": kind, **fields}))
            except OSError as error:
                raise _of(self._file.name, error) from error
            if not self._several:
                self._flush()
        for sink in self._also:
            sink(kind, fields)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Give the system rows that are written inside together, at the end: handing over costs more than writing."""
        self._several = True
        try:
            yield
        finally:
            self._several = False
            self._flush()

    def _flush(self) -> None:
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                raise _of(self._file.name, error) from error

    def tell(self) -> int:
        """Return the length of the file in bytes, all of which the disk has."""
        if self._file is None:
            return 0
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> "Writer":
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as failed:  # it tries once more to write what did not fit
            if error[0] is None:
                raise _of(self._file.name, failed) from failed


def _of(path: str, error: OSError) -> OSError:
    """Return the error with the file that it is of; what is raised by a write knows none."""
    return OSError(error.errno, error.strerror, path)


def _line(row: Mapping[str, Any]) -> str:
    try:  # nearly all rows hold plain numbers and texts alone: ask no more
        return _json(row) + "\n"
    except (TypeError, ValueError):
        return _json(_plain(row)) + "\n"


def _plain(value: Any) -> Any:
    if type(value) in _AS_THEY_ARE or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value
