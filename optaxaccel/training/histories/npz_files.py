"""`.npz` files as checkpoints: slashes in the names of arrays make a tree, and nothing is unpickled.

bfloat16 has no name in NumPy's format and comes back as two raw bytes a number; it is taken for what it is.
"""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

Tree = Any


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
    found = flat(tree)
    for name, leaf in found.items():
        if not isinstance(leaf, (np.ndarray, np.generic, bool, int, float, complex)):
            raise ValueError(
                f"{name!r} is a {type(leaf).__name__}, for which there is no place in a file of arrays. Pass --params "
                "PATH to take the arrays only, or --out FILE.msgpack."
            )
    return {name: np.asarray(leaf) for name, leaf in found.items()}


def write(path: Path, tree: Tree) -> None:
    """Write a tree; bfloat16 as `numpy.savez` does, as raw bytes.

    Raises:
      ValueError: it holds something that is no array, or of a dtype that NumPy writes but cannot read (float8).
    """
    arrays = flat_arrays(tree)
    for name, array in arrays.items():
        if array.dtype.kind in "Vf" and array.dtype.itemsize == 1:  # float8, of which NumPy keeps no name
            raise ValueError(f"NumPy cannot read {array.dtype} back, which {name!r} has. Pass --out FILE.safetensors.")
    with zipfile.ZipFile(path, "w") as archive:  # np.savez has no room for arrays called "file"
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
