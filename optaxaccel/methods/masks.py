"""Leaves that `optax.masked`, `optax.partition` and `optax.multi_transform` hide from a method."""

from typing import Any

import jax
import optax


def hides(params: optax.Params) -> bool:
    """Tell whether some leaves are hidden."""
    return any(is_masked(leaf) for leaf in jax.tree.leaves(params, is_leaf=is_masked))


def refusal(method: str) -> TypeError:
    """Return the error for a loss that cannot be evaluated because leaves are hidden from it."""
    return TypeError(
        f"{method} evaluates the loss, which needs all parameters, but a mask hides some of them from it "
        "(optax.masked, optax.partition or optax.multi_transform). Use optaxaccel.masked or optaxaccel.partition "
        f"instead: they hand {method} the loss as a function of its own leaves. Or fill the hidden ones, "
        "optax.MaskedNode, in yourself."
    )


def refuse_masked(method: str, params: optax.Params) -> None:
    """Raise TypeError when some leaves are hidden."""
    if hides(params):
        raise refusal(method)


def hidden_as(seen: optax.Updates, tree: optax.Updates) -> optax.Updates:
    """Hide in `tree` what is hidden in `seen`."""
    return jax.tree.map(lambda s, x: s if is_masked(s) else x, seen, tree, is_leaf=is_masked)


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
