"""Linear algebra over pytrees of parameters: only what `optax.tree` lacks or does otherwise. Everybody uses it.

vdot, norm         optax's are dot products, which leaves that lie sharded over an explicit mesh refuse, and sums in the
                   leaves' own dtype: here sums of products, in float32 at least
scale, add_scaled  optax's promote a bfloat16 leaf to the dtype of the factor, and the next step would be traced anew
cast_like          optax's casts keys of random numbers too, and takes no Python numbers to cast like
zeros_like         optax's keep weak types, and the second step would be traced anew
fresh_copy         no counterpart: a buffer for each leaf, so that a fresh state can be donated
all_finite         no counterpart; `difference` is of arrays
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel.numerics import compiler

Tree = Any  # a pytree of arrays; None leaves are skipped and zero-size leaves are kept


def accumulation_dtype() -> np.dtype:
    """Return the dtype of global sums: float64 where JAX has it enabled, float32 otherwise."""
    return jax.dtypes.canonicalize_dtype(np.float64)


def leaf_dtype(leaf: Any) -> np.dtype:
    """Return the dtype of an array, a `ShapeDtypeStruct` or a Python number."""
    return leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)


def zeros_like(tree: Tree, dtype: Any = None) -> Tree:
    """Return fresh, strongly typed zeros with the shapes (and, by default, the dtypes) of the leaves."""
    return jax.tree.map(lambda x: jnp.zeros_like(x, dtype=leaf_dtype(x) if dtype is None else dtype), tree)


def fresh_copy(tree: Tree) -> Tree:
    """Copy every leaf into a buffer of its own; leaves that are only a shape become zeros."""

    def copy(x):
        if isinstance(x, jax.ShapeDtypeStruct):
            return jnp.zeros_like(x, dtype=x.dtype)
        return jnp.array(x, dtype=leaf_dtype(x), copy=True)

    return jax.tree.map(copy, tree)


def cast_like(tree: Tree, like: Tree) -> Tree:
    """Cast every leaf to the dtype of its counterpart in `like`; what has it already, a key say, is left alone."""
    return jax.tree.map(lambda x, y: x if x.dtype == leaf_dtype(y) else x.astype(leaf_dtype(y)), tree, like)


def vdot(a: Tree, b: Tree) -> jax.Array:
    """Return the real inner product of two trees over all leaves, Re sum conj(a) b."""
    dtype = accumulation_dtype()

    def leaf(x, y):
        if jnp.iscomplexobj(x) or jnp.iscomplexobj(y):
            return leaf(jnp.real(x), jnp.real(y)) + leaf(jnp.imag(x), jnp.imag(y))
        return jnp.sum(jnp.asarray(x, dtype) * jnp.asarray(y, dtype))

    products = jax.tree.leaves(jax.tree.map(leaf, a, b))
    return sum(products, start=jnp.zeros((), dtype))


def norm(tree: Tree) -> jax.Array:
    """Return the Euclidean norm of all leaves taken as one vector."""
    return jnp.sqrt(vdot(tree, tree))


def scale(factor: jax.typing.ArrayLike, tree: Tree) -> Tree:
    """Return factor * tree, each leaf in its own dtype."""
    return jax.tree.map(lambda x: (factor * x).astype(leaf_dtype(x)), tree)


def add_scaled(x: Tree, factor: jax.typing.ArrayLike, direction: Tree) -> Tree:
    """Return x + factor * direction, each leaf in the dtype of x."""
    return jax.tree.map(lambda p, d: (p + factor * d).astype(leaf_dtype(p)), x, direction)


def alike(a: Tree, b: Tree) -> bool:
    """Return whether two trees have the same structure and shapes; nodes need not say whether they are equal."""
    shapes = [list(map(jnp.shape, jax.tree.leaves(tree))) for tree in (a, b)]
    return jax.tree.structure(a) == jax.tree.structure(b) and shapes[0] == shapes[1]


@jax.custom_jvp
def difference(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return x - y of two arrays, zero also where both are the same infinity: such entries stand still."""
    # Asking for infinity too made a step of `rna_sgd` twice as long; only the derivative needs to know.
    return jnp.where(x == y, jnp.zeros_like(x), x - y)


@difference.defjvp
def _difference_moved(primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]) -> Any:
    (x, y), (moved_x, moved_y) = primals, tangents
    if not jnp.issubdtype(jnp.result_type(x, y), jnp.inexact):
        return difference(x, y), moved_x  # integers do not move
    moved = jnp.where(jnp.isinf(x) & (x == y), 0, moved_x - moved_y)
    return difference(x, y), moved


def largest(*trees: Tree, times: int = 1) -> jax.Array:
    """Return `times` the largest modulus of all entries, in float32 at least: NaN where one is, 0 of no entries."""
    sizes = [jnp.max(jnp.abs(leaf), initial=0) for leaf in jax.tree.leaves(trees)]
    if times > 1:
        sizes = [x * times if jnp.issubdtype(x.dtype, jnp.inexact) else x for x in sizes]
    dtype = jnp.result_type(jnp.float32, *(x for x in sizes if x.dtype.itemsize > 1))  # float8 mixes with nothing
    return functools.reduce(jnp.maximum, [x.astype(dtype) for x in sizes], jnp.zeros((), dtype))


def all_finite(*trees: Tree, times: int = 1) -> jax.Array:
    """Return whether every entry of every leaf is finite, as it is or `times` over in its dtype, as a scalar bool."""
    # A maximum (NaN stays NaN) is one quick reduction; all(isfinite(x)) takes more than twice as long on CPU.
    return compiler.is_finite(largest(*trees, times=times))
