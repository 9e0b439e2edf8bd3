"""Images that are arrays already: uint8 or floating, channels last or first, in a dictionary."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from optaxaccel.data.images import Dataset, Images

_CHANNELS = (1, 3, 4)
_NAMES = ("x_train", "y_train", "x_test", "y_test")


def from_arrays(arrays: Mapping[str, Any], *, name: str = "arrays") -> Dataset:
    """Return a data set from `x_train`, `y_train`, `x_test` and `y_test`.

    Args:
      arrays: images uint8, or floating in [0, 1] or [0, 255], [n, height, width(, channels)] or [n, channels, height,
        width]; labels are integers from 0, one an image. Floating images are rounded to 256 levels.
      name: of the set.

    Raises:
      ValueError: an array is missing, or is something else; the message says which and what it should be.

    Example:
      >>> x = np.zeros((4, 3, 8, 8), np.float32)
      >>> made = from_arrays({"x_train": x, "y_train": [0, 1, 0, 1], "x_test": x[:2], "y_test": [0, 1]})
      >>> made.train.image.shape, str(made.train.image.dtype), made.classes
      ((4, 8, 8, 3), 'uint8', 2)
    """
    missing = [key for key in _NAMES if key not in arrays]
    if missing:
        raise ValueError(
            f"{name} has no {', '.join(missing)}, only: {', '.join(arrays)}. Pass all of {', '.join(_NAMES)}."
        )
    parts = [_images(name, split, arrays[f"x_{split}"], arrays[f"y_{split}"]) for split in ("train", "test")]
    if parts[0].image.shape[1:] != parts[1].image.shape[1:]:
        raise ValueError(f"{name}: x_train holds {parts[0].image.shape[1:]} images, x_test {parts[1].image.shape[1:]}.")
    scaled = parts[0].image.reshape(-1, parts[0].image.shape[-1]) / 255.0
    classes = 1 + int(max(part.label.max() for part in parts))
    mean, std = (tuple(map(float, values)) for values in (scaled.mean(0), np.maximum(scaled.std(0), 1 / 255)))
    return Dataset(name, parts[0], parts[1], classes, mean, std, "")


def _images(name: str, split: str, x: Any, y: Any) -> Images:
    image, label = np.asarray(x), np.asarray(y)
    where = f"{name}: x_{split} is {image.dtype} {image.shape}"
    if image.ndim not in (3, 4) or not image.size:
        raise ValueError(f"{where}; images are [n, height, width(, channels)] or [n, channels, height, width].")
    if image.dtype.kind == "f":
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 255):
            raise ValueError(
                f"{where} with values from {low:g} to {high:g}; floating images are in [0, 1] or [0, 255]."
            )
        image = np.round(image * (255 if high <= 1 else 1)).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ValueError(f"{where}; images are uint8 or floating. Convert them: x.astype(np.uint8), where they fit.")
    if image.ndim == 3:
        image = image[..., None]
    elif image.shape[1] in _CHANNELS and image.shape[3] not in _CHANNELS:
        image = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
    label = label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label
    if label.shape != image.shape[:1] or label.dtype.kind not in "iu" or (label.size and label.min() < 0):
        raise ValueError(f"{name}: y_{split} is {label.dtype} {label.shape}; labels are {len(image)} integers from 0.")
    return Images(image, label.astype(np.int32))
