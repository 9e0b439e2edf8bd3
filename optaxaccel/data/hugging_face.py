"""Data sets of Hugging Face's `datasets` as ours. The package is not imported: what is handed in knows what it is."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from optaxaccel.data.arrays import from_arrays
from optaxaccel.data.image_sets import Dataset

IMAGES = ("image", "img", "pixel_values")
LABELS = ("label", "labels", "fine_label")
TESTS = ("test", "validation", "valid")


def is_hugging_face(splits: Any) -> bool:
    """Return whether an object is a `DatasetDict`: a mapping of splits, which have columns."""
    return isinstance(splits, Mapping) and bool(splits) and all(hasattr(s, "column_names") for s in splits.values())


def from_hugging_face(
    splits: Mapping[str, Any],
    *,
    image: str | None = None,
    label: str | None = None,
    train: str = "train",
    test: str | None = None,
    name: str = "huggingface",
) -> Dataset:
    """Return a data set from a `datasets.DatasetDict` of labelled images, which are decoded into memory.

    Args:
      splits: what `datasets.load_dataset(...)` returned, or any mapping of splits with `column_names` and columns that
        `split[name]` gives.
      image: column of the images, PIL images or arrays of one size; by default the one called "image", "img" or
        "pixel_values".
      label: column of the integer labels; by default "label", "labels" or "fine_label".
      train: the split to train on.
      test: the split to measure on; by default "test", "validation" or "valid".
      name: of the set.

    Raises:
      ValueError: a split or column is missing, or the images differ in size; the message says what to pass.
    """
    if train not in splits:
        raise ValueError(f"{name} has no split {train!r}, only {', '.join(splits)}. Pass train=.")
    chosen = next((split for split in TESTS if split in splits), None) if test is None else test
    if chosen is None or chosen not in splits:
        raise ValueError(
            f"{name} has no split to measure on, only {', '.join(splits)}. Pass test=, or "
            f"splits[{train!r}].train_test_split(test_size=0.1)."
        )
    columns = splits[train].column_names
    image, label = _column(name, "image", image, IMAGES, columns), _column(name, "label", label, LABELS, columns)
    arrays = {}
    for ours, theirs in (("train", train), ("test", chosen)):
        arrays[f"x_{ours}"] = _stacked(f"{name}[{theirs!r}][{image!r}]", splits[theirs][image])
        arrays[f"y_{ours}"] = np.asarray(splits[theirs][label])
    return from_arrays(arrays, name=name)


def _column(name: str, what: str, given: str | None, usual: tuple[str, ...], columns: Any) -> str:
    column = next((one for one in usual if one in columns), None) if given is None else given
    if column is None or column not in columns:
        raise ValueError(f"{name} has no column for the {what}, only {', '.join(columns)}. Pass {what}='its name'.")
    return column


def _stacked(where: str, images: Any) -> np.ndarray:
    arrays = [np.asarray(image) for image in images]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) != 1:
        listed = ", ".join(map(str, shapes[:3])) or "none"
        raise ValueError(
            f"{where}: the images are {listed}{' and more' if len(shapes) > 3 else ''}, and one array holds one size. "
            "Resize them first: splits.map(lambda row: {'image': row['image'].convert('RGB').resize((32, 32))})."
        )
    return np.stack(arrays)
