"""Image folders: sub-folders are classes, PNG or JPEG files in them, at any depth, are images; hidden ones are not.

Images of 16 bits are grey; their highest 8 bits are taken, counted from the highest that any of them uses. Transparency
is a fourth channel where some pixel is transparent.
"""

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from optaxaccel.data.sets import DataCard

ENDINGS = (".png", ".jpg", ".jpeg")
TEST = ("test", "val", "validation")  # names of the part that is measured on, beside "train"
_PARTS = {"train", "training", "testing", "valid", *TEST}  # names of parts, in lower case
SHARE = 0.2  # of the images, measured on where the folder has no such parts; drawn by a fixed seed


def contents(folder: Path) -> str:
    """Return what changes when a file of the folder does."""
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in _files(folder)]
    return f"{len(stats)} {hash(tuple(stats))}"


def card(folder: Path) -> DataCard:
    """Describe a folder; all its images are read.

    Raises:
      ValueError: it holds no classes, or no images.
    """
    train, test = read(folder, "train"), read(folder, "test")
    scaled = train[0].reshape(-1, train[0].shape[-1])
    names, _, note = _read(folder, contents(folder))
    return DataCard(
        name=str(folder),
        source=f"the folder {folder.name}",
        licence="unknown",
        kind="folder",
        shape=train[0].shape[1:],
        classes=len(names),
        splits={"train": len(train[1]), "test": len(test[1])},
        test_split="test",
        mean=tuple(float(m) for m in scaled.mean(0, dtype=np.float64) / 255),
        std=tuple(float(max(s, 1 / 255)) for s in scaled.std(0, dtype=np.float64) / 255),
        note=note,
    )


def read(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (image uint8 [n, height, width, channels], label int32 [n]) of "train" or "test".

    Images of another size than the first by name are scaled to it; they are grey where all files are.
    """
    return _read(folder, contents(folder))[1][split]


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folders of the parts, or {} where the classes are directly in the folder."""
    test = next((folder / name for name in TEST if (folder / name).is_dir()), None)
    if test is None or not (folder / "train").is_dir():
        return {}
    return {"train": folder / "train", "test": test}


def _files(folder: Path) -> list[Path]:
    def hidden(path: Path) -> bool:
        return any(name.startswith(".") for name in path.relative_to(folder).parts)

    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and not hidden(path))


def _labelled(part: Path) -> list[tuple[Path, str]]:
    """Return the files of a part, each with its class: the first folder below the part."""
    files = [(path, path.relative_to(part).parts) for path in _files(part)]
    return [(path, names[0]) for path, names in files if len(names) > 1]


@functools.lru_cache(maxsize=2)
def _read(folder: Path, version: str) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]], str]:
    """Return the names of the classes, the images and labels of each split, and a note."""
    del version  # a part of the key
    parts = _parts(folder)
    pairs = {split: _labelled(part) for split, part in (parts or {"train": folder}).items()}
    names = sorted({name for _, name in pairs["train"]})
    _refuse(folder, parts, pairs, names)
    image, note = _decoded([path for each in pairs.values() for path, _ in each])
    label = np.array([names.index(name) for each in pairs.values() for _, name in each], np.int32)
    test = np.arange(len(label)) >= len(pairs["train"])
    if not parts:
        order = np.random.default_rng(0).permutation(len(label))
        test = np.isin(np.arange(len(label)), order[: max(1, round(SHARE * len(label)))])
    return names, {"train": (image[~test], label[~test]), "test": (image[test], label[test])}, note


def _refuse(folder: Path, parts: dict[str, Path], pairs: dict[str, list[tuple[Path, str]]], names: list[str]) -> None:
    if len(names) < 2 or {name.lower() for name in names} <= _PARTS:
        raise ValueError(
            f"{folder} is no image folder: {len(names)} sub-folders of {parts.get('train', folder)} hold images "
            f"({', '.join(ENDINGS)}): {', '.join(names) or 'none'}. Put the images of each class into a sub-folder: "
            "cats/1.png, dogs/1.png; or these below train and test."
        )
    if parts and not pairs["test"]:
        raise ValueError(
            f"{parts['test']} holds no images in sub-folders. Put images to measure on there, {names[0]}/1.png; or "
            f"move the classes of {parts['train']} into {folder}, and a fifth of their images is measured on."
        )
    strange = Counter(name for _, name in pairs.get("test", []) if name not in names)
    if strange:
        listed = ", ".join(f"{name} ({count:,} images)" for name, count in strange.items())
        raise ValueError(
            f"{parts['test']} holds classes that {parts['train']} lacks: {listed}. No network could learn them. Remove "
            "them, or add images of them to train."
        )


def _decoded(files: list[Path]) -> tuple[np.ndarray, str]:
    """Return images of one size and one kind, and a note."""
    from PIL import Image

    opened = []
    for path in files:
        try:
            with Image.open(path) as image:
                opened.append(image.copy() if image.mode[0] == "I" else image.convert(_mode(image)))
        except OSError as error:
            raise ValueError(f"{path} is damaged or no image ({error}). Remove it, or mend it.") from error
    notes, deep = [], [k for k, image in enumerate(opened) if image.mode[0] == "I"]
    if deep:
        bits = max(8, *(int(np.asarray(opened[k]).max()).bit_length() for k in deep))
        notes.append(f"{len(deep):,} grey images of {bits} bits, of which the highest 8 are taken")
        for k in deep:
            opened[k] = Image.fromarray((np.asarray(opened[k]).astype(np.int64) >> (bits - 8)).astype(np.uint8))
    modes = {image.mode for image in opened}
    mode = "RGBA" if "RGBA" in modes else "L" if modes == {"L"} else "RGB"
    if mode == "RGBA":
        notes.append("transparency is the fourth channel")
    size = opened[files.index(min(files))].size
    images = [image.convert(mode) if image.mode != mode else image for image in opened]
    stacked = np.stack([np.asarray(image.resize(size) if image.size != size else image) for image in images])
    return stacked[..., None] if mode == "L" else stacked, "; ".join(notes)


def _mode(image: Any) -> str:
    """Return what an image of 8 bits is read as: grey, colours, or colours with transparency where it has any."""
    transparent = image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255
    return "RGBA" if transparent else "L" if image.mode in ("1", "L") else "RGB"
