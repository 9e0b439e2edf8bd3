"""Flax's msgpack files, mapped: the bytes of arrays stay where they are, everything else is read.

An array is an extension of code 1 with the shape, the name of the dtype and the bytes; one of more than 1 GiB is a map
of chunks. https://github.com/msgpack/msgpack/blob/master/spec.md
"""

import mmap
from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np

from optaxaccel.training.histories.deferred import Deferred

Tree = Any
_ARRAY = 1
_CHUNKED = "__msgpack_chunked_array__"
_SIZES = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, **{0xCC + k: 1 << k for k in range(4)}}
_SIZES |= {0xD0 + k: 1 << k for k in range(4)}
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_LENGTHS |= {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}  # bytes of the length that follows the first byte


def mapped(path: Path) -> Tree:
    """Return what a file holds, with arrays in memory that is the file.

    Raises:
      Exception: it is no such file.
    """
    from flax import serialization

    with open(path, "rb") as file:
        memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def array(offset: int) -> np.ndarray:
        (dimensions, name, place), _ = walk(offset, whole=False)
        dtype = np.dtype(getattr(ml_dtypes, name, name))
        flat = np.frombuffer(memory[place[0] : place[1]], dtype) if place[1] > place[0] else np.zeros(0, dtype)
        return flat.reshape(dimensions)

    def walk(at: int, whole: bool = True) -> tuple[Any, int]:
        """Return what begins at a place, and where it ends; not `whole`, bytes are their places."""
        kind, length, offset = _head(memory, at)
        if kind == "map":
            entries, at = {}, offset
            for _ in range(length):
                key, at = walk(at)
                entries[key], at = walk(at, whole)
            return _joined(entries), at
        if kind == "array":
            items, at = [], offset
            for _ in range(length):
                item, at = walk(at, whole)
                items.append(item)
            return items, at
        end = offset + length
        if end > len(memory):
            raise ValueError("it ends within an array")
        if kind == "ext" and memory[offset - 1] == _ARRAY:
            return array(offset), end
        if kind == "bin" and not whole:
            return (offset, end), end
        return serialization.msgpack_restore(bytes(memory[at:end])), end

    tree, end = walk(0)
    if end != len(memory):
        raise msgpack.ExtraData(tree, b"")
    return tree


def _head(memory: memoryview, at: int) -> tuple[str, int, int]:
    """Return what begins at a place: its kind, its length (of containers in items), and where its content begins."""
    first = memory[at]
    if 0x80 <= first <= 0x8F:
        return "map", first & 0x0F, at + 1
    if 0x90 <= first <= 0x9F:
        return "array", first & 0x0F, at + 1
    if 0xA0 <= first <= 0xBF:
        return "plain", first & 0x1F, at + 1
    if 0xD4 <= first <= 0xD8:
        return "ext", 1 << (first - 0xD4), at + 2
    if first in _LENGTHS:
        offset = at + 1 + _LENGTHS[first]
        length = int.from_bytes(memory[at + 1 : offset], "big")
        kind = {0xC4: "bin", 0xC5: "bin", 0xC6: "bin", 0xC7: "ext", 0xC8: "ext", 0xC9: "ext"}.get(first, "plain")
        kind = {0xDC: "array", 0xDD: "array", 0xDE: "map", 0xDF: "map"}.get(first, kind)
        return kind, length, offset + (kind == "ext")
    return "plain", _SIZES.get(first, 0), at + 1


def _joined(entries: dict[Any, Any]) -> Any:
    """Return an array for the map of its chunks."""
    if _CHUNKED not in entries:
        return entries
    shape, chunks = (list(entries[name].values()) for name in ("shape", "chunks"))
    return Deferred(chunks[0].dtype, shape, lambda: np.concatenate(chunks).reshape(shape))
