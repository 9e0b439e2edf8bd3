"""The last iterates of a method, in whichever form a caller keeps them: list of trees, stacked tree or `History`.

Used by extrapolation and merging.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optaxaccel.numerics import loops, ring
from optaxaccel.numerics.columns import Leaf, fetch
from optaxaccel.numerics.ring import History
from optaxaccel.numerics.sharding import may_be_sharded
from optaxaccel.numerics.trees import Tree, difference


class Iterates(NamedTuple):
    """K+1 iterates leaf by leaf.

    Attributes:
      leaves: the leaves' values in every tree; the rows of a `History` are its slots, in the order in which they lie.
      structure: of one tree.
      mask: 1 for every successive difference that exists, 0 for those across the ring's seam or of empty slots.
      order: rows from the oldest to the newest; those that are not filled come first.
      oldest: row of the oldest tree.
      newest: row of the newest tree, a Python integer where it is known.
    """

    leaves: list[Leaf]
    structure: Any
    mask: jax.Array
    order: jax.Array | np.ndarray
    oldest: jax.typing.ArrayLike
    newest: jax.typing.ArrayLike


def check(name: str, history: Any, stacked: bool, at_least: int = 2) -> int:
    """Return how many trees a history has or has room for, or raise ValueError if it is none of so many."""
    call = f"Pass {name}=[older, newer, ...]"
    if isinstance(history, History):
        return ring.length(history)
    if stacked:
        lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(history)}
        if len(lengths) > 1 or () in lengths:
            raise ValueError(
                f"{name} is stacked, but its leaves have the leading axes {sorted(lengths)}. That axis counts the "
                f"trees, so it is the same for all. {call} or one tree of jnp.stack([older, newer, ...])."
            )
        number = lengths.pop()[0] if lengths else 2
    elif isinstance(history, (list, tuple)):
        number = len(history)
    else:
        raise ValueError(
            f"{name} is one {type(history).__name__}, not a list of trees. {call}, a History, or stacked=True if its "
            "leaves have a leading axis of trees."
        )
    if number < at_least:
        why = "differences of successive ones need two" if at_least == 2 else "there is nothing to merge"
        raise ValueError(f"{name} holds {number} tree(s), but {why}. {call}.")
    if not stacked:
        _check_alike(name, history, call)
    return number


def _check_alike(name: str, history: Sequence[Tree], call: str) -> None:
    structure, shapes = jax.tree.structure(history[-1]), list(map(np.shape, jax.tree.leaves(history[-1])))
    for k, tree in enumerate(history):
        if jax.tree.structure(tree) != structure:
            raise ValueError(
                f"{name}[{k}] has the structure {jax.tree.structure(tree)}, {name}[-1] has {structure}. Only trees of "
                f"one model can be combined. {call} with params alone, without optimiser states."
            )
        own = list(map(np.shape, jax.tree.leaves(tree)))
        if own != shapes:
            raise ValueError(
                f"{name}[{k}] has leaves of the shapes {own}, {name}[-1] of {shapes}. Only trees of one model can be "
                f"combined. {call}."
            )


def sharded(history: Any, stacked: bool) -> tuple[bool, ...]:
    """Tell for every leaf whether it may be split over devices; it can be seen best outside `jax.jit`."""
    if isinstance(history, History):
        return tuple(map(may_be_sharded, jax.tree.leaves(history.slots)))
    if stacked:
        return tuple(map(may_be_sharded, jax.tree.leaves(history)))
    return tuple(any(map(may_be_sharded, rows)) for rows in zip(*map(jax.tree.leaves, history), strict=True))


def unpack(history: Any, stacked: bool, sharded: tuple[bool, ...]) -> Iterates:
    """Return the iterates of a history that `check` accepts; `sharded` is known from before it was traced."""
    columns = "differences"
    if isinstance(history, History):
        leaves, structure = jax.tree.flatten(history.slots)
        columns = "cyclic"
        order, filled = ring.order(history)
        oldest, newest = order[jnp.argmax(filled)], order[-1]
        exists = jnp.zeros(order.shape[0]).at[order[:-1]].set(filled[:-1])
    else:
        if stacked:
            leaves, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, history))
            number = leaves[0].shape[0] if leaves else 2
        else:
            structure, number = jax.tree.structure(history[-1]), len(history)
            leaves = [tuple(map(jnp.asarray, rows)) for rows in zip(*map(jax.tree.leaves, history), strict=True)]
        order, oldest, exists = np.arange(number), 0, np.ones(number - 1)
        newest = number - 1
    unpacked = [Leaf(rows, columns, sharded=split) for rows, split in zip(leaves, sharded, strict=True)]
    return Iterates(unpacked, structure, jnp.asarray(exists, _dtype(unpacked)), order, oldest, newest)


def of_pairs(starts: Tree, ends: Tree, filled: jax.Array, newest: jax.Array, length: int) -> Iterates:
    """Return stacked end points as iterates whose columns are their residuals, end minus start.

    Args:
      starts: stacked trees from which some method started.
      ends: stacked trees at which it ended.
      filled: how many pairs there are; the first slots are filled first.
      newest: slot of the newest pair.
      length: number of slots.
    """
    leaves, structure = jax.tree.flatten(ends)
    rows = zip(leaves, jax.tree.leaves(starts), strict=True)
    residuals = [Leaf(end, "rows", minus=start, sharded=may_be_sharded(end)) for end, start in rows]
    order = (newest + 1 + jnp.arange(length)) % length
    return Iterates(residuals, structure, (jnp.arange(length) < filled).astype(_dtype(residuals)), order, 0, newest)


def _dtype(leaves: list[Leaf]) -> np.dtype:
    """Return the dtype in which weights are computed."""
    inexact = [_wide(leaf.dtype) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.finfo(jnp.result_type(jnp.float32, *inexact)).dtype


def _wide(dtype: np.dtype) -> np.dtype:
    """Return a dtype as wide as float32 at least; with float8 JAX promotes nothing."""
    return jnp.promote_types(jnp.float32 if np.dtype(dtype).itemsize == 1 else dtype, jnp.float32)


def columns_of(iterates: Iterates) -> list[Leaf]:
    """Return the leaves that make up the columns of R: not integers, and real and imaginary parts apart."""
    columns = []
    for leaf in iterates.leaves:
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            parts = [jax.tree.map(part, (leaf.rows, leaf.minus)) for part in (jnp.real, jnp.imag)]
            columns += [leaf._replace(rows=rows, minus=minus) for rows, minus in parts]
        elif jnp.issubdtype(leaf.dtype, jnp.inexact):
            columns.append(leaf)
    return columns


def combine(iterates: Iterates, weights: jax.Array, ahead: int, careful: jax.Array | bool = True) -> Tree:
    """Return x_K + sum_j weights[j] (x_{j + ahead} - x_K), x_K being the newest tree.

    Column j of R belongs to row j: as the residual of pair j, or as the difference that leads from row j to row j + 1,
    whose end is one row `ahead`. The differences are exact where rounding matters, and a plain sum is ten times faster
    than a contraction on CPU. Each leaf has its own dtype; of integers the newest is returned. The difference of equal
    infinities is zero, or NaN where it is not `careful`, which takes a third less arithmetic.
    """
    if isinstance(careful, jax.Array):
        branches = (functools.partial(combine, iterates, weights, ahead, way) for way in (True, False))
        return loops.cond(careful, *branches)
    minus = difference if careful else jnp.subtract
    number = len(iterates.order)
    rows = [(j + ahead) % number for j in range(weights.shape[0])]
    if isinstance(iterates.newest, int):
        rows = [k for k in rows if k != number - 1]  # x_K - x_K

    def mean(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return _row(leaf, iterates.newest, leaf.dtype)
        dtype = _wide(leaf.dtype)
        newest = total = _row(leaf, iterates.newest, dtype)
        for j, k in enumerate(rows):
            total = total + weights[j].astype(dtype) * minus(_row(leaf, k, dtype), newest)
        return total.astype(leaf.dtype)

    return jax.tree.unflatten(iterates.structure, map(mean, iterates.leaves))


def bounds(iterates: Iterates, number: int) -> tuple[jax.Array, jax.Array]:
    """Return the least and the largest values of one leaf over all trees that exist, entry by entry."""
    leaf, count = iterates.leaves[number], len(iterates.order)
    least = largest = _row(leaf, iterates.newest, leaf.dtype)
    for j in range(iterates.mask.shape[0]):  # difference j is that of rows j and j + 1
        for k in (j, (j + 1) % count):
            row = jnp.where(iterates.mask[j] > 0, _row(leaf, k, leaf.dtype), least)
            least, largest = jnp.minimum(least, row), jnp.maximum(largest, row)
    return least, largest


def pick(iterates: Iterates, row: Any) -> Tree:
    """Return the tree in one row."""
    return jax.tree.unflatten(iterates.structure, [_row(leaf, row, leaf.dtype) for leaf in iterates.leaves])


def _row(leaf: Leaf, k: Any, dtype: np.dtype) -> jax.Array:
    if isinstance(leaf.rows, tuple):
        return fetch(leaf.rows[k], dtype)
    return fetch(lax.dynamic_index_in_dim(leaf.rows, k, 0, keepdims=False), dtype)
