"""A history as its caller gave it, and what only its values tell: errors, 64 bits without x64, integers as they are.

JAX turns what is handed to it into its own arrays: int64 becomes int32, float64 float32, wherever x64 is off. So leaves
that are not averaged stay out of it, and those in double precision are computed with x64 on. Inside `jax.jit` there is
nothing to see, and all of this does nothing.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from optaxaccel.methods import leaf_kinds
from optaxaccel.numerics import ring
from optaxaccel.numerics.ring import History
from optaxaccel.numerics.trees import Tree


class Given(NamedTuple):
    """Histories on their way through a compiled function.

    Attributes:
      params: the history of parameters; leaves that are not averaged are placeholders.
      statistics: that of statistics, or None.
      kinds: of the leaves of both, see `leaf_kinds`.
      originals: the two histories as they were given.
      stacked: whether they are stacked trees.
      traced: whether their values are not known.
    """

    params: Any
    statistics: Any
    kinds: tuple[tuple[str, ...], tuple[str, ...]]
    originals: tuple[Any, Any]
    stacked: bool
    traced: bool

    def precision(self) -> Any:
        """Return the context in which to compute: with x64 where something is in double precision."""
        leaves = [] if self.traced else jax.tree.leaves((self.params, self.statistics))
        double = any(getattr(leaf, "dtype", None) in (np.float64, np.complex128) for leaf in leaves)
        return jax.enable_x64(True) if double else contextlib.nullcontext()

    def restored(self, params: Tree, statistics: Tree) -> tuple[Tree, Tree]:
        """Return the results with the newest of all leaves that are not averaged, in the types that were given."""
        if self.traced:
            return params, statistics
        restored = []
        for result, original, kind in zip((params, statistics), self.originals, self.kinds, strict=True):
            leaves, structure = jax.tree.flatten(result)
            rows = [None] * len(leaves) if original is None else self._newest(original, kind)
            restored.append(jax.tree.unflatten(structure, map(_restored, leaves, rows, kind)))
        return restored[0], restored[1]

    def refuse_unless(self, finite: jax.Array, *, squared: bool = True) -> None:
        """Raise ValueError unless everything is finite, and name what is not, or whose square is not if it is taken."""
        if isinstance(finite, Tracer) or bool(finite):
            return
        for name, history in zip(("params_history", "statistics"), self.originals, strict=True):
            for k, tree in enumerate(_trees(history, self.stacked)):
                for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                    trouble = not_finite(leaf, squared=squared)
                    if trouble:
                        where = jax.tree_util.keystr(path)
                        raise ValueError(
                            f"{name}[{k}]{where} {trouble}. All weights would be NaN, or weigh noise. Leave that tree "
                            "out, or keep only iterates before the run diverged."
                        )
        if not squared:
            raise ValueError(
                "The merged point, or what a tree differs by from the newest, overflows, though all trees are finite. "
                "Pass trees in a wider dtype, float32 or float64."
            )
        raise ValueError(
            "The extrapolated point overflows, though all trees are finite. Pass a larger regularization=1e-4, or "
            "trees in float32."
        )

    def _newest(self, history: Any, kinds: tuple[str, ...]) -> list[Any]:
        if isinstance(history, History):
            return [None] * len(jax.tree.leaves(history.slots))  # arrays of JAX already
        if not self.stacked:
            return jax.tree.leaves(history[-1])
        # A row of an array of JAX is a copy of it, and of one that is combined nothing is looked at.
        leaves = zip(jax.tree.leaves(history), kinds, strict=True)
        return [None if isinstance(x, jax.Array) and kind != leaf_kinds.NEWEST else x[-1] for x, kind in leaves]


def of(params: Any, statistics: Any, stacked: bool) -> Given:
    """Take histories that `iterates.check` accepts.

    Raises:
      ValueError: there are no floating weights.
    """
    one, another = _one(params, stacked), None if statistics is None else _one(statistics, stacked)
    kinds = leaf_kinds.kinds(one), leaf_kinds.kinds(another, all_statistics=True)
    if leaf_kinds.WEIGHT not in kinds[0]:
        leaves = jax.tree_util.tree_leaves_with_path(one)
        listed = [f"{jax.tree_util.keystr(path)} {np.asarray(leaf).dtype}" for path, leaf in leaves[:5]]
        raise ValueError(
            f"params_history holds no floating weights, only {', '.join(listed) or 'empty trees'}. The weights of an "
            "extrapolation come from differences of floating leaves that are no running statistics. Pass the "
            "parameters of a network."
        )
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((params, statistics)))
    if traced:
        return Given(params, statistics, kinds, (params, statistics), stacked, traced)
    inside = _without_newest(params, kinds[0], stacked), _without_newest(statistics, kinds[1], stacked)
    return Given(inside[0], inside[1], kinds, (params, statistics), stacked, traced)


def not_finite(leaf: Any, *, squared: bool = True) -> str:
    """Say what is not finite in an array, or, if `squared`, too large for its square to be; "" where nothing is."""
    if not leaf_kinds.is_inexact(leaf):
        return ""
    values = np.abs(np.asarray(leaf))
    values = values.astype(np.promote_types(values.dtype, np.float32) if values.dtype.kind == "f" else np.float32)
    largest = values.max(initial=0.0)
    if np.isnan(largest):
        return "holds NaN"
    if np.isinf(largest):
        return "holds an infinity"
    if squared and largest > np.sqrt(np.finfo(values.dtype).max) / 1e3:
        return f"holds {largest:.3g}, whose square overflows {values.dtype}"
    return ""


def _one(history: Any, stacked: bool) -> Tree:
    if isinstance(history, History):
        return history.slots
    return history if stacked else history[-1]


def _trees(history: Any, stacked: bool) -> Sequence[Tree]:
    if history is None:
        return []
    if isinstance(history, History):
        return ring.history_list(history)
    if not stacked:
        return history
    return [jax.tree.map(lambda x, k=k: x[k], history) for k in range(len(jax.tree.leaves(history)[0]))]


def _without_newest(history: Any, kinds: tuple[str, ...], stacked: bool) -> Any:
    """Put placeholders where leaves are not averaged."""
    if history is None or isinstance(history, History):
        return history
    trees = [history] if stacked else history
    weighed = []
    for tree in trees:
        leaves, structure = jax.tree.flatten(tree)
        leaves = [
            leaf if kind != leaf_kinds.NEWEST else np.zeros(np.shape(leaf)[:1] if stacked else (), np.int8)
            for leaf, kind in zip(leaves, kinds, strict=True)
        ]
        weighed.append(jax.tree.unflatten(structure, leaves))
    return weighed[0] if stacked else weighed


def _restored(result: jax.Array, newest: Any, kind: str) -> Any:
    wide = isinstance(newest, (np.ndarray, np.generic)) and jax.dtypes.canonicalize_dtype(newest.dtype) != newest.dtype
    if kind != leaf_kinds.NEWEST:
        return np.asarray(result) if wide else result
    if newest is None:
        return result
    plain = isinstance(newest, (bool, int)) and abs(newest) < 2**31
    narrow = isinstance(newest, (np.ndarray, np.generic)) and newest.dtype.kind in "biu" and not wide
    return jnp.asarray(newest) if plain or narrow else newest
