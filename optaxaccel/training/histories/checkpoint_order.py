"""Which files of a folder are checkpoints, and which came first.

A name such as "run2-epoch3-loss0.41" has several numbers. The one that counts is an integer that differs between all
names; a number with a decimal point, or after a word like "loss", measures something. Where more than one order is
left, none is chosen.
"""

import contextlib
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optaxaccel.training.histories import formats

RESULTS = ("extrapolated", "merged")  # what names of results begin with, so that they are not taken for checkpoints
_REMOVING = 0.2  # s that removing one may take: while it lasts, a part of it is still there
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)
_COUNTS = re.compile(
    r"(epoch|step|iter|iteration|update|batch|ckpt|checkpoint|round|(?<![a-z])(ep|it|s|e))s?[\W_]*$", re.IGNORECASE
)
_MEASURES = re.compile(
    r"(loss|acc|accuracy|error|score|metric|perplexity|(?<![a-z])(err|val|f1?|auc|bleu|ppl|top|lr))[\W_]*$",
    re.IGNORECASE,
)


class CheckpointFiles(NamedTuple):
    """The checkpoints in a folder.

    Attributes:
      paths: those taken, oldest first.
      format: how they are written.
      left_out: names of what else lies there and looks like a checkpoint, but has no place in the order.
    """

    paths: list[Path]
    format: formats.Format
    left_out: list[str]


class _Name(NamedTuple):
    """A name taken apart: its numbers as they are written, and the text before each of them and at the end."""

    numbers: tuple[str, ...]
    texts: tuple[str, ...]


def find(folder: Path, order: str | None = None, reader: Callable[[Path], Any] | None = None) -> CheckpointFiles:
    """Return the checkpoints of a folder, oldest first.

    Args:
      folder: where they lie.
      order: None to look for the number that counts; "name" for alphabetical order, "time" for that of the times at
        which they were written; "1", "2", ... for the first, second, ... number in each name, "-1" for the last; or a
        word, for the number that follows it in each name. Names without that number are left out.
      reader: reads a checkpoint where its format is not to do it: the tree that is taken for its contents.

    Raises:
      FileNotFoundError: no folder, or no checkpoint in it.
      ValueError: two formats, or no telling the order.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder. Pass the folder that holds the checkpoints.")
    known = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", *RESULTS))]
    kinds = {path: kind for path in known if (kind := _format(path)) is not None}
    names = {path: _taken_apart(_stem(path, kind)) for path, kind in kinds.items()}
    places = _places(names, order)
    if not places and formats.of(folder) is not None:
        raise ValueError(f"{folder} is itself one checkpoint. Pass the folder that holds it and the others.")
    if not places:
        raise FileNotFoundError(
            f"{folder} holds no checkpoint {_wanted(order)}, only: "
            f"{', '.join(path.name for path in known[:10]) or 'nothing'}. Pass the folder that holds orbax steps "
            "(100/), Flax files (checkpoint_100, *.msgpack), .safetensors, .npz or .pt files."
        )
    used = {kinds[path].name: kinds[path] for path in places}
    if len(used) > 1:
        raise ValueError(f"{folder} holds checkpoints of several formats: {', '.join(used)}. Move one kind elsewhere.")
    taken = sorted(places, key=lambda path: places[path])
    for path, twin in itertools.pairwise(taken):
        if places[path] == places[twin]:
            raise ValueError(
                f"{path} and {twin} both have the number {_said(places[path])}, so their order is unknown. Rename one, "
                "or pass --order NAME with what tells them apart."
            )
    kind = next(iter(used.values()))
    kind = kind if reader is None else kind._replace(read=reader, map=reader)
    return CheckpointFiles(taken, kind, [path.name for path in kinds if path not in places])


@contextlib.contextmanager
def still_there(paths: Sequence[Path]) -> Iterator[None]:
    """Say so where something fails because one of the checkpoints was removed meanwhile, as a run that trains does.

    Raises:
      FileNotFoundError: one is gone.
    """
    try:
        yield
    except Exception as error:  # whatever a folder of which a part is gone makes its reader raise
        until = time.monotonic() + _REMOVING
        while all(map(os.path.lexists, paths)):
            if time.monotonic() > until:
                raise
            time.sleep(_REMOVING / 10)
        names = ", ".join(path.name for path in paths if not os.path.lexists(path))
        raise FileNotFoundError(
            f"{paths[0].parent}: {names} was removed while the checkpoints were read. A run that trains removes its "
            "older ones: ask again, or take fewer with --last."
        ) from error


def _format(path: Path) -> formats.Format | None:
    """Return the format of a checkpoint; None where it does not look like one, or was removed meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return formats.of(path)
    return None


