"""Formats of checkpoints written by others, and what is written back.

None of the readers can run code that a file brings along: orbax reads arrays by their metadata, Flax's msgpack knows
arrays, numbers and strings only, `.npz` files are read with `allow_pickle=False`, safetensors are names and bytes, and
PyTorch's files are read by its `weights_only` reader.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from optaxaccel.training.histories import (
    msgpack_files,
    npz_files,
    orbax_steps,
    safetensors_files,
    shards,
    torch_files,
)

Tree = Any
Kinds = Mapping[str, tuple[np.dtype, tuple[int, ...]]]
Stream = AbstractContextManager[tuple[list[str], Callable[[str, np.ndarray], None]]]


NO_TEXTS: Mapping[str, str] = MappingProxyType({})


class Format(NamedTuple):
    """How a checkpoint is read and written.

    Attributes:
      name: for messages.
      endings: what a file's name may end with, the usual one first.
      read: (path) -> a tree of NumPy arrays.
      write: (path, tree, like, about={}) writes a tree of NumPy arrays; `like` is a checkpoint whose other contents are
        kept, `about` are texts for where there is room for some.
      map: (path) -> a tree like that of `read`, of arrays in memory that is the file, or `Deferred` ones.
      stream: (path, dtypes and shapes by name, like, about) -> what writes it piece by piece, where that can be done.
    """

    name: str
    endings: tuple[str, ...]
    read: Callable[[Path], Tree]
    write: Callable[..., None]
    map: Callable[[Path], Tree]
    stream: Callable[[Path, Kinds, Path, Mapping[str, str]], Stream] | None = None

    @property
    def ending(self) -> str:
        """The usual ending."""
        return self.endings[0]


def of(path: Path) -> Format | None:
    """Return the format of a checkpoint, or None where it does not look like one; hidden files never do."""
    if path.name.startswith(".") or shards.is_shard(path):
        return None
    if path.is_dir():
        if "orbax-checkpoint-tmp" in path.name:
            return None
        inside = shards.weights_of(path)
        return ORBAX if orbax_steps.items(path) else None if inside is None else of(inside)
    name = path.name.removesuffix(shards.INDEX)
    if re.fullmatch(r"checkpoint_\d+", name):  # Flax's name without an ending
        return MSGPACK
    ending = next((kind for kind in FILES if name.endswith(kind.endings)), None)
    return None if ending is TORCH and name.endswith(".bin") and not _is_zip(path) and name == path.name else ending


def for_writing(out: Path, like: Format) -> Format:
    """Return the format that the ending of an output asks for; that of the checkpoints where it has none.

    Raises:
      ValueError: no format has that ending.
    """
    kind = next((kind for kind in FILES if out.name.endswith(kind.endings)), None)
    if kind is None and out.suffix:
        known = ", ".join(kind.ending for kind in FILES)
        raise ValueError(f"{out} ends with {out.suffix}, which is no format here. Use one of {known}, or no ending.")
    return kind or like


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a damaged file makes a reader raise into one ValueError that names the file."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]  # one line, and no more than can be read
        raise ValueError(f"{path} is damaged or no {kind} checkpoint ({type(error).__name__}: {reason}).") from error


# --- Files ------------------------------------------------------------------------------------------------------------


def _read_npz(path: Path) -> Tree:
    with _reading(path, ".npz"):
        return npz_files.read(path)


def _map_npz(path: Path) -> Tree:
    with _reading(path, ".npz"):
        return npz_files.mapped(path)


def _write_npz(path: Path, tree: Tree, like: Path, about: Mapping[str, str] = NO_TEXTS) -> None:
    npz_files.write(path, tree)


def _stream_npz(path: Path, kinds: Kinds, like: Path, about: Mapping[str, str]) -> Stream:
    return npz_files.stream(path, kinds)


def _read_safetensors(path: Path) -> Tree:
    with _reading(path, "safetensors"):
        return npz_files.nested(_whole(path, safetensors_files.read))


def _map_safetensors(path: Path) -> Tree:
    with _reading(path, "safetensors"):
        return npz_files.nested(_whole(path, safetensors_files.mapped))


def _whole(path: Path, read_one: Callable[[Path], Mapping[str, Any]]) -> Tree:
    """Read a file, all files of an index, or what a folder holds of them."""
    file = shards.weights_of(path) if path.is_dir() else path
    assert file is not None  # of(path) looked
    return shards.read(file, read_one) if file.name.endswith(shards.INDEX) else read_one(file)


def _write_safetensors(path: Path, tree: Tree, like: Path, about: Mapping[str, str] = NO_TEXTS) -> None:
    safetensors_files.write(path, npz_files.flat_arrays(tree), _texts(like, about))


def _stream_safetensors(path: Path, kinds: Kinds, like: Path, about: Mapping[str, str]) -> Stream:
    return safetensors_files.stream(path, kinds, _texts(like, about))


def _texts(like: Path, about: Mapping[str, str]) -> dict[str, str]:
    """Keep the text entries of the newest checkpoint: Hugging Face's reader wants "format" to be there."""
    file = shards.weights_of(like) if like.is_dir() else like
    if file is not None and file.name.endswith(shards.INDEX):
        file = next(iter(sorted(file.parent.glob(file.name.removesuffix(".safetensors" + shards.INDEX) + "-*-of-*"))))
    texts = safetensors_files.metadata(file) if file is not None and file.suffix == ".safetensors" else {}
    return {**(texts or {"format": "np"}), **about}


