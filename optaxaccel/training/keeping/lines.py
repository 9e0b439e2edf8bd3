"""The lines of a record: what is whole is read, many lines at once, and a torn last line is ignored."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

Row = dict[str, Any]
BLOCK = 1 << 20  # bytes that are parsed at once


def whole_rows(path: Path) -> Iterator[Row]:
    """Yield the rows that are whole: a torn last line is ignored.

    Raises:
      ValueError: a line before the last is no JSON; says which.
    """
    for rows in chunks(path):
        yield from rows


def chunks(path: Path) -> Iterator[list[Row]]:
    """Yield the rows of `whole_rows`, many at once: the first alone, then what a block of the file holds."""
    number = 1
    with path.open("rb") as file:
        while lines := file.readlines(1 if number == 1 else BLOCK):
            torn = not lines[-1].endswith(b"\n")
            rows = _parsed(path, lines[: len(lines) - torn], number, not torn, file)
            number += len(lines)
            if rows:
                yield rows


def _parsed(path: Path, lines: Sequence[bytes], first: int, may_end: bool, file: IO[bytes]) -> list[Row]:
    """Return the rows in some lines; the last line of a file may be no JSON, and has no row then."""
    if all(line.startswith(b'{"kind"') and line.endswith(b"}\n") for line in lines):
        with contextlib.suppress(ValueError, RecursionError, MemoryError):
            rows = json.loads(b"[" + b",".join(lines) + b"]")
            if len(rows) == len(lines):
                return rows
    rows = []
    for number, line in enumerate(lines, first):
        try:
            rows.append(json.loads(line.decode("utf-8")))
        except (ValueError, RecursionError, MemoryError) as error:  # deep nesting and long numbers, too
            if may_end and number == first + len(lines) - 1 and not file.read(1):
                break
            raise ValueError(
                f"{path}, line {number} is damaged ({type(error).__name__}), and others follow. Remove the file, "
                "or mend the line."
            ) from error
    return rows
