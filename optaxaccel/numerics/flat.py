"""A tree of parameters as one real vector: what a dense matrix over all parameters needs.

Used by quasi-Newton methods, bounds and `minimize`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel.numerics.trees import Tree, leaf_dtype


def real_size(tree: Tree) -> int:
    """Return how many real numbers the leaves hold; a complex one counts twice."""
    return sum(int(np.prod(np.shape(x))) * (2 if _is_complex(x) else 1) for x in jax.tree.leaves(tree))


def real_dtype(tree: Tree) -> np.dtype:
    """Return the real dtype that holds all leaves, float32 at least."""
    return jnp.finfo(jnp.result_type(jnp.float32, *(leaf_dtype(x) for x in jax.tree.leaves(tree)))).dtype


def flatten(tree: Tree) -> jax.Array:
    """Join all leaves to one vector, the same on all devices; a complex leaf gives real, then imaginary parts."""
    parts = [part for leaf in jax.tree.leaves(tree) for part in _real_parts(_gathered(jnp.asarray(leaf)))]
    dtype = real_dtype(tree)
    return jnp.concatenate([jnp.ravel(part).astype(dtype) for part in parts] or [jnp.zeros((0,), dtype)])


def unflatten(vector: jax.Array, like: Tree) -> Tree:
    """Cut a vector into a tree with the shapes, dtypes and shardings of `like`."""
    leaves, structure = jax.tree.flatten(like)
    placed, offset = [], 0

    def take(shape: tuple[int, ...]) -> jax.Array:
        nonlocal offset
        size = int(np.prod(shape))
        offset += size
        return vector[offset - size : offset].reshape(shape)

    for leaf in leaves:
        shape = np.shape(leaf)
        part = jax.lax.complex(take(shape), take(shape)) if _is_complex(leaf) else take(shape)
        placed.append(_placed(part.astype(leaf_dtype(leaf)), leaf))
    return jax.tree.unflatten(structure, placed)


def flattening(like: Tree) -> tuple[Callable[[Tree], jax.Array], Callable[[jax.Array], Tree]]:
    """Return `flatten`, and `unflatten` to trees like this one."""
    return flatten, lambda vector: unflatten(vector, like)


def _is_complex(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf_dtype(leaf), jnp.complexfloating))


def _real_parts(leaf: jax.Array) -> list[jax.Array]:
    return [jnp.real(leaf), jnp.imag(leaf)] if _is_complex(leaf) else [leaf]


def _explicit(leaf: Any) -> bool:
    """Tell a leaf whose type says how it is sharded."""
    sharding = getattr(jax.typeof(leaf), "sharding", None) if isinstance(leaf, jax.Array) else None
    return sharding is not None and any(axis is not None for axis in sharding.spec)


def _gathered(leaf: jax.Array) -> jax.Array:
    return jax.sharding.reshard(leaf, jax.sharding.PartitionSpec()) if _explicit(leaf) else leaf


def _placed(part: jax.Array, like: Any) -> jax.Array:
    return jax.sharding.reshard(part, jax.typeof(like).sharding) if _explicit(like) else part
