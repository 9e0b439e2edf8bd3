"""Floating images as bytes: which range they are in, and how it is spread over 256 levels.

The smallest and the largest number of both splits decide:

* within [0, 1]: 255 levels a unit, as is usual;
* within [0, 255], and whole numbers or with one of 128 or more: as they are, rounded;
* within [-1, 1], with one of -1/2 or less: -1 is 0 and 1 is 255;
* anything else was normalised before, or resized with overshoot: the smallest is 0, the largest is 255, and the set's
  note says so. Training normalises by mean and deviation of what is trained on, so the network sees what it would have,
  up to that rounding.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

_CHANNELS = (1, 3, 4)
_BRIGHT = 128  # a largest number that only images in [0, 255] have


class Levels(NamedTuple):
    """How numbers become bytes: round((number - offset) * scale); `note` is what a reader of results should know."""

    offset: float
    scale: float
    note: str

    def of(self, image: Any) -> Any:
        """Return images as bytes; what is out of the range becomes 0 or 255."""
        return ((image.astype(np.float32) - self.offset) * self.scale).round().clip(0, 255).astype(np.uint8)


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
    if low >= 0 and high <= 255 and (high >= _BRIGHT or all((image == np.round(image)).all() for image in images)):
        return Levels(0.0, 1.0, "")
    if -1 <= low <= -0.5 and high <= 1:  # a little below 0 is the overshoot of [0, 1]
        return Levels(-1.0, 127.5, "images in [-1, 1], rounded to 256 levels")
    scale = 255.0 / (high - low) if high > low else 1.0
    return Levels(low, scale, f"images in [{low:.4g}, {high:.4g}], normalised or resized before, rounded to 256 levels")


def channels_last(image: Any, where: str) -> Any:
    """Return images [n, height, width, channels]: of [n, channels, height, width] and of grey [n, height, width], too.

    Channels, of which there are 1, 3 or 4, come first where the last axis cannot be them. Other numbers of them come
    last.

    Args:
      image: of NumPy or JAX.
      where: what they are called in errors.

    Raises:
      ValueError: neither axis is 1, 3 or 4, and the last is not the shortest.

    Example:
      >>> [channels_last(np.zeros(shape), "x").shape for shape in ((2, 3, 8, 9), (2, 8, 9, 3), (2, 8, 9))]
      [(2, 8, 9, 3), (2, 8, 9, 3), (2, 8, 9, 1)]
    """
    if image.ndim == 3:
        return image[..., None]
    _, first, rows, last = image.shape
    if last in _CHANNELS or (first not in _CHANNELS and last < min(first, rows)):
        return image
    if first not in _CHANNELS:
        raise ValueError(
            f"{where} are {image.shape}, and neither the second axis nor the last is 1, 3 or 4, so which one holds the "
            "channels cannot be known. Put them last, and let them be fewer than rows: x = x.transpose(0, 2, 3, 1)."
        )
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1))


def as_trained(image: Any, levels: tuple[float, float, str] | None, channels: int) -> Any:
    """Return images that come after training as those before it became: channels last, in bytes.

    Args:
      image: bytes, or floating by the rule of the set.
      levels: the `Levels` of the set; None where its images were bytes.
      channels: of the set.

    Raises:
      ValueError: the images are floating and those of the set were bytes, or they have another number of channels.
    """
    if image.dtype.kind in "fV":  # V: bfloat16
        if levels is None:
            raise ValueError(
                f"the images are {image.dtype}, and those that were trained on were uint8. Pass x.astype(np.uint8) of "
                "[0, 255], or np.round(255 * x).astype(np.uint8) of [0, 1]."
            )
        image = Levels(*levels).of(image)
    if image.ndim in (3, 4):
        image = channels_last(image, "the images")
    if image.ndim != 4 or image.shape[3] != channels:
        raise ValueError(f"the images are {image.shape}. Pass [n, height, width, {channels}], one image as x[None].")
    return image
