import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel import models
from optaxaccel.training.steps.loss import Batch, Options, objective
from optaxaccel.training.steps.state import init_state
from optaxaccel.training.steps.step import train_step


def linear_model():
    def init(key, x):
        return {"w": jax.random.normal(key, (4, 3))}, {"count": jnp.zeros(())}

    def apply(params, net_state, x, *, key=None, train=False):
        noise = jax.random.normal(key, x.shape) if train else 0.0
        return (x + noise) @ params["w"], {"count": net_state["count"] + train}

    return models.Model(init, apply)


def quiet_model():
    """Logistic regression without noise, so that parts and devices see the same function."""

    def apply(params, net_state, x, *, key=None, train=False):
        return x @ params["w"], net_state

    return models.Model(lambda key, x: ({"w": 0.1 * jax.random.normal(key, (4, 3))}, {}), apply)


def examples(n=8):
    rng = np.random.default_rng(0)
    return Batch(jnp.asarray(rng.normal(size=(n, 4)), jnp.float32), jnp.asarray(rng.integers(0, 3, n)))


def test_the_step_passes_value_grad_and_value_fn_and_commits_the_net_state_once():
    model, batch, seen = linear_model(), Batch(jnp.arange(8.0).reshape(2, 4), jnp.array([0, 2])), {}

    def update(updates, state, params, *, value, grad, value_fn, **extra):
        seen.update(value=value, at_params=value_fn(params), twice=value_fn(params))
        seen.update(grad=grad["w"], updates=updates["w"])
        return jax.tree.map(lambda g: -0.1 * g, updates), state

    tx = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    state = init_state(model, tx, 0, batch.x[:1])
    new, metrics = train_step(model, tx, state, batch, Options(shrinkage=0.5))
    assert float(new.net_state["count"]) == 1.0
    assert float(seen["value"]) == float(seen["at_params"]) == float(seen["twice"]) == float(metrics["loss"])
    np.testing.assert_array_equal(seen["grad"], seen["updates"])
    np.testing.assert_allclose(new.params["w"], 0.5 * state.params["w"] - 0.1 * seen["grad"], rtol=1e-6)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), 0)
    loss, _ = objective(model, state.params, state.net_state, batch, key=key, penalty=None)
    assert float(loss) == pytest.approx(float(metrics["loss"]), rel=1e-6)


def test_decay_in_the_loss_is_half_the_squared_norm():
    model, batch, key = linear_model(), Batch(jnp.ones((1, 4)), jnp.array([0])), jax.random.key(0)
    params = {"w": jnp.full((4, 3), 2.0)}
    plain, _ = objective(model, params, {"count": 0.0}, batch, key=key, penalty=None)
    decayed, _ = objective(model, params, {"count": 0.0}, batch, key=key, penalty=0.1)
    assert float(decayed - plain) == pytest.approx(0.05 * 12 * 4.0, rel=1e-5)


@pytest.mark.parametrize(
    "options", [Options(micro_batches=4), Options(micro_batches=2, penalty=0.1), Options(remat=True)]
)
def test_parts_and_recomputation_change_nothing(options):
    with jax.enable_x64(True):
        model, tx, ends = quiet_model(), optaxaccel.pal(), []
        batch = examples()._replace(x=jnp.asarray(examples().x, jnp.float64))
        for one in (options._replace(micro_batches=1, remat=False), options):
            state = init_state(model, tx, 0, batch.x[:1])
            params = jax.tree.map(lambda p: p.astype(jnp.float64), state.params)
            state = state.replace(params=params, opt_state=tx.init(params))
            step = jax.jit(lambda s, one=one: train_step(model, tx, s, batch, one))
            for _ in range(3):
                state, metrics = step(state)
            ends.append((state.params, metrics))
        for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def test_a_garbage_batch_under_skip_leaves_everything_but_the_step_as_it_was():
    model, batch = linear_model(), Batch(jnp.full((2, 4), jnp.nan), jnp.array([0, 2]))
    tx = optax.adam(0.1)
    state = init_state(model, tx, 0, batch.x[:1])
    skipped, metrics = train_step(model, tx, state, batch, Options(skip=True))
    assert not np.isfinite(float(metrics["loss"]))
    assert int(skipped.step) == 1
    for a, b in zip(jax.tree.leaves(skipped.replace(step=state.step)), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)
    moved, _ = train_step(model, tx, state, batch)
    assert not np.isfinite(moved.params["w"]).all()


def test_under_a_mapped_axis_the_loss_its_gradient_and_its_hessian_are_global():
    model, batch, seen = quiet_model(), examples(), {}

    def update(updates, state, params, *, value, grad, value_fn, **extra):
        v = jax.tree.map(jnp.ones_like, params)
        product = jax.jvp(jax.grad(value_fn), (params,), (v,))[1]
        seen["out"] = (value, value_fn(params), grad, jax.grad(value_fn)(params), product)
        return jax.tree.map(lambda g: -g, updates), seen["out"]

    tx = optax.GradientTransformationExtraArgs(lambda params: (), update)
    state = init_state(model, tx, 0, batch.x[:1])
    _, whole = (s := train_step(model, tx, state, batch)[0]).params, s.opt_state
    parts = jax.tree.map(lambda a: a.reshape(4, 2, *a.shape[1:]), batch)
    mapped = jax.pmap(
        lambda part: train_step(model, tx, state, part, Options(axis_name="data"))[0].opt_state, axis_name="data"
    )(parts)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(mapped), strict=True):
        for device in range(4):
            np.testing.assert_allclose(a, b[device], rtol=1e-5, atol=1e-7)
