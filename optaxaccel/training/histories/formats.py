"""Formats of checkpoints written by others: orbax step folders, Flax msgpack files, `.npz` files.

None of the readers can run code that a file brings along: orbax reads arrays by their metadata, Flax's msgpack knows
arrays, numbers and strings only, and `.npz` files are read with `allow_pickle=False`.
"""

import logging
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Tree = Any


class Format(NamedTuple):
    """How a checkpoint is read and written.

    Attributes:
      name: for messages.
      ending: what a file's name ends with.
      read: (path) -> a tree of NumPy arrays.
      write: (path, tree) writes a tree of NumPy arrays.
    """

    name: str
    ending: str
    read: Callable[[Path], Tree]
    write: Callable[[Path, Tree], None]


def of(path: Path) -> Format | None:
    """Return the format of a checkpoint, or None where it does not look like one."""
    if path.is_dir():
        return ORBAX if _items(path) and "orbax-checkpoint-tmp" not in path.name else None
    if path.suffix == ".npz":
        return NPZ
    flax_name = re.fullmatch(r"checkpoint_\d+", path.name)
    return MSGPACK if path.suffix == ".msgpack" or flax_name else None


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a damaged file makes a reader raise into one ValueError that names the file."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path} is damaged or no {kind} checkpoint ({type(error).__name__}: {error}).") from error


# --- .npz -------------------------------------------------------------------------------------------------------------


def _read_npz(path: Path) -> Tree:
    """Read a flat file of arrays; slashes in their names make a tree."""
    with _reading(path, ".npz"):
        try:
            with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except zipfile.BadZipFile as error:
            raise ValueError("it is no zip archive") from error
        for name, array in arrays.items():
            if array.dtype.kind == "V":
                raise ValueError(f"{name!r} is of dtype {array.dtype}, as which .npz stores bfloat16. Save float32")
        return _nested(arrays)


def _nested(arrays: dict[str, np.ndarray]) -> Tree:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, leaf = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = array
    return tree


def _write_npz(path: Path, tree: Tree) -> None:
    def flat(node: Tree, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
        if isinstance(node, dict):
            for key, child in node.items():
                yield from flat(child, f"{prefix}/{key}" if prefix else str(key))
        else:
            yield prefix, node

    with zipfile.ZipFile(path, "w") as archive:  # np.savez has no room for arrays called "file"
        for name, array in flat(tree, ""):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


# --- Flax msgpack -----------------------------------------------------------------------------------------------------


def _read_msgpack(path: Path) -> Tree:
    from flax import serialization

    with _reading(path, "Flax msgpack"):
        return serialization.msgpack_restore(path.read_bytes())


def _write_msgpack(path: Path, tree: Tree) -> None:
    from flax import serialization

    path.write_bytes(serialization.msgpack_serialize(tree))


# --- orbax ------------------------------------------------------------------------------------------------------------


def _items(step: Path) -> dict[str, Path]:
    """Return the trees that a step folder holds by name; "" where the folder is itself one."""
    if (step / "_METADATA").exists():
        return {"": step}
    return {path.name: path for path in sorted(step.iterdir()) if (path / "_METADATA").exists()}


def _read_orbax(path: Path) -> Tree:
    """Read a step; several items make one tree with their names as keys. Arrays come as NumPy, on no device."""
    items = _items(path.absolute())
    with _reading(path, "orbax"), _quiet():
        if len(items) == 1:
            return _restore(next(iter(items.values())))
        return {name: _restore(item) for name, item in items.items()}


def _restore(path: Path) -> Tree:
    import jax
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        tree = reader.metadata(path).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


def _write_orbax(path: Path, tree: Tree) -> None:
    import orbax.checkpoint as ocp

    with _quiet(), ocp.StandardCheckpointer() as writer:
        writer.save(path.absolute(), tree)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax from warning that a single item lacks the metadata of a step."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


NPZ = Format(".npz", ".npz", _read_npz, _write_npz)
MSGPACK = Format("Flax msgpack", ".msgpack", _read_msgpack, _write_msgpack)
ORBAX = Format("orbax", "", _read_orbax, _write_orbax)
