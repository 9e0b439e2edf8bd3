"""Parameters in boxes that say how they lie over devices: Flax's `nn.Partitioned` and the variables of NNX.

Used by methods that keep a ring of their parameters.

A box names the axes of its array. Stacked histories have one axis more, in front, so a box around them would split the
wrong ones: they are kept without.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax

from optaxaccel.numerics.trees import Tree


def is_box(node: Any) -> bool:
    """Tell a box of Flax from other nodes of a tree; nothing of Flax is imported."""
    return any(
        base.__name__ in ("AxisMetadata", "Variable") and base.__module__.startswith("flax.")
        for base in type(node).__mro__
    )


def unboxed(tree: Tree) -> Tree:
    """Return the tree with arrays in place of boxes, and the same leaves."""

    def inside(node):
        leaves = jax.tree.leaves(node) if is_box(node) else [node]
        return leaves[0] if len(leaves) == 1 else node

    return jax.tree.map(inside, tree, is_leaf=is_box)


def boxing(like: Tree) -> Callable[[Tree], Tree]:
    """Return the way back: it puts the leaves of a tree without boxes into the structure of one that may have some."""
    structure = jax.tree.structure(like)
    return lambda tree: jax.tree.unflatten(structure, jax.tree.leaves(tree))


def without_boxes(inner: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """Return a transformation whose `inner` never sees a box, and whose state therefore has none."""

    def init(params: optax.Params) -> optax.OptState:
        return inner.init(unboxed(params))

    def update(updates, state, params=None, **extra):
        moved, state = inner.update(unboxed(updates), state, unboxed(params), **extra)
        return boxing(updates)(moved), state

    return optax.GradientTransformationExtraArgs(init, update)
