"""Safetensors files: a JSON header with names, dtypes, shapes and places, and then the bytes of all arrays.

The format is so small that reading and writing it here is simpler than a dependency, which would not know bfloat16 in
NumPy, and which stores arrays that are not C-contiguous with wrong values (safetensors 0.8.0, `numpy.save_file`).
https://huggingface.co/docs/safetensors
"""

import json
import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

_LONGEST_HEADER = 100_000_000  # bytes, the format's own limit
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "C64": np.complex64,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name.

    Raises:
      ValueError: the header is no header, or the arrays are not where it says.
    """
    with open(path, "rb") as file:
        entries, start, size = _header(file)
        return {name: _array(file, name, entry, start, size) for name, entry in entries.items()}


def mapped(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name, in memory that is the file: nothing is read before it is looked at.

    Raises:
      ValueError: see `read`.
    """
    with open(path, "rb") as file:
        entries, start, size = _header(file)
        places = {name: _place(name, entry, size) for name, entry in entries.items()}
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def array(dtype: np.dtype, shape: list[int], offset: int) -> np.ndarray:
        count = math.prod(shape)
        if not count:
            return np.zeros(shape, dtype)
        flat = np.frombuffer(memory, dtype.newbyteorder("<"), count, start + offset)
        return flat.astype(dtype, copy=False).reshape(shape)

    return {name: array(dtype, shape, first) for name, (dtype, shape, first, _) in places.items()}


def metadata(path: Path) -> dict[str, str]:
    """Return the free text entries of a file: libraries say there what wrote it, and look for that when they read."""
    with open(path, "rb") as file:
        return _parsed(file)[0].get("__metadata__") or {}


def write(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, str] | None = None) -> None:
    """Write arrays by name, the widest dtypes first, as the format's own library does.

    Raises:
      ValueError: there is no such dtype in the format.
    """
    kinds = {name: (np.asarray(array).dtype, np.shape(array)) for name, array in arrays.items()}
    with stream(path, kinds, about) as (names, put):
        for name in names:
            put(name, np.asarray(arrays[name]))


@contextmanager
def stream(
    path: Path, kinds: Mapping[str, tuple[np.dtype, tuple[int, ...]]], about: Mapping[str, str] | None = None
) -> Iterator[tuple[list[str], Callable[[str, np.ndarray], None]]]:
    """Write a file piece by piece: yield the order of the names, and what takes successive pieces of each in turn.

    Raises:
      ValueError: there is no such dtype in the format.
    """
    header: dict[str, Any] = {"__metadata__": dict(about)} if about else {}
    order = sorted(kinds, key=lambda name: (-kinds[name][0].itemsize, name))
    end = 0
    for name in order:
        dtype, shape = kinds[name][0].newbyteorder("="), kinds[name][1]
        if dtype not in _NAMES:
            raise ValueError(f"safetensors has no dtype {dtype}, which {name!r} has. Pass --out FILE.npz.")
        places = [end, end + math.prod(shape) * dtype.itemsize]
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": places}
        end = places[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)

        def put(name: str, piece: np.ndarray) -> None:
            little = piece.astype(piece.dtype.newbyteorder("<"), copy=False)
            file.write(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)  # whatever its strides

        yield order, put


def _parsed(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Return the header, and where the arrays begin."""
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 2 <= length <= _LONGEST_HEADER:
        raise ValueError(f"its header would have {length:,} bytes")
    text = file.read(length)
    if len(text) < length:
        raise ValueError(f"it ends within the header of {length:,} bytes")
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    about = header.get("__metadata__", {})
    if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
        raise ValueError("its __metadata__ are no texts by name")
    return header, 8 + length


def _header(file: BinaryIO) -> tuple[dict[str, Any], int, int]:
    header, start = _parsed(file)
    size = file.seek(0, 2) - start
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: _offsets(item[0], item[1])):
        first, stop = _offsets(name, entry)
        if first != end:
            raise ValueError(f"{name!r} begins at {first} and not at {end}, where the array before it ends")
        end = stop
    if end != size:
        raise ValueError(f"its header speaks of {end:,} bytes of arrays, and there are {size:,}")
    return entries, start, size


def _offsets(name: str, entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(x) is int for x in offsets)):
        raise ValueError(f"{name!r} has no data_offsets [begin, end]")
    return offsets[0], offsets[1]


def _place(name: str, entry: dict[str, Any], size: int) -> tuple[np.dtype, list[int], int, int]:
    """Return dtype, shape, and where the bytes of an array begin and end."""
    first, end = _offsets(name, entry)
    shape, dtype = entry.get("shape"), _DTYPES.get(str(entry.get("dtype")))
    if dtype is None:
        raise ValueError(f"{name!r} has the unknown dtype {entry.get('dtype')!r}")
    if not (isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)):
        raise ValueError(f"{name!r} has the shape {shape!r}")
    dtype = np.dtype(dtype)
    if not 0 <= first <= end <= size or end - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r}, {dtype} {tuple(shape)}, does not fill bytes {first} to {end}")
    return dtype, shape, first, end


def _array(file: BinaryIO, name: str, entry: dict[str, Any], start: int, size: int) -> np.ndarray:
    dtype, shape, first, end = _place(name, entry, size)
    file.seek(start + first)
    return (
        np.frombuffer(bytearray(file.read(end - first)), dtype.newbyteorder("<"))
        .astype(dtype, copy=False)
        .reshape(shape)
    )
