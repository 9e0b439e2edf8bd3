"""Images made from a seed, of any shape: for tests that need data of a size rather than data."""

import re
import zlib

import numpy as np

from optaxaccel.data.sets import DATASETS, DataCard

_NAME = re.compile(r"synthetic(?:/(\d+)x(\d+)x(\d+)(?:/(\d+))?)?")
_COARSE = 4  # a class is a random image of 4 x 4 points, enlarged: something that convolutions can learn


def card(name: str) -> DataCard:
    """Return the card of `synthetic`, `synthetic/HxWxC` or `synthetic/HxWxC/CLASSES`.

    Example:
      >>> card("synthetic/28x28x1/3").shape, card("synthetic/28x28x1/3").classes
      ((28, 28, 1), 3)
    """
    match, known = _NAME.fullmatch(name), DATASETS["synthetic"]
    if not match or "0" in match.groups():
        raise ValueError(
            f"Data set {name!r} cannot be read: pass synthetic, synthetic/HEIGHTxWIDTHxCHANNELS or "
            "synthetic/HEIGHTxWIDTHxCHANNELS/CLASSES, such as synthetic/28x28x1/10."
        )
    height, width, channels, classes = match.groups()
    shape = (int(height), int(width), int(channels)) if height else known.shape
    return known._replace(name=name, shape=shape, classes=int(classes or known.classes))


def read(described: DataCard, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (image uint8 [n, height, width, channels], label int32 [n]) of a split; the classes take turns."""
    height, width, channels = described.shape
    n = described.splits[split]
    label = np.arange(n, dtype=np.int32) % described.classes
    coarse = _random(described.name).integers(64, 192, (described.classes, _COARSE, _COARSE, channels))
    rows, columns = np.arange(height) * _COARSE // height, np.arange(width) * _COARSE // width
    classes = coarse[:, rows][:, :, columns].astype(np.uint8)
    # Differences wrap round in uint8 and never leave 0 .. 255: 64 - 64 to 191 + 63.
    noise = _random(described.name + split).integers(-64, 64, (n, height, width, channels), dtype=np.int8)
    return classes[label] + noise.view(np.uint8), label


def _random(text: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(zlib.crc32(text.encode())))
