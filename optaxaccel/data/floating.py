"""Floating images as bytes: which range they are in, and how it is spread over 256 levels.

The smallest and the largest number of both splits decide:

* within [0, 1]: 255 levels a unit, as is usual;
* within [0, 255]: as they are, rounded;
* within [-1, 1]: -1 is 0 and 1 is 255;
* anything else was normalised before: the smallest is 0, the largest is 255, and the set's note says so. Training
  normalises by mean and deviation of what is trained on, so the network sees what it would have, up to that rounding.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

_CHANNELS = (1, 3, 4)


class Levels(NamedTuple):
    """How numbers become bytes: round((number - offset) * scale); `note` is what a reader of results should know."""

    offset: float
    scale: float
    note: str

    def of(self, image: np.ndarray) -> np.ndarray:
        """Return images as bytes."""
        return np.round((image.astype(np.float32) - self.offset) * self.scale).astype(np.uint8)


def levels(images: Iterable[np.ndarray], where: str) -> Levels:
    """Return how floating images become bytes.

    Args:
      images: those of all splits.
      where: what they are called in errors.

    Raises:
      ValueError: some are NaN or infinite.

    Example:
      >>> rule = levels([np.array([-1.0, 0.5]), np.array([1.0])], "x")
      >>> rule.of(np.array([-1.0, 0.0, 1.0])).tolist(), rule.note
      ([0, 128, 255], 'images in [-1, 1], rounded to 256 levels')
    """
    images = list(images)
    bad = sum(int((~np.isfinite(image)).sum()) for image in images)
    if bad:
        raise ValueError(
            f"{where} hold {bad:,} numbers that are NaN or infinite, which is no brightness. Drop those images, or "
            "fill them in: x = np.nan_to_num(x)."
        )
    low, high = min(float(image.min()) for image in images), max(float(image.max()) for image in images)
    if low >= 0 and high <= 1:
        return Levels(0.0, 255.0, "")
    if low >= 0 and high <= 255:
        return Levels(0.0, 1.0, "")
    if low >= -1 and high <= 1:
        return Levels(-1.0, 127.5, "images in [-1, 1], rounded to 256 levels")
    scale = 255.0 / (high - low) if high > low else 1.0
    return Levels(low, scale, f"images in [{low:.4g}, {high:.4g}], normalised before, rounded to 256 levels")


def channels_last(image: np.ndarray) -> np.ndarray:
    """Return images [n, height, width, channels]: of [n, channels, height, width] and of grey [n, height, width], too.

    Channels, of which there are 1, 3 or 4, come first where the last axis cannot be them.

    Example:
      >>> [channels_last(np.zeros(shape)).shape for shape in ((2, 3, 8, 9), (2, 8, 9, 3), (2, 8, 9))]
      [(2, 8, 9, 3), (2, 8, 9, 3), (2, 8, 9, 1)]
    """
    if image.ndim == 3:
        return image[..., None]
    if image.shape[1] in _CHANNELS and image.shape[3] not in _CHANNELS:
        return np.ascontiguousarray(image.transpose(0, 2, 3, 1))
    return image
