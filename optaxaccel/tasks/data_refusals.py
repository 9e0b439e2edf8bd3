"""Refuse data that no task can be trained or measured on: kinds, numbers that are not finite, lengths, none at all."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from optaxaccel.tasks.task import Task

Tree = Any


def check(task: Task, name: str, data: Tree) -> None:
    """Raise ValueError unless the data of a task, those of this name, are arrays of finite numbers with examples."""
    if data is None or callable(data):
        return
    shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        where = f"{name}{jax.tree_util.keystr(path)}"
        if not hasattr(leaf, "dtype"):
            whole = f"{name}{jax.tree_util.keystr(path[:1])}"  # of nested lists the outermost
            kind = type(leaf).__name__ if whole == where else "list"
            raise ValueError(f"{task.name}: {whole} is a {kind}. Pass arrays: np.asarray({whole}).")
        if leaf.dtype.kind in "OUS":
            raise ValueError(
                f"{task.name}: {where} is of dtype {leaf.dtype}, which no device computes with. Encode it as numbers "
                "first: integers for classes or letters."
            )
        if leaf.dtype.kind in "fc" and not np.isfinite(np.asarray(leaf)).all():
            bad = int((~np.isfinite(np.asarray(leaf))).sum())
            raise ValueError(
                f"{task.name}: {where} holds {bad:,} numbers that are NaN or infinite, and one of them makes the loss "
                f"NaN. Drop those examples, or fill them in: np.nan_to_num({where})."
            )
        shapes[where] = leaf.shape
    if shapes and all(0 in shape for shape in shapes.values()):
        listed = ", ".join(f"{where} {shape}" for where, shape in shapes.items())
        otherwise = "" if name == "train" else f", or {name}=None"
        raise ValueError(f"{task.name}: {name} has no examples: {listed}. Pass one at least{otherwise}.")
    if task.batch_size is not None:
        _check_examples(task, name, shapes)


def _check_examples(task: Task, name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    counts = {where: shape[0] if shape else None for where, shape in shapes.items()}
    if not counts or len(set(counts.values())) > 1 or None in counts.values():
        listed = ", ".join(f"{where} {shape}" for where, shape in shapes.items()) or "no array"
        raise ValueError(
            f"{task.name}: batches are cut along the first axis, the examples, which all arrays share, but there are: "
            f"{listed}. Pass arrays of one length, or batch_size=None to use them whole."
        )
    count = next(iter(counts.values())) or 0
    if name == "train" and count < (task.batch_size or 1):
        raise ValueError(
            f"{task.name}: batch_size={task.batch_size} exceeds the {count:,} training examples. Pass a smaller one."
        )
