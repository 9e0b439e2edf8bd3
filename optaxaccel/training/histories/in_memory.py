"""A history that fits into memory: it is handed to the functions of the package as it is."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from optaxaccel import methods
from optaxaccel.methods import leaf_kinds
from optaxaccel.training.histories import formats, layout
from optaxaccel.training.histories.newest_checkpoints import Read

Tree = Any


class Point(NamedTuple):
    """What is made of a history.

    Attributes:
      weights: one a checkpoint, oldest first.
      extrapolated: the arguments of `optaxaccel.extrapolate` that gave them; None where it was something else.
    """

    weights: np.ndarray
    extrapolated: dict[str, Any] | None = None


def of_trees(weights: np.ndarray, iterate: str) -> np.ndarray:
    """Return weights of differences as those of trees: "tail" takes the later tree of each, "head" the earlier one."""
    return np.pad(weights, (1, 0) if iterate == "tail" else (0, 1))


class InMemory:
    """Checkpoints that were read."""

    def __init__(self, read: Read):
        """Take what was read."""
        self.read = read
        self.history = [{"/".join(n): _wide(x) for n, x in t.items() if n not in read.kept} for t in read.history]

    def extrapolation(self, strength: float, relative: bool) -> np.ndarray:
        """Return the weights of an extrapolation, one a difference."""
        weights = methods.extrapolation_weights(self.history, regularization=strength, relative=relative)
        return np.asarray(weights, float)

    def tree(self, point: Point) -> Tree:
        """Return the merged tree."""
        newest = self.read.history[-1]
        if point.extrapolated is not None:
            combined = methods.extrapolate(self.history, **point.extrapolated)
        else:
            others = np.any(point.weights[:-1] != 0)
            combined = methods.merge(self.history, point.weights) if others else {}
        tree = layout.mapped(self.read.newest, lambda n: _stored(combined.get("/".join(n), newest[n]), newest[n]))
        return layout.without(tree, self.read.places[0][:-1])

    def write(self, kind: formats.Format, path: Path, point: Point, like: Path, about: dict[str, str]) -> None:
        """Write the merged tree."""
        kind.write(path, self.tree(point), like, about)


def _wide(leaf: Any) -> Any:
    """Return float8 as float32: JAX does not mix it with anything."""
    return leaf.astype(np.float32) if leaf_kinds.is_inexact(leaf) and np.asarray(leaf).dtype.itemsize == 1 else leaf


def _stored(leaf: Any, like: Any) -> Any:
    """Return an array of NumPy for one of JAX, in the dtype of the newest checkpoint."""
    return np.asarray(leaf).astype(like.dtype, copy=False) if isinstance(leaf, (jax.Array, np.generic)) else leaf
