"""The matrix R of a history: its columns are trees, read one block of entries at a time.

Used by `least_squares`, `extrapolation_weights` and `sequences`.

A column is a tree of the history, or the difference of two successive ones; the difference is taken before anything
else, because sums of products of the trees themselves would lose it. No matrix as large as R is ever formed.
"""

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optaxaccel.numerics import compiler, loops
from optaxaccel.numerics.trees import difference

SMALL = 1 << 17  # entries; smaller leaves are joined
LARGE = 1 << 20  # entries; blocks of larger leaves are put together by what runs fast instead of what compiles fast


class Leaf(NamedTuple):
    """One leaf's part of R.

    Attributes:
      rows: the leaf in every tree: a tuple of n arrays, or one array with a leading axis of n.
      columns: what the columns are: the n "rows", their n - 1 successive "differences", or, for a ring in one array,
        all n "cyclic" ones, of which the last is the first row minus the last.
      minus: another array like `rows` that is subtracted from it, for columns that are "rows".
      sharded: whether the leaf may be split over devices. It is then taken in one piece and in its own shape, since
        cutting or flattening an axis that is split would gather it.
    """

    rows: tuple[jax.Array, ...] | jax.Array
    columns: Literal["rows", "differences", "cyclic"] = "differences"
    minus: jax.Array | None = None
    sharded: bool = False

    @property
    def size(self) -> int:
        """Number of entries of the leaf in one tree."""
        return int(np.prod(self.rows[0].shape if isinstance(self.rows, tuple) else self.rows.shape[1:]))

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the rows."""
        return self.rows[-1].dtype if isinstance(self.rows, tuple) else self.rows.dtype


def prepare(leaves: Sequence[Leaf], dtype: np.dtype) -> list[Leaf]:
    """Return leaves that `gram` reads fast: as vectors, and the small ones joined to one.

    Each loop over a leaf takes long to compile; joining copies no more than what is small. The barriers keep the
    reshaping out of the loops, and the copying free of arithmetic, which would make both slow.
    """
    prepared, small = [], []
    for leaf in leaves:
        if leaf.sharded:
            prepared.append(leaf)
        elif leaf.size >= SMALL:
            rows, minus = compiler.stored((_flat(leaf.rows), _flat(leaf.minus)))
            prepared.append(leaf._replace(rows=rows, minus=minus))
        else:
            small.append(leaf)
    if small:
        pieces = jax.tree.map(lambda x: fetch(x, dtype), [(_flat(leaf.rows), _flat(leaf.minus)) for leaf in small])
        pieces = compiler.stored(pieces)
        rows, minus = compiler.stored(jax.tree.map(lambda *x: jnp.concatenate(x, axis=-1), *pieces))
        prepared.append(Leaf(rows, small[0].columns, minus))
    return prepared


def _flat(rows: Any) -> Any:
    if isinstance(rows, tuple):
        return tuple(row.reshape(-1) for row in rows)
    return None if rows is None else rows.reshape(rows.shape[0], -1)


def gram(
    leaves: Sequence[Leaf], transform: jax.Array, stride: jax.Array | int = 1, careful: jax.Array | bool = True
) -> jax.Array:
    """Return the Gram matrix W'R'RW of the transformed columns.

    Args:
      leaves: the leaves of R, which has K columns, as `prepare` returns them.
      transform: W, (K, K); its dtype is that of the products.
      stride: 1, or s to look at one block of entries in s only. The result is then no larger than that of the whole, in
        any direction.
      careful: whether the difference of two equal infinities in `rows` and `minus` is zero. Without, it is NaN, and so
        is the result; but a block is read in two thirds of the time, since XLA's CPU compiler makes a loop of one
        operation much quicker than one of two. (Successive differences, of one array, gain nothing and are careful.)
    """
    if isinstance(careful, bool):
        return _gram(leaves, transform, stride, careful)
    return loops.cond(
        careful, lambda: _gram(leaves, transform, stride, True), lambda: _gram(leaves, transform, stride, False)
    )


def _gram(leaves: Sequence[Leaf], transform: jax.Array, stride: jax.Array | int, careful: bool) -> jax.Array:
    total = jnp.zeros_like(transform)
    length = block_length()
    for leaf in leaves:
        if leaf.sharded:
            total = total + _products(transform, whole(leaf, transform.dtype))
            continue
        blocks, remainder = divmod(leaf.size, length)
        if blocks:
            total = total + _blocked(leaf, transform, length, blocks, stride, careful)
        if remainder:
            total = total + _products(transform, _block(leaf, blocks * length, remainder, transform.dtype, careful))
    return total


def no_products(leaves: Sequence[Leaf], transform: jax.Array) -> jax.Array:
    """Return (K, K) zeros to start sums from: inside `jax.shard_map` they vary over what the sum varies over."""
    empty = [_products(transform, _block(leaf, 0, 0, transform.dtype)) for leaf in leaves if not leaf.sharded]
    return sum(empty, start=jnp.zeros_like(transform))


def block_length() -> int:
    """Return the entries of a column that are read at once: a CPU's cache holds them, a GPU is kept busy by them."""
    return 4096 if jax.default_backend() == "cpu" else 1 << 18


