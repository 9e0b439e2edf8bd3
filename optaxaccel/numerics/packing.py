"""A tree as a few long vectors: an iteration over them compiles several times faster than one over many leaves.

Used by `lanczos` and by jumps along negative curvature.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optaxaccel.numerics import compiler
from optaxaccel.numerics.sharding import may_be_sharded
from optaxaccel.numerics.trees import Tree


def packing(like: Tree) -> tuple[Callable[[Tree], Tree], Callable[[Tree], Tree]]:
    """Return a function that joins all leaves of one dtype to a vector, and one that cuts the vectors again.

    Leaves that sharding may split over devices stay as they are, since joining would gather them.
    """
    leaves, structure = jax.tree.flatten(like)
    shapes = [leaf.shape for leaf in leaves]
    groups: dict[Any, list[int]] = {}
    for k, leaf in enumerate(leaves):
        groups.setdefault(k if may_be_sharded(leaf) else leaf.dtype, []).append(k)

    def pack(tree: Tree) -> Tree:
        own = jax.tree.leaves(tree)
        return [own[g[0]] if len(g) == 1 else jnp.concatenate([own[k].ravel() for k in g]) for g in groups.values()]

    def unpack(packed: Tree) -> Tree:
        unpacked = list(leaves)
        packed = compiler.stored(packed)
        for vector, group in zip(packed, groups.values(), strict=True):
            cuts = list(itertools.accumulate(leaves[k].size for k in group))[:-1]
            parts = [vector] if len(group) == 1 else jnp.split(vector, cuts)
            for k, part in zip(group, parts, strict=True):
                unpacked[k] = part.reshape(shapes[k])
        return jax.tree.unflatten(structure, unpacked)

    return pack, unpack
