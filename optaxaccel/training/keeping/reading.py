"""Read checkpoints by their paths. Nothing is made or cleared away, for the run may be training.

A run removes its older checkpoints while it writes new ones, so that one which was there when the folder was listed may
be gone, or in part, when it is read: then the newest of those there are now is read.
"""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax import lax

from optaxaccel.training.keeping import older_states

Tree = Any
_TRIES = 20  # of a run that writes faster than it can be read


class Restored(NamedTuple):
    """A checkpoint as read: updates done, the arrays, and the rest as JSON."""

    step: int
    tree: Tree
    memory: dict[str, Any]


class OtherShapesError(ValueError):
    """A checkpoint is of another network."""


def read(checkpoints: Path, folder: str, step: int | None, like: Tree) -> Restored:
    """Return a checkpoint of a folder by its step, the newest by default, on the devices of `like`.

    Args:
      checkpoints: of a run.
      folder: "last", "best" or "kept".
      step: of the checkpoint.
      like: arrays, or their shapes with shardings.

    Raises:
      FileNotFoundError: there is none, or it was removed while it was read; the message says which there are.
      OtherShapesError: its arrays have other shapes. OSError: they are not those that were saved.
    """
    for _ in range(_TRIES):
        there = steps(checkpoints / folder)
        if not there or (step is not None and step not in there):
            break
        chosen = there[-1] if step is None else step
        path = checkpoints.absolute() / folder / str(chosen)
        try:
            rest = memory(path)
            return Restored(chosen, arrays(path, like, rest), rest)
        except Exception:  # whatever a folder that is being removed makes the reader raise
            now = steps(checkpoints / folder)
            if chosen in (now if step is not None else now[-1:]):
                raise
    raise FileNotFoundError(_missing(checkpoints, folder, step))


def steps(folder: Path) -> list[int]:
    """Return the steps of which a folder holds whole checkpoints, in order; none where there is no folder."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())


def memory(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds beside arrays; `path` is absolute."""
    return _restore(path, memory=ocp.args.JsonRestore())


def arrays(path: Path, like: Tree, memory: Mapping[str, Any]) -> Tree:
    """Return the arrays of a checkpoint; `path` is absolute.

    Raises:
      OtherShapesError: they have other shapes. OSError: they are not those that were saved.
    """
    item: Any = path / "tree"
    written = ocp.StandardCheckpointHandler().metadata(item).tree
    asked = older_states.as_written(like, written)
    if sorted(leaf.shape for leaf in jax.tree.leaves(written)) != sorted(x.shape for x in jax.tree.leaves(asked)):
        raise OtherShapesError(f"{path} holds arrays of other shapes")  # orbax tells pages
    tree = older_states.as_now(_restore(path, tree=ocp.args.StandardRestore(asked)), like)
    if int(checksum(tree)) != memory["checksum"]:
        raise OSError(errno.EIO, "Its arrays are not those that were saved", str(path))
    return tree


def _restore(path: Path, **item: Any) -> Any:
    """Return one item of a checkpoint."""
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        return reader.restore(path, args=ocp.args.Composite(**item))[next(iter(item))]


def _missing(checkpoints: Path, folder: str, step: int | None) -> str:
    """Return what to say of a checkpoint that is not there."""
    there, last = steps(checkpoints / folder), steps(checkpoints / "last")
    if folder == "best" and last:
        return f"{checkpoints}/best is empty: no evaluation was better than the first one. Ask for the last one."
    of_step = f" of step {step}" if step is not None else ""
    which = f"after steps {', '.join(map(str, there))}" if there else "none"
    or_last = f", or ask for the last one, of step {last[-1]}" if last else ""
    return (
        f"{checkpoints}/{folder} has no checkpoint{of_step}; there are: {which}. Keep some while training: --keep "
        f"10 --keep-every 1epoch{or_last}."
    )


@jax.jit
def checksum(tree: Tree) -> jax.Array:
    """Return a sum over all bits as uint32, each word with an odd weight of its place, so that exchanged words show."""
    total = jnp.zeros((), jnp.uint32)
    for k, leaf in enumerate(jax.tree.leaves(tree)):
        for part in (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,):
            words = _words(part).ravel()
            weights = 2 * lax.iota(jnp.uint32, words.size) + jnp.uint32(2 * k + 1)
            total = 31 * total + jnp.sum(words * weights, dtype=jnp.uint32)
    return total


def _words(x: jax.Array) -> jax.Array:
    if x.dtype == bool:
        return x.astype(jnp.uint32)
    width = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)
    return lax.bitcast_convert_type(x, width).astype(jnp.uint32)
