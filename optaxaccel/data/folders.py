"""Image folders: sub-folders are classes, PNG or JPEG files in them are images."""

import functools
from pathlib import Path

import numpy as np

from optaxaccel.data.sets import DataCard

ENDINGS = (".png", ".jpg", ".jpeg")
TEST = ("test", "val", "validation")  # names of the part that is measured on, beside "train"
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
    return DataCard(
        name=str(folder),
        source=f"the folder {folder.name}",
        licence="unknown",
        kind="folder",
        shape=train[0].shape[1:],
        classes=len(_classes(folder)),
        splits={"train": len(train[1]), "test": len(test[1])},
        test_split="test",
        mean=tuple(float(m) for m in scaled.mean(0, dtype=np.float64) / 255),
        std=tuple(float(max(s, 1 / 255)) for s in scaled.std(0, dtype=np.float64) / 255),
    )


def read(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (image uint8 [n, height, width, channels], label int32 [n]) of "train" or "test".

    Images of another size than the first are scaled to it; they are grey where all files are.
    """
    return _read(folder, contents(folder))[split]


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folders of the parts, or {} where the classes are directly in the folder."""
    test = next((folder / name for name in TEST if (folder / name).is_dir()), None)
    if test is None or not (folder / "train").is_dir():
        return {}
    return {"train": folder / "train", "test": test}


def _classes(folder: Path) -> list[str]:
    inside = [_parts(folder).get("train", folder)]
    return sorted(path.name for where in inside for path in where.iterdir() if path.is_dir() and path.name[0] != ".")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)


@functools.lru_cache(maxsize=2)
def _read(folder: Path, version: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    del version  # a part of the key
    names = {name: k for k, name in enumerate(_classes(folder))}
    files = [path for path in _files(folder) if path.parent.name in names]
    if len(names) < 2 or not files:
        raise ValueError(
            f"{folder} is no image folder: it has {len(names)} sub-folders with {len(files)} images "
            f"({', '.join(ENDINGS)}) in them. Put the images of each class into a sub-folder: cats/1.png, dogs/1.png; "
            "or these below train and test."
        )
    image, label = _decoded(files), np.array([names[path.parent.name] for path in files], np.int32)
    if parts := _parts(folder):
        rows = {split: np.array([path.is_relative_to(part) for path in files]) for split, part in parts.items()}
    else:
        order = np.random.default_rng(0).permutation(len(files))
        test = np.isin(np.arange(len(files)), order[: max(1, round(SHARE * len(files)))])
        rows = {"train": ~test, "test": test}
    return {split: (image[chosen], label[chosen]) for split, chosen in rows.items()}


def _decoded(files: list[Path]) -> np.ndarray:
    from PIL import Image

    opened = []
    for path in files:
        try:
            with Image.open(path) as image:
                opened.append(image.convert("L" if image.mode in ("1", "L") else "RGB"))
        except OSError as error:
            raise ValueError(f"{path} is damaged or no image ({error}). Remove it, or mend it.") from error
    grey = all(image.mode == "L" for image in opened)
    size = opened[0].size
    images = [
        np.asarray((i if grey else i.convert("RGB")).resize(size) if i.size != size or not grey else i) for i in opened
    ]
    stacked = np.stack(images)
    return stacked[..., None] if grey else stacked
