"""A loss or gradient that is not finite moves nothing and stores nothing but a count."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import Card

from .problem import BATCH, Point, run, shared_step, to_numpy, uses_value_fn, value_and_grad

VALUES = [np.nan, np.inf, -np.inf]


def disturb(card: Card, value=None, gradient=None) -> tuple[Point, Point]:
    """Two good steps, then one with the given loss or with the given number in one entry of the gradient."""
    step = shared_step(card)
    good = run(step, 2)
    before, batch = to_numpy(good), jnp.asarray(BATCH)
    real, grads = value_and_grad(good.params, batch)
    if gradient is not None:
        grads = {**grads, "w": grads["w"].at[1, 0].set(gradient)}
    value = real if value is None else jnp.asarray(value, real.dtype)
    return before, to_numpy(Point(*step.update(good.params, good.state, grads, value, batch)))


def held_still(before: Point, after: Point, must_count: bool) -> list[str]:
    """What changed although nothing should have."""
    changed = [f"update of {u}" for u in jax.tree.leaves(after.updates) if np.any(u != 0)]
    counts = 0
    leaves = zip(jax.tree_util.tree_leaves_with_path(before.state), jax.tree.leaves(after.state), strict=True)
    for (path, old), new in leaves:
        name = jax.tree_util.keystr(path)
        counted = name.endswith(".notfinite_count") and new == old + 1
        counts += counted
        if not counted and not np.array_equal(old, new, equal_nan=True):
            changed.append(f"{name}: {old} -> {new}")
    if must_count and not counts:
        changed.append("notfinite_count did not rise")
    return changed


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_a_bad_loss_moves_nothing(card: Card, value):
    assert held_still(*disturb(card, value=value), must_count=uses_value_fn(card)) == []


@pytest.mark.parametrize("gradient", VALUES, ids=str)
def test_a_bad_gradient_moves_nothing_or_is_documented(card: Card, gradient):
    changed = held_still(*disturb(card, gradient=gradient), must_count=uses_value_fn(card))
    if changed and not uses_value_fn(card):
        assert "apply_if_finite" in (inspect.getdoc(card.make) or ""), "says not what guards it: optax.apply_if_finite"
    else:
        assert changed == []
