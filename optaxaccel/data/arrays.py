"""Images that are arrays already: uint8 or floating, channels last or first, in a dictionary."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from optaxaccel.data import floating, npz, splits
from optaxaccel.data.image_sets import Dataset, Images, take

_NAMES = ("x_train", "y_train", "x_test", "y_test")


def from_arrays(arrays: Mapping[str, Any], *, name: str = "arrays") -> Dataset:
    """Return a data set from `x_train`, `y_train`, `x_test` and `y_test`.

    Args:
      arrays: images uint8 or floating, [n, height, width(, channels)] or [n, channels, height, width]; labels are
        integers from 0, one an image. Channels that come first are 1, 3 or 4. Floating images are rounded to 256
        levels, by a rule that goes by their range: [0, 1], [0, 255], [-1, 1], or any other of images normalised before;
        see `optaxaccel.data.floating`.
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
    raw = [np.asarray(arrays[key]) for key in ("x_train", "x_test")]
    rounding = None
    if all(image.dtype.kind == "f" and image.size for image in raw):
        rounding = floating.levels(raw, f"{name}: x_train and x_test")
    parts = [_images(name, split, arrays[f"x_{split}"], arrays[f"y_{split}"], rounding) for split in ("train", "test")]
    if parts[0].image.shape[1:] != parts[1].image.shape[1:]:
        raise ValueError(f"{name}: x_train holds {parts[0].image.shape[1:]} images, x_test {parts[1].image.shape[1:]}.")
    scaled = parts[0].image.reshape(-1, parts[0].image.shape[-1]) / 255.0
    classes = 1 + int(max(part.label.max() for part in parts))
    mean, std = (tuple(map(float, values)) for values in (scaled.mean(0), np.maximum(scaled.std(0), 1 / 255)))
    return Dataset(name, parts[0], parts[1], classes, mean, std, rounding.note if rounding else "", rounding)


def part(dataset: Dataset, train_split: str, test_split: str) -> Dataset:
    """Return some of the images of a set in memory, whose splits are called "train" and "test"; arguments as `load`.

    Raises:
      ValueError: there are no such splits, or they overlap.
    """
    sizes = {"train": len(dataset.train.label), "test": len(dataset.test.label)}
    splits.refuse_overlap(train_split, test_split, sizes)
    whole = {"train": (dataset.train, ""), "test": (dataset.test, "")}.__getitem__
    return dataset._replace(train=take(whole, train_split, sizes), test=take(whole, test_split, sizes))


def _images(name: str, split: str, x: Any, y: Any, rounding: floating.Levels | None) -> Images:
    image, label = np.asarray(x), np.asarray(y)
    where = f"{name}: x_{split} is {image.dtype} {image.shape}"
    if image.ndim not in (3, 4) or not image.size:
        raise ValueError(f"{where}; images are [n, height, width(, channels)] or [n, channels, height, width].")
    if rounding is not None:
        image = rounding.of(image)
    if image.dtype != np.uint8:
        raise ValueError(
            f"{where}; images are uint8 or floating, both splits alike. Convert them: x.astype(np.uint8), where they "
            "fit."
        )
    image = floating.channels_last(image, f"{name}: x_{split}")
    label = label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label
    if label.shape != image.shape[:1] or label.dtype.kind not in "iu":
        raise ValueError(f"{name}: y_{split} is {label.dtype} {label.shape}; labels are {len(image)} integers from 0.")
    npz.refuse_labels(label, f"{name}: y_{split}")
    return Images(image, label.astype(np.int32))
