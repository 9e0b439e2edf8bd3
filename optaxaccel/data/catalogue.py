"""What `optaxaccel data` does: list the sets, describe one, prepare it with TFDS, verify it."""

import hashlib
import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from optaxaccel.data import array_records, cache, image_sets, prepared
from optaxaccel.data.sets import DATASETS, DataCard
from optaxaccel.registry import suggestion

Directory = str | os.PathLike[str] | None


class Row(NamedTuple):
    """A line of the list: name, shape, classes, images in each split, state (such as prepared 3.0.1)."""

    name: str
    shape: str
    classes: int
    splits: str
    state: str


class Finding(NamedTuple):
    """What verifying found: whether it is as it should be, and what it is."""

    good: bool
    text: str


def rows(data_dir: Directory = None) -> list[Row]:
    """List the sets of DATASETS, whether they are here or not, and after them other ones that are prepared.

    Example:
      >>> rows()[0]
      Row(name='digits', shape='8x8x1', classes=10, splits='train 1,437, test 360', state='embedded')
    """
    listed = [_row(*_card_and_state(name, data_dir)) for name in DATASETS]
    for name in prepared.names(data_dir):
        if name in DATASETS:
            continue
        try:
            listed.append(_row(*_card_and_state(name, data_dir)))
        except (ValueError, FileNotFoundError):
            continue  # no labelled images: text, say
    return listed


def info(name: str, data_dir: Directory = None) -> dict[str, str]:
    """Describe a set: its card, where it is, what is cached of it.

    Raises:
      ValueError: the name is unknown.
    """
    card, state = _card_and_state(name, data_dir)
    facts = {
        "name": card.name,
        "state": state,
        "source": card.source,
        "licence": card.licence,
        "shape": _shape(card),
        "classes": f"{card.classes:,}",
        "images": _sizes(card),
        "mean": ", ".join(f"{value:g}" for value in card.mean),
        "std": ", ".join(f"{value:g}" for value in card.std),
    }
    if card.kind == "tfds":
        facts["folder"] = str(prepared.data_dir(data_dir) / name.partition(":")[0])
    if card.kind == "tfds" and not card.streamed:
        files = sorted(cache.folder().glob(f"{name.partition(':')[0].replace('/', '-')}-*.u8"))
        facts["cache"] = ", ".join(f"{path} ({path.stat().st_size / 1e6:.0f} MB)" for path in files) or "nothing yet"
    if card.note:
        facts["note"] = card.note
    return facts


def prepare(name: str, data_dir: Directory = None, *, say: Callable[[str], None] = print) -> None:
    """Download a set and write it as array_record files with TFDS.

    Args:
      name: any image-classification set of TFDS.
      data_dir: where to (default $TFDS_DATA_DIR, else ~/tensorflow_datasets).
      say: receives what is being done.

    Raises:
      ValueError: the name is not in TFDS's catalogue, or TensorFlow, which TFDS needs for this one step, is missing.
      FileNotFoundError: the set must be fetched by hand first.
    """
    card = DATASETS.get(name)
    if card and card.kind != "tfds":
        say(f"{name} needs no preparation.")
        return
    try:
        tfds_set = prepared.find(name, directory=data_dir)
        say(f"{name} {tfds_set.version} is prepared already, in {tfds_set.folder}.")
        return
    except FileNotFoundError:
        root = prepared.data_dir(data_dir)
    import tensorflow_datasets as tfds

    catalogue = tfds.list_builders(with_community_datasets=False)
    base = name.partition(":")[0].partition("/")[0]
    if card and base not in catalogue:
        raise ValueError(
            f"Data set {base!r} is not in TFDS's catalogue, so TFDS cannot prepare it. It is made of {card.source}; "
            f"prepared as TFDS lays sets out, it belongs into {root / base / card.version}."
        )
    if base not in catalogue:
        raise ValueError(
            f"Data set {base!r} is not in TFDS's catalogue, so it cannot be prepared.{suggestion(base, catalogue)} "
            "Its names stand on https://www.tensorflow.org/datasets/catalog."
        )
    _require_files(name, tfds.builder_cls(base), root / "downloads" / "manual")
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"Preparing {name} needs TensorFlow, for this one step: reading prepared sets never does. Install it with "
            "pip install 'optaxaccel[prepare]' and run the command again; it can be removed afterwards."
        )
    say(f"TFDS downloads {name} and writes it to {root}.")
    try:
        tfds.builder(name, data_dir=root, file_format="array_record").download_and_prepare()
    except OSError as error:
        raise ValueError(
            f"TFDS could not download {name} or write it to {root}: {error}. Nothing half-done is left there under its "
            "final name; run the command again."
        ) from error
    say(f"Prepared in {prepared.find(name, directory=root).folder}. Check it with: optaxaccel data verify {name}")


