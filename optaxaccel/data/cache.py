"""Decoded images on disk: written whole or not at all, and read only when every byte is as it was written.

A file holds one split: a line of JSON that describes it, the images, the labels. The line carries a checksum of them
and of what it says itself. The file is written beside its final name and moved there by one atomic rename, so a
process killed at any moment leaves the old file, the new one or none, and processes that write the same split at once
do not meet.
"""

import hashlib
import json
import math
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

_FORMAT = 2
_LEFTOVER_SECONDS = 3600.0


def folder() -> Path:
    """Return the folder of decoded images: $OPTAXACCEL_CACHE, else optaxaccel in the user's cache folder."""
    override = os.environ.get("OPTAXACCEL_CACHE")
    return Path(override).expanduser() if override else Path("~/.cache/optaxaccel").expanduser()


def load(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]] | None:
    """Return (image, label, facts) as stored, or None where there is no file or it is not whole.

    A damaged file is reported by a warning; the caller decodes the images again and stores them anew.
    """
    try:
        with open(path, "rb") as file:
            head = json.loads(file.readline(10_000))
            if head["format"] != _FORMAT:
                return None
            left = os.fstat(file.fileno()).st_size - file.tell()
            if math.prod(head["shape"]) + 4 * head["shape"][0] != left:
                raise ValueError(f"its header speaks of images {head['shape']}, and {left} bytes follow")
            image = np.empty(head["shape"], np.uint8)
            label = np.empty(head["shape"][0], "<i4")
            whole = file.readinto(_view(image)) == image.nbytes and file.readinto(_view(label)) == label.nbytes
            facts = head["facts"]
            whole = whole and not file.read(1) and head["checksum"] == _checksum(image, label, facts)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        _warn(f"The cached images {path} cannot be read ({error!r}); they are decoded again.")
        return None
    if not whole:
        _warn(f"The cached images {path} are damaged (their checksum does not match); they are decoded again.")
        return None
    return image, label.astype(np.int32, copy=False), facts


def store(path: Path, image: np.ndarray, label: np.ndarray, facts: dict[str, Any]) -> bool:
    """Store a decoded split; return whether that was possible. A full or unwritable disk is a warning, not an error."""
    image, label = np.ascontiguousarray(image, np.uint8), np.ascontiguousarray(label, "<i4")
    head = {"format": _FORMAT, "shape": image.shape, "checksum": _checksum(image, label, facts), "facts": facts}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        handle, temporary = tempfile.mkstemp(prefix=path.stem + "-", suffix=".partial", dir=path.parent)
        with open(handle, "wb") as file:
            file.write(json.dumps(head).encode() + b"\n")
            file.write(_view(image))
            file.write(_view(label))
            file.flush()
            os.fsync(file.fileno())  # otherwise the rename may reach the disk before the bytes do
        os.replace(temporary, path)
        return True
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        _warn(
            f"Decoded images are not cached in {path.parent} ({error}); this run goes on without. Set OPTAXACCEL_CACHE "
            "to a writable folder with enough space, or the next run decodes them again."
        )
        return False


def _remove_leftovers(directory: Path) -> None:
    """Remove what killed processes left behind; one at work has touched its file within the hour."""
    for path in directory.glob("*.partial"):
        try:
            if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                path.unlink()
        except OSError:
            continue  # another process was faster


def _view(array: np.ndarray) -> memoryview:
    """Return an array's bytes, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def _checksum(image: np.ndarray, label: np.ndarray, facts: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([image.shape, facts], sort_keys=True).encode())
    digest.update(_view(image))
    digest.update(_view(label))
    return digest.hexdigest()


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)