def _places(names: dict[Path, _Name], order: str | None) -> dict[Path, Any]:
    """Return what to sort each checkpoint by; those that have no such thing are not in it."""
    if order in ("name", "time"):
        return {path: path.name if order == "name" else path.stat().st_mtime_ns for path in names}
    if order is not None:
        numbers = {path: _asked(name, order) for path, name in names.items()}
        return {path: _value(number) for path, number in numbers.items() if number is not None}
    with_numbers = {path: name for path, name in names.items() if name.numbers}
    return _guessed(with_numbers) if with_numbers else {}


def _asked(name: _Name, order: str) -> str | None:
    if re.fullmatch(r"-?\d+", order):
        index = int(order) - (not order.startswith("-"))
        return name.numbers[index] if -len(name.numbers) <= index < len(name.numbers) and order != "0" else None
    last = order.lower()
    matches = [
        n for n, text in zip(name.numbers, name.texts, strict=False) if text.lower().rstrip(" =_-.:").endswith(last)
    ]
    return matches[0] if matches else None


def _guessed(names: dict[Path, _Name]) -> dict[Path, Any]:
    """Return the places by the one order that the names allow."""
    first = next(iter(names))
    for path, name in names.items():
        if name.texts != names[first].texts:
            raise _unclear(names, f"{first.name} and {path.name} are not named alike")
    columns = [_Column(names, k) for k in range(len(names[first].numbers))]
    moving = [column for column in columns if column.differs]
    counting = [column for column in moving if column.integers and not _MEASURES.search(column.before)]
    named = [column for column in counting if _COUNTS.search(column.before)]
    if len(names) == 1 or not moving:
        return columns[-1].values  # one checkpoint, or "1" and "01"
    if not counting:
        raise _unclear(names, f"no number in {first.name} says what came first")
    for candidates in (counting, named):
        unique = [column for column in candidates if column.unique]
        if unique and len(candidates) == len(unique) and len({column.order for column in unique}) == 1:
            return unique[0].values
        if candidates and len(candidates) == len(moving) == len(named) > 1:  # epoch=1-step=100: first the epoch
            return {path: tuple(column.values[path] for column in candidates) for path in names}
    if len(counting) == 1:
        return counting[0].values  # find() names the two with one number
    raise _unclear(names, f"{first.name} has several numbers that could count, and they do not agree")


class _Column:
    """The k-th number of every name."""

    def __init__(self, names: dict[Path, _Name], k: int):
        written = {path: name.numbers[k] for path, name in names.items()}
        self.before = next(iter(names.values())).texts[k]
        self.integers = all(number.isdigit() for number in written.values())
        self.values = {path: _value(number) for path, number in written.items()}
        self.differs = len(set(self.values.values())) > 1
        self.unique = len(set(self.values.values())) == len(names)
        self.order = tuple(sorted(names, key=lambda path: self.values[path]))


def _value(number: str) -> int | float:
    return int(number) if number.isdigit() else float(number)


def _unclear(names: Sequence[Path] | dict[Path, _Name], why: str) -> ValueError:
    examples = ", ".join(path.name for path in list(names)[:4])
    return ValueError(
        f"The order of {examples} is not clear: {why}. Say what counts: --order WORD for the number after a word "
        "(--order epoch), --order 1 for the first number and --order -1 for the last, --order name or --order time."
    )


def _taken_apart(stem: str) -> _Name:
    return _Name(tuple(_NUMBER.findall(stem)), tuple(_NUMBER.split(stem)))


def _stem(path: Path, kind: formats.Format) -> str:
    name = path.name.removesuffix(".index.json")
    return next((name.removesuffix(ending) for ending in kind.endings if ending and name.endswith(ending)), name)


def _wanted(order: str | None) -> str:
    return "with a number in its name" if order is None else f"for --order {order}"


def _said(place: Any) -> str:
    return ", ".join(f"{x:g}" for x in place) if isinstance(place, tuple) else f"{place}"