def verify(
    name: str, data_dir: Directory = None, *, progress: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """Read a set whole and compare it with what is known of it.

    Args:
      name: as in `load`.
      data_dir: likewise.
      progress: called with (images read, images in all) of a split now and then; by default a line on a terminal.

    Returns:
      What was found, good and bad: version, counts, shape, classes, pixels, balance of classes, the cache.

    Raises:
      ValueError: a file, image or label is damaged; says which.
      FileNotFoundError: the set or a file of it is missing.
    """
    card = image_sets.card_of(name, data_dir)
    known = DATASETS.get(name.partition(":")[0])
    findings = _compare(card, known)
    for split in card.splits:
        show = progress or image_sets.progress_line(f"{name} {split}")
        if card.name == "imagenet2012" and split == "test":
            findings.append(Finding(True, "test: not read, its labels are not public"))
        elif card.streamed:
            label = _survey(prepared.find(name, directory=data_dir), split, show)
            findings += [Finding(True, f"{split}: all {len(label):,} images decode"), _balance(card, split, label)]
        else:
            image, label, stored = image_sets.read(name, split, data_dir=data_dir, progress=show)
            findings += [_pixels(card, split, image, label, stored), _balance(card, split, label)]
    return findings


def digest(image: np.ndarray, label: np.ndarray) -> str:
    """Return a checksum of labelled images that does not depend on their order.

    Example:
      >>> image, label = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1), np.array([3, 4], np.int32)
      >>> digest(image, label) == digest(image[::-1], label[::-1]) != digest(image, label[::-1])
      True
    """
    total = 0
    for pixels, number in zip(np.ascontiguousarray(image), label.tolist(), strict=True):
        total += int.from_bytes(hashlib.sha256(pixels.tobytes() + number.to_bytes(4, "little")).digest(), "little")
    return f"{total % 2**256:064x}"


def _card_and_state(name: str, data_dir: Directory) -> tuple[DataCard, str]:
    """Return what is known of a set, and whether it can be loaded."""
    try:
        card = image_sets.card_of(name, data_dir)
    except (FileNotFoundError, ValueError) as error:
        if name not in DATASETS:
            raise
        return DATASETS[name], "not prepared" if isinstance(error, FileNotFoundError) else "not readable"
    return card, f"prepared {card.version}" if card.kind == "tfds" else card.kind


def _row(card: DataCard, state: str) -> Row:
    return Row(card.name, _shape(card), card.classes, _sizes(card), state)


def _shape(card: DataCard) -> str:
    return "x".join(str(side) if side > 0 else "any" for side in card.shape)


def _sizes(card: DataCard) -> str:
    return ", ".join(f"{split} {size:,}" for split, size in card.splits.items())


def _require_files(name: str, builder: Any, manual: Path) -> None:
    """Raise FileNotFoundError where TFDS cannot download a set itself and the files are not in their place."""
    by_hand = getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None)
    if by_hand and not (manual.is_dir() and any(manual.iterdir())):
        raise FileNotFoundError(
            f"{name} cannot be downloaded by a program. {' '.join(by_hand.split())} manual_dir is {manual}, which is "
            "empty or not there. Put the files there and run the command again."
        )


def _compare(card: DataCard, known: DataCard | None) -> list[Finding]:
    """Compare the folder's descriptions with the registry."""
    if known is None or known.kind != "tfds":
        return [Finding(True, f"{card.name}: {_sizes(card)}, {_shape(card)}, {card.classes} classes")]
    same = card.version == known.version
    findings = [Finding(same, f"version {card.version}" + ("" if same else f", expected {known.version}"))]
    for field, what, show in (
        ("splits", "images", _sizes),
        ("shape", "shape", _shape),
        ("classes", "classes", lambda c: str(c.classes)),
    ):
        same = getattr(card, field) == getattr(known, field)  # TFDS may list the splits in another order
        findings.append(Finding(same, f"{what}: {show(card)}" + ("" if same else f", not {show(known)}")))
    return findings


def _pixels(card: DataCard, split: str, image: np.ndarray, label: np.ndarray, stored: str) -> Finding:
    """Compare pixels and labels with the published ones, as far as their checksum is known."""
    checksum, known = digest(image, label), card.checksums.get(split)
    if known:
        return Finding(
            checksum == known, f"{split}: pixels and labels are {'' if checksum == known else 'NOT '}the original"
        )
    lossy = image_sets.copy_note(card, stored)
    return Finding(not lossy, f"{split}: {lossy or 'no checksum is known'}; checksum {checksum[:16]}")


def _balance(card: DataCard, split: str, label: np.ndarray) -> Finding:
    """Say how even the classes are, and whether that is as it should be."""
    counts = np.bincount(label, minlength=card.classes)
    text = f"{split}: {counts.min():,} to {counts.max():,} images a class"
    if not card.balanced:
        return Finding(bool(counts.min() > 0), text)
    even = counts.min() == counts.max()
    return Finding(bool(even), text + ("" if even else f", not {len(label) // card.classes:,} in each"))


def _survey(tfds_set: prepared.Prepared, split: str, progress: Callable[[int, int], None] | None) -> np.ndarray:
    """Decode every image of a split of photographs and return the labels."""
    array_records.check_counts(tfds_set, split)
    source, n = array_records.open_split(tfds_set, split), tfds_set.splits[split]
    label = np.empty(n, np.int32)

    def read(start: int) -> int:
        stop = min(start + 64, n)
        for index, record in enumerate(array_records.read_records(tfds_set, split, source, range(start, stop)), start):
            label[index] = array_records.check_label(tfds_set, split, index, record[tfds_set.label])
            array_records.open_image(tfds_set, split, index, record[tfds_set.image])
        return stop

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done in pool.map(read, range(0, n, 64)):
            if progress:
                progress(done, n)
    return label
