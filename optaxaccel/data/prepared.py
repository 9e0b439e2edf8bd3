"""Data sets that TFDS has prepared: find their folder and describe it, without TFDS.

TFDS left to itself looks for an unprepared set on the network (205 s without one, measured) and then raises an error
about something else. So the folder is looked at first, with the standard library alone.
"""

import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

_NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)?")
_LARGEST_SIDE = 65_536
_MOST_CLASSES = 1_000_000
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class Prepared(NamedTuple):
    """A prepared data set, as its folder describes it.

    Attributes:
      name: the name of the set, with its configuration where it has one.
      version: the version found.
      folder: where it is.
      splits: images in each split.
      shards: the files of each split.
      lengths: images in each of these files.
      image: the feature that holds the image.
      label: the feature that holds the class.
      shape: (height, width, channels); -1 where it varies.
      classes: the number of classes.
    """

    name: str
    version: str
    folder: Path
    splits: dict[str, int]
    shards: dict[str, list[Path]]
    lengths: dict[str, list[int]]
    image: str
    label: str
    shape: tuple[int, int, int]
    classes: int


def data_dir(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of prepared sets: the one given, else $TFDS_DATA_DIR, else TFDS's own default."""
    return Path(folder or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def names(directory: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of all prepared sets, `name` or `name/config`, whatever they hold."""
    root = data_dir(directory)
    infos = [*root.glob("*/*/dataset_info.json"), *root.glob("*/*/*/dataset_info.json")]
    return sorted({p.parents[1].relative_to(root).as_posix() for p in infos if _VERSION.fullmatch(p.parent.name)})


def find(name: str, *, directory: str | os.PathLike[str] | None = None) -> Prepared:
    """Describe a prepared set from the files in its folder.

    Args:
      name: `name`, `name/config`, or either with `:version`; without a version the newest one is taken.
      directory: the folder of prepared sets (default as in `data_dir`).

    Raises:
      FileNotFoundError: the set, the version or one of its shards is not there; says where it was looked for and which
        command prepares it.
      ValueError: it is there, but is no set of labelled images in array_record files; or the name cannot be one.
    """
    name, _, wanted = name.partition(":")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name of a data set. Pass a name such as 'mnist', or NAME/CONFIG; the folder of prepared "
            "sets goes into data_dir (--data-dir, TFDS_DATA_DIR)."
        )
    root = data_dir(directory) / name
    # While TFDS prepares a set, its folder is called incomplete.*: a half-written set, whatever it says about itself.
    versions = [path.parent for path in root.glob("*/dataset_info.json") if _VERSION.fullmatch(path.parent.name)]
    versions.sort(key=lambda folder: [int(part) for part in folder.name.split(".")])
    if not versions or (wanted and wanted not in [folder.name for folder in versions]):
        raise FileNotFoundError(_not_prepared(name, wanted, root, [folder.name for folder in versions]))
    folder = root / wanted if wanted else versions[-1]
    replace = f"Remove {folder} and prepare it again: {_command(name, root)}."
    info, features = (_read_json(folder / file, replace) for file in ("dataset_info.json", "features.json"))
    if info.get("fileFormat") != "array_record":
        raise ValueError(
            f"{folder} holds {info.get('fileFormat', 'tfrecord')} files, which cannot be read without TensorFlow. "
            f"Make array_record files of them: {_command(name, root)}."
        )
    try:
        image, label, shape, classes = _features(folder, info, features)
        shards, lengths = _shards(folder, info)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder}: dataset_info.json or features.json is not as TFDS writes them ({type(error).__name__}: "
            f"{error}). {replace}"
        ) from error
    missing = [path for paths in shards.values() for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"Data set {name!r} is not complete: {missing[0]} is missing ({len(missing)} of "
            f"{sum(map(len, shards.values()))} files). {replace}"
        )
    splits = {split: sum(each) for split, each in lengths.items()}
    return Prepared(name, folder.name, folder, splits, shards, lengths, image, label, shape, classes)


def _read_json(path: Path, replace: str) -> dict[str, Any]:
    """Read a description that TFDS wrote, or say which one cannot be read."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, dict):
            raise ValueError("it holds no table")
        return table
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error}): the set was not prepared to the end. {replace}") from error


def _features(folder: Path, info: Any, features: Any) -> tuple[str, str, tuple[int, int, int], int]:
    """Return (image feature, label feature, shape, classes) of a set of labelled images."""
    table = features.get("featuresDict", {}).get("features", {})
    pair = [item.get("featureKey") for item in info.get("supervisedKeys", {}).get("tuple", {}).get("items", [])]
    images = [key for key, feature in table.items() if "image" in feature]
    labels = [key for key, feature in table.items() if "classLabel" in feature]
    image = next((key for key in [*pair, "image"] if key in images), images[0] if images else None)
    label = next((key for key in [*pair, "label"] if key in labels), labels[0] if labels else None)
    if image is None or label is None:
        lacking = "an image" if image is None else "a class label"
        raise ValueError(
            f"{folder} is no set of labelled images: none of its features ({', '.join(table) or 'none'}) is {lacking}. "
            "Choose an image-classification set of TFDS."
        )
    shape = tuple(_integer(side) for side in table[image]["image"]["shape"]["dimensions"])
    if len(shape) != 3:
        raise TypeError(f"the image's dimensions are {shape}, not height, width and channels")
    if any(side != -1 and not 1 <= side <= _LARGEST_SIDE for side in shape):
        raise TypeError(f"the image's dimensions are {shape}, each -1 (it varies) or from 1 to {_LARGEST_SIDE:,}")
    classes = _integer(table[label]["classLabel"]["numClasses"])
    if not 1 <= classes <= _MOST_CLASSES:
        raise TypeError(f"there are {classes:,} classes, and not from 1 to {_MOST_CLASSES:,}")
    return image, label, shape, classes


def _shards(folder: Path, info: Any) -> tuple[dict[str, list[Path]], dict[str, list[int]]]:
    """Return (files, images in each file) of each split."""
    shards, lengths = {}, {}
    for split in info.get("splits", []):
        name = split["name"]
        lengths[name] = [_integer(length) for length in split.get("shardLengths", [])]
        template = split.get("filepathTemplate", "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}")
        if min(lengths[name], default=0) < 0:
            raise TypeError(f"split {name!r} has {min(lengths[name])} images in a file")
        total = f"{len(lengths[name]):05d}"
        fields = {"DATASET": info["name"], "SPLIT": name, "FILEFORMAT": "array_record", "NUM_SHARDS": total}
        shards[name] = [
            folder / _file(template, {**fields, "SHARD_INDEX": f"{k:05d}", "SHARD_X_OF_Y": f"{k:05d}-of-{total}"})
            for k in range(len(lengths[name]))
        ]
    return shards, lengths


def _file(template: str, fields: Mapping[str, str]) -> str:
    """Fill in a template of TFDS: names in braces and nothing else of Python's format strings; a name in the folder."""
    name = re.sub(r"\{(\w+)\}", lambda match: str(fields[match[1]]), template)
    if not re.fullmatch(r"[\w.+-]{1,255}", name) or name in (".", ".."):
        raise TypeError(f"filepathTemplate {template[:80]!r} gives no name of a file in the folder")
    return name


def _integer(text: str) -> int:
    """Return a number of a description, which holds them as text."""
    try:
        return int(text)
    except ValueError as error:
        raise TypeError(f"{text!r} is no integer") from error


def _command(name: str, root: Path) -> str:
    return f"optaxaccel data prepare {name} --data-dir {shlex.quote(str(root.parents[name.count('/')]))}"


def again(prepared: Prepared) -> str:
    """Say how to replace what is damaged."""
    root = prepared.folder.parent
    return f"Replace the file, or remove {prepared.folder} and prepare the set again: {_command(prepared.name, root)}."


def _not_prepared(name: str, wanted: str, root: Path, versions: list[str]) -> str:
    """Say what was looked for where, and how to get it."""
    if versions:
        return (
            f"Data set {name!r} has no version {wanted!r} in {root}. There is: {', '.join(versions)}. Drop "
            f"':{wanted}' to take the newest."
        )
    where = root.parents[name.count("/")]
    unfinished = "".join(f" ({path} is unfinished.)" for path in sorted(root.glob("incomplete.*"))[:1])
    return (
        f"Data set {name!r} is not prepared: there is no {root}/<version>/dataset_info.json.{unfinished} If you have "
        f"it elsewhere, set TFDS_DATA_DIR or --data-dir to the folder that holds {name}/ (looked in {where}). "
        f"Otherwise prepare it once: {_command(name, root)}."
    )
