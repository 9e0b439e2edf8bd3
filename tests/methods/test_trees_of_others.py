"""Trees, masks and losses of others: classes without equality, hidden leaves, a second loss, means out of range."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

import optaxaccel


@jax.tree_util.register_dataclass
@dataclasses.dataclass(eq=False)
class Pair:
    a: jax.Array
    b: jax.Array


def test_a_tree_of_a_class_without_equality_is_pushed_and_extrapolated():
    params = Pair(jnp.ones(3), jnp.ones((2, 2)))
    history = optaxaccel.history_push(optaxaccel.history_init(params, length=3), params)
    with pytest.raises(ValueError, match="shapes"):
        optaxaccel.history_push(history, Pair(jnp.ones(4), jnp.ones((2, 2))))
    x, state = params, optaxaccel.anderson_init(params)
    for _ in range(3):
        x, state = optaxaccel.anderson_update(jax.tree.map(lambda leaf: 0.5 * leaf, x), x, state)
    assert float(jnp.max(x.a)) < 0.5


def test_a_curvature_along_leaves_that_a_mask_leaves():
    params = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([3.0])}

    def loss(p):
        a = params["a"] if isinstance(p["a"], optax.MaskedNode) else p["a"]
        return jnp.sum(a**2) + jnp.sum(p["b"] ** 2)

    tx = optax.masked(optax.chain(optax.scale(-1.0), optaxaccel.scale_by_cdat(sigma=1.0)), {"a": False, "b": True})
    grad = jax.grad(loss)(params)
    updates, _ = tx.update(grad, tx.init(params), params, grad=grad, value=loss(params), value_fn=loss)
    assert updates["a"].tolist() == grad["a"].tolist()
    assert float(updates["b"][0]) == pytest.approx(-3.0)


def test_both_losses_are_seen_from_where_the_base_is():
    seen = []

    def update(updates, state, params=None, *, value_fn, curvature_value_fn, **extra):
        seen.append((float(value_fn(params)), float(curvature_value_fn(params))))
        return updates, state

    base = optax.chain(
        optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update), optax.scale(-0.1)
    )
    tx = optaxaccel.primal_averaging(base, mu_x=0.5, mu_y=0.5, base_at="z")
    x, state = jnp.array([3.0, -1.0]), None
    state = tx.init(x)
    for _ in range(4):
        value, grad = jax.value_and_grad(lambda x: jnp.sum(x**2))(x)
        losses = {"value_fn": lambda x: jnp.sum(x**2), "curvature_value_fn": lambda x: jnp.sum(x**2)}
        updates, state = tx.update(grad, state, x, value=value, grad=grad, **losses)
        assert seen[-1] == pytest.approx((float(value), float(value)), rel=1e-5)
        x = optax.apply_updates(x, updates)


def test_a_history_of_another_tree_is_refused():
    given = [{"a": jnp.ones(2), "b": jnp.ones(2)}]
    tx = optaxaccel.interpolatron(0.1, coefficients=(0.5, 0.5), history_init=(given, given))
    for params in ({"b": jnp.ones(2)}, {"a": jnp.ones(2), "c": jnp.ones(2)}):
        with pytest.raises(ValueError, match="structure"):
            tx.init(params)


def test_means_that_leave_the_range_of_numbers_are_not_kept():
    tx, w = optaxaccel.scale_by_hindsight(initial_rate=1e-19), jnp.array([3.0, 4.0])
    state = tx.init(w)

    def loss(w):
        return 1e18 * jnp.sum((w - 2.0) ** 2)

    for _ in range(8):
        value, grad = jax.value_and_grad(loss)(w)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
        w = optax.apply_updates(w, updates)
    numbers = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in numbers)
