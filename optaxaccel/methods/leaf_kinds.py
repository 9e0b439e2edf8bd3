"""What the leaves of a history are: weights, running statistics, or nothing that can be averaged.

Running statistics (of batch normalisation, say) follow the weights and are no solution of anything, so they have no say
in the weights of an extrapolation. They are known by their type, Flax NNX's `BatchStat`, or by the names that PyTorch,
Keras, Haiku and Flax give them.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel.numerics.trees import Tree

WEIGHT, STATISTIC, VARIANCE, NEWEST = "weight", "statistic", "variance", "newest"

_NAMES = {
    *("running_mean", "running_var", "running_variance", "running_std", "num_batches_tracked"),  # PyTorch
    *("moving_mean", "moving_var", "moving_variance"),  # Keras
    *("mean_ema", "var_ema"),  # Haiku
    *("batch_stats", "batch_stat", "net_state"),  # Flax, this package
}
_BOXES = {"", "value", "raw_value"}  # what Flax NNX calls the array inside a variable
_NORMALISATION = re.compile(r"bn|norm", re.IGNORECASE)


def kinds(tree: Tree, *, all_statistics: bool = False) -> tuple[str, ...]:
    """Return for every leaf whether it is a weight, a statistic, a variance, or kept from the newest tree.

    Args:
      tree: one tree of a history.
      all_statistics: whether all of its floating leaves are statistics.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [_names(path) for path, _ in leaves]
    typed = _inside_batch_stats(tree)
    shapes = {name: np.shape(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)}

    def kind(name: tuple[str, ...], path: Any, leaf: Any) -> str:
        if not is_inexact(leaf):
            return NEWEST
        if not (all_statistics or path in typed or not _NAMES.isdisjoint(name) or _is_one_of_a_pair(name, shapes)):
            return WEIGHT
        return VARIANCE if name and re.search("var|std", name[-1], re.IGNORECASE) else STATISTIC

    return tuple(kind(name, path, leaf) for name, (path, leaf) in zip(names, leaves, strict=True))


def is_inexact(leaf: Any) -> bool:
    """Tell whether a leaf is made of floating or complex numbers."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    return jnp.issubdtype(dtype, jnp.inexact)


def _names(path: Any) -> tuple[str, ...]:
    """Return the names on the way to a leaf; flat names of others, "bn1.running_mean", are taken apart."""
    parts = [part for key in path for part in re.split(r"[./]", key_name(key))]
    while parts and parts[-1] in _BOXES:
        parts.pop()
    return tuple(parts)


def key_name(key: Any) -> str:
    """Return the name of one step into a tree."""
    return str(next((getattr(key, field) for field in ("key", "name", "idx") if hasattr(key, field)), key))


def _inside_batch_stats(tree: Tree) -> set[Any]:
    """Return the paths of the leaves inside variables of the type `BatchStat`, of which methods know only the name."""

    def is_one(node: Any) -> bool:
        return any(base.__name__ == "BatchStat" for base in type(node).__mro__)

    boxes = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_one)
    return {
        (*path, *rest)
        for path, box in boxes
        if is_one(box)
        for rest, _ in jax.tree_util.tree_leaves_with_path(box)
    }  # fmt: skip


def _is_one_of_a_pair(name: tuple[str, ...], shapes: dict[tuple[str, ...], tuple[int, ...]]) -> bool:
    """Tell whether it is "mean" or "var" of a layer that has both, and that is one of normalisation by all signs."""
    if not name or name[-1] not in ("mean", "var"):
        return False
    layer = name[:-1]
    if shapes.get((*layer, "mean"), "no") != shapes.get((*layer, "var"), "none"):
        return False
    beside = any((*layer, other) in shapes for other in ("scale", "bias"))
    return beside or bool(layer and _NORMALISATION.search(layer[-1]))
