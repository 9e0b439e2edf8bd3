"""Data sets in .npz files: x_train, y_train, x_test, y_test, as Keras and many others write them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from optaxaccel.data import floating, npy_headers
from optaxaccel.data.sets import DataCard

_MOST_CLASSES = 1_000_000  # a network has an output for each: more are identifiers, not class numbers
_WRITE = "Write it by np.savez({path!r}, x_train=..., y_train=..., x_test=..., y_test=...)."
_NAMES = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}


def card(path: Path) -> DataCard:
    """Describe the file; the training images are read for their mean and standard deviation.

    Raises:
      ValueError: an array is missing, or is not images, uint8 or floating, [n, height, width(, channels)] or [n,
        channels, height, width], with integer labels [n].
    """
    image, label = read(path, "train")
    test_image, test_label = read(path, "test")
    rounding = _rounding(path)
    if image.shape[1:] != test_image.shape[1:]:
        raise ValueError(f"{path}: x_train holds {image.shape[1:]} images, x_test {test_image.shape[1:]}.")
    scaled = image.reshape(-1, image.shape[-1])
    mean = scaled.mean(0, dtype=np.float64) / 255
    std = scaled.std(0, dtype=np.float64) / 255
    return DataCard(
        name=str(path),
        source=f"the file {path.name}",
        licence="unknown",
        kind="npz",
        shape=image.shape[1:],
        classes=int(max(label.max(), test_label.max())) + 1,
        splits={"train": len(label), "test": len(test_label)},
        test_split="test",
        mean=tuple(float(m) for m in mean),
        std=tuple(float(max(s, 1 / 255)) for s in std),
        note=rounding.note if rounding else "",
        levels=rounding,
    )


def read(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (image uint8 [n, height, width, channels], label int32 [n]) of a split."""
    x, y = _NAMES[split]
    try:
        headers = npy_headers.read(path)
        _check_headers(path, headers, x, y)
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:  # a pickle could run any code
            image, label = file[x], file[y]
    except _RefusedError as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # zip, zlib and NumPy's parser of headers have errors of their own
        raise ValueError(
            f"{path} is damaged or no .npz file ({type(error).__name__}: {error}). {_WRITE.format(path=str(path))}"
        ) from error
    if image.dtype != np.uint8:
        rounding = _rounding(path)
        if rounding is None:
            raise ValueError(f"{path}: {x} is {image.dtype}, and the other split uint8. Write both alike.")
        image = rounding.of(image)
    image = floating.channels_last(image, f"{path}: {x}")
    label = label[:, 0] if label.ndim == 2 else label
    refuse_labels(label, f"{path}: {y}")
    return image, label.astype(np.int32)


def refuse_labels(label: np.ndarray, where: str) -> None:
    """Raise ValueError where integer labels are no numbers of classes."""
    if label.min() < 0:
        raise ValueError(f"{where} holds the label {label.min()}; labels must be {len(label)} integers from 0.")
    if label.max() >= _MOST_CLASSES:
        raise ValueError(
            f"{where} holds the label {label.max():,}, so there would be as many classes. Labels must be class "
            "numbers 0, 1, 2, ...: number them by _, y = np.unique(y, return_inverse=True)."
        )


def _rounding(path: Path) -> floating.Levels | None:
    """Return how floating images of a file become bytes, by the range of both splits; None where they are bytes."""
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
        images = [file[x] for x, _ in _NAMES.values() if file[x].dtype.kind == "f"]
    return floating.levels(images, f"{path}: x_train and x_test") if len(images) == len(_NAMES) else None


class _RefusedError(Exception):
    """The file is whole, and not what is needed."""


def _check_headers(path: Path, headers: Mapping[str, npy_headers.Header], x: str, y: str) -> None:
    """Refuse from their headers what the arrays cannot be, before anything is read."""
    for key in (x, y):
        if key not in headers:
            raise _RefusedError(
                f"{path} has no array {key!r}, only: {', '.join(headers) or 'none'}. {_WRITE.format(path=str(path))}"
            )
    image, label = headers[x], headers[y]
    known = image.dtype == np.uint8 or image.dtype.kind == "f"
    if not known or len(image.shape) not in (3, 4) or not image.bytes:
        raise _RefusedError(
            f"{path}: {x} is {image.dtype} {image.shape}; images must be uint8 or floating, [n, height, width(, "
            f"channels)] or [n, channels, height, width]. {_advice(image.dtype)}"
        )
    flat = label.shape[:1] if len(label.shape) == 2 and label.shape[1] == 1 else label.shape
    if flat != image.shape[:1] or not np.issubdtype(label.dtype, np.integer):
        raise _RefusedError(
            f"{path}: {y} is {label.dtype} {label.shape}; labels must be {image.shape[0]} integers from 0, one "
            "an image."
        )
    needed = sum(header.bytes for header in headers.values())
    if needed > npy_headers.memory():
        raise _RefusedError(f"{path} holds {needed:,} bytes of arrays, more than this machine has memory. Take a part.")


def _advice(dtype: np.dtype) -> str:
    """Say how to make bytes of numbers of this dtype."""
    if dtype.kind == "b":
        return "Convert them: x = 255 * x.astype(np.uint8)."
    if dtype.kind in "iu" and dtype != np.uint8:
        return "Convert them: x = x.astype(np.uint8), where they are 0 to 255 (look at x.max() first)."
    return "Give them that shape and dtype."