def _read_msgpack(path: Path) -> Tree:
    from flax import serialization

    with _reading(path, "Flax msgpack"):
        return serialization.msgpack_restore(path.read_bytes())


def _map_msgpack(path: Path) -> Tree:
    with _reading(path, "Flax msgpack"):
        return msgpack_files.mapped(path)


def _write_msgpack(path: Path, tree: Tree, like: Path, about: Mapping[str, str] = NO_TEXTS) -> None:
    from flax import serialization

    path.write_bytes(serialization.msgpack_serialize(tree))


def _read_torch(path: Path) -> Tree:
    torch_files.require(path)
    with _reading(path, "PyTorch"):
        return _whole(path, torch_files.read)


def _map_torch(path: Path) -> Tree:
    torch_files.require(path)
    with _reading(path, "PyTorch"):
        return _whole(path, torch_files.mapped)


def _write_torch(path: Path, tree: Tree, like: Path, about: Mapping[str, str] = NO_TEXTS) -> None:
    torch_files.write(path, tree)


def _is_zip(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"PK"
    except OSError:
        return False


# --- orbax ------------------------------------------------------------------------------------------------------------


def _read_orbax(path: Path) -> Tree:
    with _reading(path, "orbax"):
        return orbax_steps.read(path)


def _map_orbax(path: Path) -> Tree:
    with _reading(path, "orbax"):
        return orbax_steps.mapped(path)


def _write_orbax(path: Path, tree: Tree, like: Path, about: Mapping[str, str] = NO_TEXTS) -> None:
    orbax_steps.write(path, tree)


NPZ = Format(".npz", (".npz",), _read_npz, _write_npz, _map_npz, _stream_npz)
SAFETENSORS = Format(
    "safetensors", (".safetensors",), _read_safetensors, _write_safetensors, _map_safetensors, _stream_safetensors
)
MSGPACK = Format("Flax msgpack", (".msgpack",), _read_msgpack, _write_msgpack, _map_msgpack)
TORCH = Format("PyTorch", (".pt", ".pth", ".ckpt", ".bin"), _read_torch, _write_torch, _map_torch)
FILES = (NPZ, SAFETENSORS, MSGPACK, TORCH)
ORBAX = Format("orbax", ("",), _read_orbax, _write_orbax, _map_orbax)
