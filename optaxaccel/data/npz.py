"""Data sets in .npz files: x_train, y_train, x_test, y_test, as Keras and many others write them."""

from pathlib import Path

import numpy as np

from optaxaccel.data.sets import DataCard

_MOST_CLASSES = 1_000_000  # a network has an output for each: more are identifiers, not class numbers
_WRITE = "Write it by np.savez({path!r}, x_train=..., y_train=..., x_test=..., y_test=...)."
_NAMES = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}


def card(path: Path) -> DataCard:
    """Describe the file; the training images are read for their mean and standard deviation.

    Raises:
      ValueError: an array is missing, or is not uint8 images [n, height, width(, channels)] with integer labels [n].
    """
    image, label = read(path, "train")
    test_image, test_label = read(path, "test")
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
    )


def read(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (image uint8 [n, height, width, channels], label int32 [n]) of a split."""
    x, y = _NAMES[split]
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:  # a pickle could run any code
            names = file.files
            held = {key: file[key] for key in (x, y) if key in names}
    except Exception as error:  # zip, zlib and NumPy's parser of headers have errors of their own
        raise ValueError(
            f"{path} is damaged or no .npz file ({type(error).__name__}: {error}). {_WRITE.format(path=str(path))}"
        ) from error
    for key in (x, y):
        if key not in held:
            raise ValueError(
                f"{path} has no array {key!r}, only: {', '.join(names) or 'none'}. {_WRITE.format(path=str(path))}"
            )
    image, label = held[x], held[y]
    image = image[..., None] if image.ndim == 3 else image
    label = label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label
    if image.dtype != np.uint8 or image.ndim != 4 or not image.size:
        raise ValueError(
            f"{path}: {x} is {image.dtype} {image.shape}; images must be uint8 [n, height, width(, channels)], 0 to "
            "255. Convert them: x = np.round(255 * x).astype(np.uint8)."
        )
    if label.shape != image.shape[:1] or not np.issubdtype(label.dtype, np.integer) or label.min() < 0:
        raise ValueError(
            f"{path}: {y} is {label.dtype} {label.shape}; labels must be {len(image)} integers from 0, one an image."
        )
    if label.max() >= _MOST_CLASSES:
        raise ValueError(
            f"{path}: {y} holds the label {label.max():,}, so there would be as many classes. Labels must be class "
            "numbers 0, 1, 2, ...: number them by _, y = np.unique(y, return_inverse=True)."
        )
    return image, label.astype(np.int32)
