"""Leaves that `optax.masked`, `optax.partition` and `optax.multi_transform` hide from a method."""

from typing import Any

import jax
import optax


def refuse_masked(method: str, params: optax.Params) -> None:
    """Raise TypeError when some leaves are hidden by `optax.masked`, `optax.partition` or `optax.multi_transform`."""
    if any(is_masked(leaf) for leaf in jax.tree.leaves(params, is_leaf=is_masked)):
        raise TypeError(
            f"{method} evaluates the loss, which needs all parameters, but a mask hides some of them from it "
            "(optax.masked, optax.partition or optax.multi_transform). To freeze some, put them into the loss and hand "
            f"{method} the others alone: tx.init(moving), and value_fn=lambda moving: loss(moving, frozen)."
        )


def is_masked(leaf: Any) -> bool:
    """Tell the placeholder that optax puts where a mask hides a leaf."""
    return isinstance(leaf, optax.MaskedNode)


def as_seen_by(state: Any, params: optax.Params) -> optax.Params:
    """Hide what a mask hid when `state` was made, as one of its trees shows: leaves, or whole subtrees."""
    for field in state:
        if any(map(is_masked, jax.tree.leaves(field, is_leaf=is_masked))):
            try:
                return jax.tree.map(lambda seen, p: seen if is_masked(seen) else p, field, params, is_leaf=is_masked)
            except ValueError:  # not a tree like params: the state of another method inside this one
                continue
    return params
