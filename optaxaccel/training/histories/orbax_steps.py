"""Steps of orbax: arrays are read by their metadata, as arrays of NumPy on no device; several items make one tree."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from optaxaccel.training.histories.deferred import Deferred
from optaxaccel.training.orbax_folder import refuse_pattern

Tree = Any


def items(step: Path) -> dict[str, Path]:
    """Return the trees that a step folder holds by name; "" where the folder is itself one."""
    if (step / "_METADATA").exists():
        return {"": step}
    return {path.name: path for path in sorted(step.iterdir()) if (path / "_METADATA").exists()}


def read(path: Path) -> Tree:
    """Return what a step holds; several items make one tree with their names as keys."""
    return _by_item(path, lambda item: _restore(item, None))


def mapped(path: Path) -> Tree:
    """Return what a step holds, every array read when it is looked at: they are compressed."""
    return _by_item(path, _deferred)


def write(path: Path, tree: Tree) -> None:
    """Write a tree as one item."""
    import orbax.checkpoint as ocp

    refuse_pattern(path)
    with _quiet(), ocp.StandardCheckpointer() as writer:
        writer.save(path.absolute(), tree)


def _by_item(path: Path, one: Callable[[Path], Tree]) -> Tree:
    by_name = items(path.absolute())
    with _quiet():
        trees = {name: one(item) for name, item in by_name.items()}
    return next(iter(trees.values())) if len(trees) == 1 else trees


def _restore(path: Path, number: int | None) -> Tree:
    """Return a tree, or one of its leaves."""
    import jax
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        tree = reader.metadata(path).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        if number is None:
            return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
        leaves, structure = jax.tree.flatten(tree)
        asked = [leaf if k == number else ocp.PLACEHOLDER for k, leaf in enumerate(leaves)]
        wanted = ocp.args.PyTreeRestore(item=jax.tree.unflatten(structure, asked), restore_args=as_numpy)
        return jax.tree.leaves(reader.restore(path, args=wanted))[number]


def _deferred(path: Path) -> Tree:
    import jax
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        tree = reader.metadata(path).item_metadata.tree
    leaves, structure = jax.tree.flatten(tree)

    def leaf(number: int, known: Any) -> Any:
        if getattr(known, "shape", None) is None or getattr(known, "dtype", None) is None:
            return _restore(path, number)

        def load() -> np.ndarray:
            with _quiet():
                return np.asarray(_restore(path, number))

        return Deferred(known.dtype, known.shape, load)

    return jax.tree.unflatten(structure, [leaf(number, known) for number, known in enumerate(leaves)])


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
