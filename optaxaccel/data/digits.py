"""The embedded digits: 1,797 real handwritten digits of 8 x 8 pixels (source and licence stand in digits.txt)."""

from pathlib import Path

import numpy as np

_DIGITS = "0123456789abcdefg"
_TRAIN = 1437


def read() -> tuple[np.ndarray, np.ndarray]:
    """Return all images in the order of their source.

    A pixel counts the black points, 0 to 16, in a block of 4 x 4; it becomes `count * 255 // 16`, so that 0 and 16 are
    black and white as in any other set, and nothing is lost.

    Returns:
      image: uint8 [1797, 8, 8, 1].
      label: int32 [1797].

    Example:
      >>> image, label = read()
      >>> image.shape, label[:10].tolist()
      ((1797, 8, 8, 1), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    text = (Path(__file__).parent / "digits.txt").read_text(encoding="ascii")
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    counts = np.array([[_DIGITS.index(mark) for mark in pixels] for pixels, _ in rows])
    image = (counts * 255 // 16).astype(np.uint8).reshape(-1, 8, 8, 1)
    return image, np.array([int(digit) for _, digit in rows], np.int32)


def split(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of a split and their labels; the first of the source are those to train on."""
    image, label = read()
    part = slice(0, _TRAIN) if name == "train" else slice(_TRAIN, None)
    return image[part], label[part]