def _blocked(leaf: Leaf, transform: jax.Array, length: int, blocks: int, stride: Any, careful: bool) -> jax.Array:
    def add(i, total):
        return total + _products(transform, _block(leaf, i * stride * length, length, transform.dtype, careful))

    return lax.fori_loop(0, (blocks + stride - 1) // stride, add, no_products([leaf], transform))


def _products(transform: jax.Array, block: jax.Array) -> jax.Array:
    """Return the sums of products of the transformed columns; float32 stays float32 on accelerators too."""
    highest = lax.Precision.HIGHEST
    y = lax.dot_general(transform, block, (((0,), (0,)), ((), ())), precision=highest)
    axes = tuple(range(1, y.ndim))
    sharding = jax.typeof(y).sharding  # on an explicit mesh it must be said that every device wants the sums
    out = jax.NamedSharding(sharding.mesh, jax.P()) if any(sharding.spec) else None
    return lax.dot_general(y, y, ((axes, axes), ((), ())), precision=highest, out_sharding=out)


def _block(leaf: Leaf, start: Any, size: int, dtype: np.dtype, careful: bool = True) -> jax.Array:
    """Return entries `start` to `start + size` of the columns as a (K, size) matrix."""
    stack = leaf.rows
    if isinstance(stack, tuple):
        rows = [fetch(lax.dynamic_slice(row, (start,), (size,)), dtype)[None] for row in stack]
        if leaf.columns != "rows":
            rows = [difference(newer, older) for older, newer in itertools.pairwise(rows)]
        return _written(rows) if leaf.size >= LARGE else jnp.concatenate(rows)

    def cut(first, number, stack=stack):
        return fetch(lax.dynamic_slice(stack, (first, start), (number, size)), dtype)

    number = stack.shape[0]
    if leaf.columns == "rows":
        if leaf.minus is None:
            return cut(0, number)
        minus = difference if careful else jnp.subtract
        return minus(cut(0, number), cut(0, number, leaf.minus))
    # Both operands are cut out of the whole array: a difference of two parts of one block is several times slower.
    columns = difference(cut(1, number - 1), cut(0, number - 1))
    return columns if leaf.columns == "differences" else _written([columns, difference(cut(0, 1), cut(number - 1, 1))])


def _written(blocks: list[jax.Array]) -> jax.Array:
    """Return the blocks one below the other, each written into place: a concatenation is one slow fusion.

    Without the barrier jaxlib 0.12 makes one of it again: `extrapolate` of a `History` then takes twice the processor.
    """
    first = len(blocks[0])
    matrix = compiler.stored(jnp.pad(blocks[0], ((0, sum(map(len, blocks)) - first), (0, 0))))
    for block in blocks[1:]:
        matrix = lax.dynamic_update_slice(matrix, block, (first, 0))
        first += len(block)
    return matrix


def whole(leaf: Leaf, dtype: np.dtype, *, linear: bool = False) -> jax.Array:
    """Return all entries of the columns in the leaf's own shape behind the axis of K.

    With `linear` it is a linear function of the rows, which are those of a derivative.
    """
    minus = jnp.subtract if linear else difference
    rows = fetch(jnp.stack(leaf.rows) if isinstance(leaf.rows, tuple) else leaf.rows, dtype)
    if leaf.columns == "rows":
        return rows if leaf.minus is None else minus(rows, fetch(leaf.minus, dtype))
    return minus(jnp.roll(rows, -1, axis=0), rows) if leaf.columns == "cyclic" else minus(rows[1:], rows[:-1])


def fetch(rows: jax.Array, dtype: np.dtype) -> jax.Array:
    """Bring rows that are kept in host memory to the device, and widen them."""
    if jax.typeof(rows).memory_space is jax.memory.Space.Host:
        rows = jax.device_put(rows, jax.memory.Space.Device)
    return rows.astype(dtype)
