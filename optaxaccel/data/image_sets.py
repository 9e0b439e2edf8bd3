"""Labelled images of one size, held as arrays: what a training loop asks for by name."""

import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from optaxaccel.data import array_records, cache, folders, prepared, splits, synthetic
from optaxaccel.data.sets import DATASETS, DataCard
from optaxaccel.registry import suggestion, unknown

NORMALISATIONS = ("channel", "half", "pixel", "none")


class Images(NamedTuple):
    """Labelled images of one size.

    Attributes:
      image: uint8 [n, height, width, channels].
      label: int32 [n].
    """

    image: np.ndarray
    label: np.ndarray


class Dataset(NamedTuple):
    """A data set, ready to train on.

    Attributes:
      name: its name.
      train: the images to train on.
      test: the images that measure accuracy.
      classes: the number of classes.
      mean: per channel, to normalise by, of images scaled to [0, 1].
      std: likewise.
      note: what results on this copy have to say ("" where nothing).
      levels: how floating images became bytes, see `DataCard`.
    """

    name: str
    train: Images
    test: Images
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    note: str
    levels: tuple[float, float, str] | None = None


class _Reader(NamedTuple):
    """How one set is read: its splits and their sizes, and a function that reads a whole one."""

    card: DataCard
    read: Callable[[str], tuple[Images, str]]


