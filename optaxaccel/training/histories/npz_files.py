"""`.npz` files as checkpoints: slashes in the names of arrays make a tree, and nothing is unpickled.

bfloat16 has no name in NumPy's format and comes back as two raw bytes a number; it is taken for what it is.
"""

import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from optaxaccel.training.histories.deferred import Deferred

Tree = Any
_PIECE = 1 << 20  # bytes


def read(path: Path) -> Tree:
    """Return the arrays of a file as a tree.

    Raises:
      ValueError: it is no such file, holds objects, or raw bytes that are not bfloat16.
    """
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            if len(set(file.files)) < len(file.files):
                raise ValueError("it holds two arrays of one name")
            arrays = {name: _typed(name, file[name]) for name in file.files}
    except zipfile.BadZipFile as error:
        raise ValueError("it is no zip archive") from error
    return nested(arrays)


def mapped(path: Path) -> Tree:
    """Return the arrays of a file as a tree: those that are not compressed in memory that is the file.

    The check sums of those are compared first, which reads the file once; others are compared when they are read.

    Raises:
      ValueError: see `read`.
    """
    try:
        with open(path, "rb") as raw, zipfile.ZipFile(raw) as archive:
            names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
            if len(set(names)) < len(names):
                raise ValueError("it holds two arrays of one name")
            memory = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
            infos = zip(names, archive.infolist(), strict=True)
            return nested({name: _member(path, memory, archive, name, info) for name, info in infos})
    except zipfile.BadZipFile as error:
        raise ValueError("it is no zip archive") from error


def _member(path: Path, memory: mmap.mmap, archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> Any:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        ahead = file.tell()
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    native = _typed(name, np.zeros(0, dtype)).dtype

    def load() -> np.ndarray:
        with zipfile.ZipFile(path) as again, again.open(info) as file:
            return _typed(name, np.lib.format.read_array(file, allow_pickle=False))

    if info.compress_type != zipfile.ZIP_STORED or (fortran and len(shape) > 1) or dtype.byteorder == ">":
        return Deferred(native, shape, load)
    name_length, extra_length = struct.unpack_from("<HH", memory, info.header_offset + 26)
    offset = info.header_offset + 30 + name_length + extra_length
    checksum = 0
    for start in range(offset, offset + info.file_size, _PIECE):
        checksum = zlib.crc32(memoryview(memory)[start : min(start + _PIECE, offset + info.file_size)], checksum)
    if checksum != info.CRC:
        raise ValueError(f"the check sum of {name!r} is wrong")
    count = int(np.prod(shape))
    array = np.frombuffer(memory, dtype, count, offset + ahead) if count else np.zeros(0, dtype)
    return _typed(name, array).reshape(shape)


def _typed(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "V":
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.names is None and array.dtype.itemsize == 2:
        return array.view(ml_dtypes.bfloat16)
    raise ValueError(f"{name!r} is of dtype {array.dtype}, and nobody can tell what numbers these are. Save float32")


def nested(arrays: Mapping[str, Any]) -> Tree:
    """Make a tree of names with slashes; below a name that is an array itself, names stay whole ("a/b" beside "a")."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        node, parts = tree, name.split("/")
        for depth, folder in enumerate(parts[:-1]):
            if "/".join(parts[: depth + 1]) in arrays:
                node["/".join(parts[depth:])] = array
                break
            node = node.setdefault(folder, {})
        else:
            node[parts[-1]] = array
    return tree


def flat(tree: Tree) -> dict[str, Any]:
    """Return the leaves of a tree by their names with slashes."""

    def entries(node: Tree, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        if isinstance(node, Mapping):
            children = node.items()
        elif isinstance(node, (list, tuple)):
            children = enumerate(node)
        else:
            yield "/".join(path), node
            return
        for key, child in children:
            yield from entries(child, (*path, str(key)))

    return dict(entries(tree, ()))


def flat_arrays(tree: Tree) -> dict[str, np.ndarray]:
    """Return the arrays of a tree by their names with slashes.

    Raises:
      ValueError: it holds something else: texts, bytes (whose last zeros NumPy drops), dates or nothing.
    """
    leaves = flat(tree)
    for name, leaf in leaves.items():
        if not isinstance(leaf, (np.ndarray, np.generic, bool, int, float, complex)):
            raise ValueError(
                f"{name!r} is a {type(leaf).__name__}, for which there is no place in a file of arrays. Pass --params "
                "PATH to take the arrays only, or --out FILE.msgpack."
            )
    return {name: np.asarray(leaf) for name, leaf in leaves.items()}


def write(path: Path, tree: Tree) -> None:
    """Write a tree; bfloat16 as `numpy.savez` does, as raw bytes.

    Raises:
      ValueError: it holds something that is no array, or of a dtype that NumPy writes but cannot read (float8).
    """
    arrays = flat_arrays(tree)
    with stream(path, {name: (array.dtype, array.shape) for name, array in arrays.items()}) as (names, put):
        for name in names:
            put(name, arrays[name])


@contextmanager
def stream(
    path: Path, kinds: Mapping[str, tuple[np.dtype, tuple[int, ...]]]
) -> Iterator[tuple[list[str], Callable[[str, np.ndarray], None]]]:
    """Write a file piece by piece: yield the order of the names, and what takes successive pieces of each in turn.

    Raises:
      ValueError: a dtype that NumPy writes but cannot read (float8).
    """
    for name, (dtype, _) in kinds.items():
        if dtype.kind in "Vf" and dtype.itemsize == 1:  # float8, of which NumPy keeps no name
            raise ValueError(f"NumPy cannot read {dtype} back, which {name!r} has. Pass --out FILE.safetensors.")
    opened: dict[str, Any] = {}
    with zipfile.ZipFile(path, "w") as archive, ExitStack() as members:  # np.savez has no room for arrays called "file"

        def start_entry(name: str) -> None:
            members.close()
            opened.clear()
            opened[name] = members.enter_context(archive.open(f"{name}.npy", "w", force_zip64=True))
            dtype, shape = kinds[name]
            about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(opened[name], about)

        def put(name: str, piece: np.ndarray) -> None:
            if name not in opened:
                start_entry(name)
            opened[name].write(piece.tobytes("C"))

        yield list(kinds), put
