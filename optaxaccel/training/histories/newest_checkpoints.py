"""Reading the checkpoints that are extrapolated: the newest that are whole, finite and alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from optaxaccel.methods import given_history, leaf_kinds
from optaxaccel.training.histories import layout
from optaxaccel.training.histories.checkpoint_order import CheckpointFiles

Tree = Any
Names = layout.Names
Leaves = dict[Names, Any]


class Read(NamedTuple):
    """What was read: the newest tree as it is in the file, cut to `places`, and the leaves of all, oldest first.

    `kept` are leaves that are no arrays, or that hold an infinity that never changes (a mask, say).
    """

    paths: list[Path]
    newest: Tree
    history: list[Leaves]
    places: list[Names]
    kept: set[Names]
    skipped: dict[str, str]


def read(files: CheckpointFiles, last: int, params: str | None, skip: bool, *, squared: bool = True) -> Read:
    """Read the newest checkpoints that can be used; of each nothing but the parameters stays in memory.

    If entries will be squared, those whose square overflows are as bad as infinite ones.
    """
    places = layout.locate(first := files.format.read(files.paths[-1]), params, files.paths[-1])
    paths: list[Path] = []
    history: list[Leaves] = []
    skipped: dict[str, str] = {}
    kept: set[Names] = set()
    newest: Tree = None
    for path in reversed(files.paths):
        if len(paths) == last:
            break
        tree = layout.pruned(first if path == files.paths[-1] else files.format.read(path), places)
        leaves = layout.leaves(tree)
        other = history[-1] if history else _neighbour(files, places)
        trouble, fixed = _not_finite(leaves, other, squared)
        if trouble and not skip:
            raise refused(path, trouble)
        if trouble:
            skipped[path.name] = trouble
            continue
        newest = tree if newest is None else newest
        kept |= fixed | {names for names, leaf in leaves.items() if not layout.is_array(leaf)}
        history.insert(0, leaves)
        paths.insert(0, path)
    if history:
        _refuse_unlike(history, paths)
    return Read(paths, newest, history, places, kept, skipped)


def mapped(files: CheckpointFiles, last: int, params: str | None, skipped: dict[str, str]) -> Read:
    """Map the newest checkpoints but for those skipped; nothing is read yet, so they may not be finite."""
    paths = [path for path in files.paths if path.name not in skipped][-last:]
    trees = [files.format.map(path) for path in paths]
    places = layout.locate(trees[-1], params, paths[-1]) if trees else [()]
    trees = [layout.pruned(tree, places) for tree in trees]
    history = [layout.leaves(tree) for tree in trees]
    if history:
        _refuse_unlike(history, paths)
    kept = {names for names, leaf in (history or [{}])[-1].items() if not layout.is_array(leaf)}
    return Read(paths, trees[-1] if trees else None, history, places, kept, skipped)


def refused(path: Path, trouble: str) -> ValueError:
    """Return the error for a checkpoint that is not finite."""
    return ValueError(
        f"{path}: {trouble}. The weights of all checkpoints would be NaN, or weigh noise. Move it elsewhere, or pass "
        "--skip-not-finite to leave it out."
    )


def _neighbour(files: CheckpointFiles, places: list[Names]) -> Leaves:
    """Return the leaves of the checkpoint before the newest, to see what never changes."""
    if len(files.paths) < 2:
        return {}
    return layout.leaves(layout.pruned(files.format.read(files.paths[-2]), places))


def _not_finite(leaves: Leaves, other: Leaves, squared: bool) -> tuple[str, set[Names]]:
    """Say what is not finite, and return what is so on purpose: infinities that are the same elsewhere."""
    fixed = set()
    for names, leaf in leaves.items():
        trouble = given_history.not_finite(leaf, squared=squared) if layout.is_array(leaf) else ""
        if not trouble:
            continue
        if "NaN" not in trouble and names in other and np.array_equal(np.asarray(leaf), np.asarray(other[names])):
            fixed.add(names)
            continue
        return f"{'/'.join(names) or 'the array'} {trouble}", fixed
    return "", fixed


def _refuse_unlike(trees: Sequence[Leaves], paths: Sequence[Path]) -> None:
    """Raise ValueError unless all trees have the names and shapes of the newest, and its dtypes where it has floats."""
    newest, kinds = trees[-1], layout.kinds(trees[-1])

    def described(tree: Leaves, names: Names) -> str:
        if names not in tree:
            return "nothing"
        if kinds.get(names, leaf_kinds.NEWEST) == leaf_kinds.NEWEST:
            return f"something of shape {np.shape(tree[names])}"
        leaf = tree[names]
        return f"{leaf.dtype if hasattr(leaf, 'dtype') else np.asarray(leaf).dtype} {np.shape(leaf)}"

    for tree, path in zip(trees, paths, strict=True):
        for names in {**newest, **tree}:
            here, there = described(newest, names), described(tree, names)
            if here != there:
                raise ValueError(
                    f"{path} holds {there} at {'/'.join(names)}, {paths[-1].name} holds {here}: these are not "
                    "checkpoints of one model. Pass a smaller --last to take the newest ones only, or move the others "
                    "elsewhere."
                )