def load(
    name: str,
    *,
    train_split: str = "train",
    test_split: str = "test",
    data_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load a data set by name.

    Args:
      name: a key of DATASETS, the name of any other image-classification set that TFDS has prepared (`name`,
        `name/config`, `name:version`), the path of an .npz file with x_train, y_train, x_test and y_test, or of a
        folder of PNG or JPEG images whose sub-folders are classes.
      train_split: the images to train on, in TFDS notation, such as "train[:45000]".
      test_split: the images that measure accuracy, likewise. For tuning pass a part of the training images, such as
        "train[45000:]": what was tuned on the test split cannot be measured on it.
      data_dir: where prepared sets are (default $TFDS_DATA_DIR, else ~/tensorflow_datasets).

    Raises:
      ValueError: an unknown name or split, overlapping splits, or damaged files.
      FileNotFoundError: the set is not prepared.

    Example:
      >>> dataset = load("digits", train_split="train[:100]")
      >>> dataset.train.image.shape, dataset.test.label.shape, dataset.classes
      ((100, 8, 8, 1), (360,), 10)
    """
    reader = _reader(name, data_dir)
    card, whole = reader.card, functools.cache(reader.read)
    if card.streamed:
        raise ValueError(
            f"The images of {name!r} differ in size, so they cannot be held as one array. Read them while training: "
            f"optaxaccel.data.stream.batches({name!r}, ...)."
        )
    splits.refuse_overlap(train_split, test_split, card.splits)
    train, test = take(whole, train_split, card.splits), take(whole, test_split, card.splits)
    stored = whole(splits.parse(train_split, card.splits)[0].split)[1]
    note = "; ".join(filter(None, [card.note, copy_note(card, stored)]))
    return Dataset(card.name, train, test, card.classes, card.mean, card.std, note, card.levels)


def check(name: str, data_dir: str | os.PathLike[str] | None = None) -> None:
    """Raise unless the set is known and prepared; nothing is read but the descriptions in its folder.

    Raises:
      ValueError: the name is unknown, or the folder holds no labelled images that can be read.
      FileNotFoundError: the set, or a file of it, is not where it was looked for.
    """
    _reader(name, data_dir)


def normalisation(dataset: Dataset, how: str = "channel") -> tuple[np.ndarray, np.ndarray]:
    """Return (mean, std) for `prepare`, float32, that broadcast against images scaled to [0, 1].

    Args:
      dataset: what `load` returned.
      how: "channel" takes the published mean and standard deviation of each channel, "half" 0.5 and 0.5, "pixel" the
        mean of each pixel over the training images and no scaling, "none" leaves the images as they are.

    Example:
      >>> mean, std = normalisation(load("digits"), "pixel")
      >>> mean.shape, std
      ((8, 8, 1), array([1.], dtype=float32))
    """
    if how not in NORMALISATIONS:
        raise ValueError(
            f"how={how!r} is unknown.{suggestion(how, NORMALISATIONS)} Pass one of: "
            f"{', '.join(map(repr, NORMALISATIONS))}."
        )
    if how == "pixel":
        return (dataset.train.image.mean(0, dtype=np.float64) / 255).astype(np.float32), np.ones(1, np.float32)
    mean, std = {"channel": (dataset.mean, dataset.std), "half": ((0.5,), (0.5,)), "none": ((0.0,), (1.0,))}[how]
    return np.array(mean, np.float32), np.array(std, np.float32)


def card_of(name: str, data_dir: str | os.PathLike[str] | None = None) -> DataCard:
    """Return the card of any set that `load` takes, in DATASETS or not."""
    return _reader(name, data_dir).card


def contents_key(name: str, data_dir: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """Return what changes when the files of a set do, so that what was read of them once may be kept in memory.

    Raises:
      ValueError, FileNotFoundError: as `load` does.
    """
    if name.endswith(".npz"):
        path = Path(name).expanduser().resolve()
        stat = path.stat()
        return (str(path), f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}")
    if _is_folder(name):
        return (name, folders.contents(Path(name).expanduser()))
    if _reader(name, data_dir).card.kind != "tfds":
        return (name,)
    tfds_set = prepared.find(name, directory=data_dir)
    return (str(tfds_set.folder.resolve()), *(_cache_path(tfds_set, split).name for split in sorted(tfds_set.shards)))


def read(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return (image, label, encoding) of a whole split from its source, past the cache, and renew what is cached."""
    reader = _reader(name, data_dir)
    if reader.card.kind != "tfds":
        images, encoding = reader.read(split)
        return images.image, images.label, encoding
    tfds_set = prepared.find(name, directory=data_dir)
    image, label, encoding = array_records.decode(tfds_set, split, progress=progress)
    cache.store(_cache_path(tfds_set, split), image, label, {"encoding": encoding})
    return image, label, encoding


def _reader(name: str, data_dir: str | os.PathLike[str] | None) -> _Reader:
    """Find out who reads a set."""
    if name.endswith(".npz"):
        return _npz_reader(Path(name).expanduser())
    if _is_folder(name):
        folder = Path(name).expanduser()
        return _Reader(folders.card(folder), lambda split: (Images(*folders.read(folder, split)), ""))
    base = name.partition(":")[0]
    card = DATASETS.get(base)
    if card and card.maker:
        module, function = card.maker.split(":")
        embedded = getattr(importlib.import_module(module), function)
        return _Reader(card, lambda split: (Images(*embedded(split)), ""))
    if base.partition("/")[0] == "synthetic":
        shaped = synthetic.card(base)
        return _Reader(shaped, lambda split: (Images(*synthetic.read(shaped, split)), ""))
    try:
        tfds_set = prepared.find(name, directory=data_dir)
    except FileNotFoundError as error:
        if card or (prepared.data_dir(data_dir) / base).is_dir():
            raise
        raise ValueError(
            f"{unknown('data set', base, DATASETS)} A set of TFDS that is not listed must be prepared first; the path "
            "of an .npz file, or of a folder of images whose sub-folders are classes, works too."
        ) from error
    return _Reader(_describe(card, tfds_set), lambda split: _read_cached(tfds_set, split))


def _is_folder(name: str) -> bool:
    return name.partition(":")[0] not in ("", ".", "..", *DATASETS) and Path(name).expanduser().is_dir()


def _describe(card: DataCard | None, tfds_set: prepared.Prepared) -> DataCard:
    """Return the card with what the folder says."""
    if card:
        return card._replace(
            shape=tfds_set.shape, classes=tfds_set.classes, splits=tfds_set.splits, version=tfds_set.version
        )
    return DataCard(
        name=tfds_set.name,
        source=f"TFDS {tfds_set.name} {tfds_set.version}",
        licence="see its page in TFDS's catalogue",
        kind="tfds",
        shape=tfds_set.shape,
        classes=tfds_set.classes,
        splits=tfds_set.splits,
        test_split=next((split for split in ("test", "validation") if split in tfds_set.splits), ""),
        mean=(0.5,),
        std=(0.5,),
        version=tfds_set.version,
    )


def _read_cached(tfds_set: prepared.Prepared, split: str) -> tuple[Images, str]:
    """Return a whole split from the cache, or decode it and store it there."""
    path = _cache_path(tfds_set, split)
    stored = cache.load(path)
    if stored is None:
        image, label, encoding = array_records.decode(
            tfds_set, split, progress=progress_line(f"{tfds_set.name} {split}")
        )
        cache.store(path, image, label, {"encoding": encoding})
        return Images(image, label), encoding
    image, label, facts = stored
    return Images(image, label), str(facts.get("encoding", ""))


def _cache_path(tfds_set: prepared.Prepared, split: str) -> Path:
    """Return the file of a decoded split; its name holds what a new copy of the set changes, so that none is mixed up.

    That is the folder's descriptions, and the sizes and times of its files.
    """
    digest = hashlib.sha256()
    for name in ("dataset_info.json", "features.json"):
        digest.update((tfds_set.folder / name).read_bytes())
    for path in tfds_set.shards[split]:
        stat = path.stat()
        digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    name = f"{tfds_set.name.replace('/', '-')}-{tfds_set.version}-{split}-{digest.hexdigest()[:16]}.u8"
    return cache.folder() / name


def _npz_reader(path: Path) -> _Reader:
    """Read x_train, y_train, x_test and y_test from an .npz file."""
    if not path.is_file():
        raise FileNotFoundError(f"Data set {str(path)!r}: there is no such file (looked at {path.absolute()}).")
    from optaxaccel.data import npz

    card = npz.card(path)
    return _Reader(card, lambda split: (Images(*npz.read(path, split)), ""))


def take(whole: Callable[[str], tuple[Images, str]], text: str, sizes: Mapping[str, int]) -> Images:
    """Return the images that a split in TFDS notation names."""
    parts = [(whole(part.split)[0], slice(part.start, part.stop)) for part in splits.parse(text, sizes)]
    if len(parts) == 1:
        images, part = parts[0]
        return Images(images.image[part], images.label[part])
    return Images(
        np.concatenate([images.image[part] for images, part in parts]),
        np.concatenate([images.label[part] for images, part in parts]),
    )


def copy_note(card: DataCard, stored: str) -> str:
    """Say so where the stored images are not the pixels that the set's makers published."""
    if card.encoding == "png" and stored.startswith("jpeg"):
        return f"{card.name} (lossy copy: {stored}), not the original pixels: accuracy is not comparable with published"
    return ""


def progress_line(title: str) -> Callable[[int, int], None] | None:
    """Return a function that shows how far decoding is, on a terminal; None for anything else."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        text = f"\rdecoding {title}: {done:,} of {total:,} images ({done / total:.0%})"
        print(text, end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show
