"""The line search of PAL: what it composes with, and the profile of a line."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel.methods._parabola import SLOPES


def one_step(loss, w, direction, grad=None, **settings):
    """Update and state after one search along `direction`."""
    tx = optaxaccel.scale_by_parabola(**settings)
    grad = jax.grad(loss)(w) if grad is None else grad
    return tx.update(direction, tx.init(w), w, value=loss(w), grad=grad, value_fn=loss)


def convex(w):
    return jnp.sum(w**2)


def test_the_gradient_is_asked_for_where_it_is_used():
    w = jnp.array([3.0, -4.0])
    for slope in SLOPES:
        tx = optaxaccel.scale_by_parabola(slope=slope)
        if slope == "direction_norm":
            tx.update(-w, tx.init(w), w, value=convex(w), value_fn=convex)
        else:
            with pytest.raises(ValueError, match=r"needs grad.*grad=grads"):
                tx.update(-w, tx.init(w), w, value=convex(w), value_fn=convex)


@pytest.mark.parametrize(
    "params",
    [{}, (), {"a": None}, jnp.float32(3.0), {"a": jnp.ones(3), "b": jnp.zeros((0, 2)), "c": None}],
    ids=["dict", "tuple", "none", "scalar", "mixed"],
)
@pytest.mark.parametrize("make", [optaxaccel.pal, optaxaccel.scale_by_parabola])
def test_odd_trees(make, params):
    def loss(p):
        return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(p)), start=jnp.float32(0.0))

    tx = make(loose_approximation=1.0, max_step_size=10.0)
    grad = jax.tree.map(lambda x: 2.0 * x, params)
    direction = grad if make is optaxaccel.pal else jax.tree.map(lambda g: -g, grad)
    updates, state = tx.update(direction, tx.init(params), params, value=loss(params), grad=grad, value_fn=loss)
    after = optax.apply_updates(params, updates)
    assert jax.tree.structure(after) == jax.tree.structure(params)
    assert float(loss(after)) < 1e-6
    assert int(state.count) == 1


@pytest.mark.parametrize("make", [optaxaccel.pal, optaxaccel.scale_by_parabola])
def test_hyperparameters_can_be_injected_and_scheduled(make):
    schedule = optax.linear_schedule(0.1, 0.01, 4)
    injected = optax.inject_hyperparams(make, static_args=("slope",))(measuring_step_size=schedule, max_step_size=0.5)
    plain = make(measuring_step_size=schedule, max_step_size=optax.constant_schedule(0.5))

    def run(tx):
        w = jnp.array([1.0, -0.5])
        state = tx.init(w)
        for _ in range(5):
            value, grad = jax.value_and_grad(lambda p: jnp.sum(p**4 + p**2))(w)
            direction = grad if make is optaxaccel.pal else -grad
            loss = lambda p: jnp.sum(p**4 + p**2)  # noqa: E731
            updates, state = tx.update(direction, state, w, value=value, grad=grad, value_fn=loss)
            w = w + updates
        return w

    np.testing.assert_allclose(run(injected), run(plain), rtol=1e-5)


@pytest.mark.parametrize("value_dtype", ["bfloat16", "float64"])
@pytest.mark.parametrize("make", [optaxaccel.pal, optaxaccel.scale_by_parabola])
def test_the_state_keeps_its_types_inside_cond(make, value_dtype):
    with jax.enable_x64(True):
        w, tx = jnp.ones(2, jnp.float32), make()
        state = tx.init(w)

        def move():
            value = convex(w).astype(value_dtype)
            return tx.update(-w, state, w, value=value, grad=2 * w, value_fn=convex)

        updates, after = jax.lax.cond(True, move, lambda: (jnp.zeros_like(w), state))
    assert updates.dtype == jnp.float32
    assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, state)


# --- Line profile -----------------------------------------------------------------------------------------------------


def test_line_profile_is_the_loss_on_the_unit_direction():
    params = {"a": jnp.array([1.0, 2.0]), "b": jnp.float32(-1.0)}
    direction = {"a": jnp.array([0.0, 3.0]), "b": jnp.float32(4.0)}
    distances = np.linspace(-2.0, 2.0, 6).reshape(2, 3)

    def loss(p, scale):
        return scale * (jnp.sum(p["a"] ** 2) + jnp.sin(p["b"]))

    got = optaxaccel.line_profile(loss, params, direction, distances, scale=3.0)
    want = 3.0 * (1.0 + (2.0 + 0.6 * distances) ** 2 + np.sin(-1.0 + 0.8 * distances))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got.shape == (2, 3)
    assert optaxaccel.line_profile(loss, params, direction, 0.5, scale=1.0).shape == ()
    still = optaxaccel.line_profile(loss, params, jax.tree.map(jnp.zeros_like, params), distances, scale=3.0)
    np.testing.assert_allclose(still, float(loss(params, 3.0)), rtol=1e-6)
    with pytest.raises(ValueError, match="value_fn needs scale"):
        optaxaccel.line_profile(loss, params, direction, distances)


def test_line_profile_has_its_minimum_where_pal_steps():
    w, tx = jnp.array([1.0, -2.0]), optaxaccel.pal(loose_approximation=1.0, max_step_size=10.0)
    loss = lambda p: jnp.sum(jnp.array([1.0, 3.0]) * p**2)  # noqa: E731
    _, state = tx.update(jax.grad(loss)(w), tx.init(w), w, value=loss(w), value_fn=loss)
    distances = state.step_size + jnp.array([-0.1, 0.0, 0.1])
    before, there, after = optaxaccel.line_profile(loss, w, -state.momentum, distances)
    assert float(there) < min(float(before), float(after))
    assert float(before) == pytest.approx(float(after), rel=1e-3)
