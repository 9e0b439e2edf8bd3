"""Splits in the notation of TFDS: `train`, `train[:45000]`, `train[90%:]`, `train[:10]+test`. Standard library only."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from optaxaccel.registry import suggestion

_PART = re.compile(r"(?P<split>[\w-]+)(?:\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


class Part(NamedTuple):
    """Images `start` to `stop` (exclusive) of one split."""

    split: str
    start: int
    stop: int


def parse(text: str, sizes: Mapping[str, int]) -> list[Part]:
    """Return the parts that `text` names.

    Numbers count images, percentages are rounded to the nearest image, and negative ones count from the end, as TFDS
    does.

    Args:
      text: the split, such as "train[:45000]" or "train[:50%]+test".
      sizes: the number of images of each split there is.

    Raises:
      ValueError: the notation is wrong, the split does not exist or is smaller, or a part is empty.

    Example:
      >>> parse("train[:90%]", {"train": 1000})
      [Part(split='train', start=0, stop=900)]
      >>> parse("train[-100:]+test", {"train": 1000, "test": 10})
      [Part(split='train', start=900, stop=1000), Part(split='test', start=0, stop=10)]
    """
    parts = []
    for piece in text.replace(" ", "").split("+"):
        match = _PART.fullmatch(piece)
        if not match:
            raise ValueError(
                f"Split {text!r} cannot be read: {piece!r} is not NAME, NAME[start:stop] or NAME[start%:stop%]. "
                "Pass something like 'train[:45000]', 'train[90%:]' or 'train+test'."
            )
        name = match["split"]
        if name not in sizes:
            known = ", ".join(f"{split} ({size:,})" for split, size in sizes.items())
            raise ValueError(
                f"Split {text!r}: there is no split {name!r}.{suggestion(name, sizes)} There are: {known}."
            )
        size = sizes[name]
        start, stop = _bound(match["start"], size, 0), _bound(match["stop"], size, size)
        if not (0 <= start <= size and 0 <= stop <= size):
            raise ValueError(f"Split {text!r}: {piece!r} is beyond the {size:,} images of {name!r}.")
        if start >= stop:
            raise ValueError(f"Split {text!r} is empty: {piece!r} asks for images {start} to {stop} of {size:,}.")
        parts.append(Part(name, start, stop))
    return parts


def refuse_overlap(train: str, test: str, sizes: Mapping[str, int]) -> None:
    """Raise ValueError where a split to train on and a split to test on share images."""
    for a in parse(train, sizes):
        for b in parse(test, sizes):
            start, stop = max(a.start, b.start), min(a.stop, b.stop)
            if a.split == b.split and start < stop:
                raise ValueError(
                    f"train_split={train!r} and test_split={test!r} share {stop - start:,} images ({a.split}"
                    f"[{start}:{stop}]): accuracy on images trained on says nothing. Pass splits that do not overlap, "
                    "such as train[:90%] and train[90%:]."
                )


def _bound(text: str | None, size: int, default: int) -> int:
    """Return a bound of a slice as an index into a split of `size` images."""
    if text is None:
        return default
    value = round(int(text[:-1]) * size / 100.0) if text.endswith("%") else int(text)
    return value + size if value < 0 else value
