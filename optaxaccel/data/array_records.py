"""The records of a prepared set: read through TFDS, decoded in batches, and refused by name where they are damaged."""

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from optaxaccel.data.prepared import Prepared, again

_CHUNK_RECORDS = 2000  # read at once: a single read may cost as much as all records of its shard
_CHUNK_PIXELS = 2**21  # and this many pixels, since their records are held until they are decoded
_THREADED_PIXELS = 64 * 64  # below, Python's own work per image dominates and threads wait for one another


def decode(
    tfds_set: Prepared, split: str, *, progress: Callable[[int, int], None] | None = None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Decode a whole split of images of one size.

    Args:
      tfds_set: the set.
      split: one of `tfds_set.splits`.
      progress: called with (images decoded, images in all) now and then.

    Returns:
      image: uint8 [n, height, width, channels].
      label: int32 [n].
      encoding: how the first image is stored: "png", "jpeg", ...

    Raises:
      ValueError: a file is truncated, or an image is corrupt or has no label; says which.
    """
    n = tfds_set.splits[split]
    check_counts(tfds_set, split)
    source = open_split(tfds_set, split)
    height, width, _ = tfds_set.shape
    chunk = max(1, min(_CHUNK_RECORDS, _CHUNK_PIXELS // (height * width)))
    workers = (os.cpu_count() or 1) if height * width >= _THREADED_PIXELS else 1
    image = np.empty((n, *tfds_set.shape), np.uint8)
    label = np.empty(n, np.int32)

    def fill(start: int) -> bytes:
        stop = min(start + chunk, n)
        records = read_records(tfds_set, split, source, range(start, stop))
        for index, record in enumerate(records, start):
            image[index] = decode_image(tfds_set, split, index, record[tfds_set.image])
            label[index] = check_label(tfds_set, split, index, record[tfds_set.label])
        return records[0][tfds_set.image]

    with ThreadPoolExecutor(workers) as pool:
        first = b""
        for done, head in enumerate(pool.map(fill, range(0, n, chunk)), 1):
            first = first or head
            if progress:
                progress(min(done * chunk, n), n)
    return image, label, encoding(first)


def open_split(tfds_set: Prepared, split: str) -> Any:
    """Open a split as TFDS's random-access source, whose images stay encoded."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(f"Reading {tfds_set.name} needs TFDS: pip install 'optaxaccel[train]'.") from error
    # A builder made from the folder itself asks neither the catalogue nor the network.
    builder = tfds.builder_from_directory(tfds_set.folder)
    encoded = {tfds_set.image: tfds.decode.SkipDecoding()}
    return builder.as_data_source(split, decoders=encoded)  # pyright: ignore[reportCallIssue]


def check_counts(tfds_set: Prepared, split: str) -> None:
    """Raise ValueError where a file holds another number of records than dataset_info.json says.

    TFDS believes the description: of a file with more records it would silently drop some.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    for path, expected in zip(tfds_set.shards[split], tfds_set.lengths[split], strict=True):
        try:
            reader = ArrayRecordReader(str(path))
            count = reader.num_records()
            reader.close()
        except Exception as error:  # array_record raises what its C++ side gives it, RuntimeError for the most part
            raise ValueError(
                f"{path} cannot be read; it may be truncated or damaged ({type(error).__name__}: {error}). "
                f"{again(tfds_set)}"
            ) from error
        if count != expected:
            raise ValueError(f"{path} holds {count:,} records, dataset_info.json says {expected:,}. {again(tfds_set)}")


def read_records(tfds_set: Prepared, split: str, source: Any, indices: Any) -> list[dict[str, Any]]:
    """Read some records of an open split, or say which cannot be read."""
    try:
        return source.__getitems__(list(indices))
    except Exception as error:  # array_record raises what its C++ side gives it, RuntimeError for the most part
        raise ValueError(
            f"{tfds_set.folder}: records {indices[0]} to {indices[-1]} of split {split!r} cannot be read; a file may "
            f"be truncated or damaged ({type(error).__name__}: {error}). {again(tfds_set)}"
        ) from error


def decode_image(tfds_set: Prepared, split: str, index: int, encoded: bytes) -> np.ndarray:
    """Decode one image of fixed shape, or say which one cannot be."""
    image = open_image(tfds_set, split, index, encoded)
    if image.mode in ("1", "P", "PA"):  # their numbers are no brightness, but places in a palette
        image = image.convert("L" if tfds_set.shape[2] == 1 else "RGB")
    pixels = np.asarray(image)
    if image.mode == "CMYK":
        raise ValueError(f"{tfds_set.folder}: image {index} of split {split!r} is CMYK, and no RGB. {again(tfds_set)}")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape != tfds_set.shape or pixels.dtype != np.uint8:
        raise ValueError(
            f"{tfds_set.folder}: image {index} of split {split!r} is {pixels.dtype} {pixels.shape}, features.json "
            f"says uint8 {tfds_set.shape}. {again(tfds_set)}"
        )
    return pixels


def open_image(tfds_set: Prepared, split: str, index: int, encoded: bytes) -> Any:
    """Decode one image with Pillow, or say which one cannot be."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
        return image
    except Exception as error:  # each of Pillow's decoders has errors of its own
        raise ValueError(
            f"{tfds_set.folder}: image {index} of split {split!r} cannot be decoded ({type(error).__name__}: {error}). "
            f"{again(tfds_set)}"
        ) from error


def check_label(tfds_set: Prepared, split: str, index: int, label: Any) -> int:
    """Return a label as an integer, or say which image has none."""
    if label is None:
        raise ValueError(f"{tfds_set.folder}: image {index} of split {split!r} has no label. {again(tfds_set)}")
    if 0 <= int(label) < tfds_set.classes:
        return int(label)
    raise ValueError(
        f"{tfds_set.folder}: image {index} of split {split!r} has label {int(label)}, outside 0 to "
        f"{tfds_set.classes - 1}: the labels of this split may not be public. Choose another of "
        f"{', '.join(tfds_set.splits)}."
    )


def encoding(encoded: bytes) -> str:
    """Return the format of an encoded image, such as "png" or "jpeg (quality 75)"."""
    from PIL import Image

    def tables(data: bytes) -> Any:
        with Image.open(io.BytesIO(data)) as opened:
            return getattr(opened, "quantization", None)

    with Image.open(io.BytesIO(encoded)) as opened:
        name = (opened.format or "unknown").lower()
    if name == "jpeg":
        for quality in range(1, 101):  # the quality whose tables are the ones stored
            trial = io.BytesIO()
            Image.new("RGB", (8, 8)).save(trial, "JPEG", quality=quality)
            if tables(trial.getvalue()) == tables(encoded):
                return f"jpeg (quality {quality})"
    return name
