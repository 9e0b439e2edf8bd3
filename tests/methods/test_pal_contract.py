"""PAL: what it is handed and refuses, and the programs it compiles to."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilation import SHIPPED

import optaxaccel
from optaxaccel.methods._parabola import SLOPES

MU, MAX, LAMBDA = 0.1, 1.0, 0.6


def parabola(w):
    return jnp.sum(jnp.arange(1.0, 4.0) * w**2)


def warm(tx, w, steps=2):
    """Parameters and state after a few good steps."""
    state = tx.init(w)
    for _ in range(steps):
        value, grad = jax.value_and_grad(parabola)(w)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=parabola)
        w = w + updates
    return w, state


def batch_loss(w, batch, *, weight=1.0):
    return weight * jnp.mean((batch @ w - 1.0) ** 2)


BATCH = jnp.array([[1.0, 2.0, 0.5], [0.0, 1.0, -1.0]])


@pytest.mark.parametrize(
    ("value_fn", "data"),
    [
        (batch_loss, {"batch": BATCH, "unused": 3}),
        (functools.partial(batch_loss, batch=BATCH), {}),
        (lambda w: batch_loss(w, BATCH), {"batch": "ignored"}),
        (lambda w, **data: batch_loss(w, data["batch"]), {"batch": BATCH}),
    ],
    ids=["data", "partial", "closure", "keywords"],
)
def test_data_reach_the_loss(value_fn, data):
    w, tx = jnp.array([1.0, -2.0, 0.5]), optaxaccel.pal()
    value, grad = jax.value_and_grad(batch_loss)(w, BATCH)
    want, _ = tx.update(grad, tx.init(w), w, value=value, value_fn=lambda p: batch_loss(p, BATCH))
    got, _ = tx.update(grad, tx.init(w), w, value=value, value_fn=value_fn, **data)
    np.testing.assert_array_equal(got, want)


def test_a_missing_value_is_evaluated_once():
    w, tx = jnp.array([1.0, -2.0, 0.5]), optaxaccel.pal()
    calls = []

    def counted(p):
        calls.append(p)
        return parabola(p)

    value, grad = jax.value_and_grad(parabola)(w)
    want, _ = tx.update(grad, tx.init(w), w, value=value, value_fn=counted)
    assert len(calls) == 1
    got, _ = tx.update(grad, tx.init(w), w, value_fn=counted)
    assert len(calls) == 3
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("make", [optaxaccel.pal, optaxaccel.scale_by_parabola])
def test_errors_show_the_right_call(make):
    tx, w = make(), jnp.ones(2)
    state = tx.init(w)
    with pytest.raises(ValueError, match=r"params.*tx.update\(grads, state, params"):
        tx.update(w, state, value=1.0, grad=w, value_fn=parabola)
    with pytest.raises(ValueError, match="value_fn=loss_of_params"):
        tx.update(w, state, w, value=1.0, grad=w)
    with pytest.raises(ValueError, match=r"value has shape \(2,\)"):
        tx.update(w, state, w, value=jnp.ones(2), grad=w, value_fn=parabola)


@pytest.mark.parametrize("make", [optaxaccel.pal, optaxaccel.scale_by_parabola])
def test_a_mask_that_hides_parameters_is_refused(make):
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}

    def loss(p):
        return jnp.sum(p["a"] ** 2) + jnp.sum(p["b"] ** 2)

    masked = optax.masked(make(), {"a": True, "b": False})
    parts = optax.multi_transform({"x": make(), "y": optax.sgd(0.1)}, {"a": "x", "b": "y"})
    for tx in (masked, parts):
        with pytest.raises(TypeError, match=r"evaluates the loss.*Use optaxaccel.masked"):
            tx.update(params, tx.init(params), params, value=loss(params), grad=params, value_fn=loss)


def test_a_mask_in_front_freezes():
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}

    def loss(p):
        return jnp.sum(p["a"] ** 2) + jnp.sum(p["b"] ** 2)

    frozen = optax.masked(optax.set_to_zero(), {"a": False, "b": True})
    tx = optax.chain(frozen, optaxaccel.pal(loose_approximation=1.0, max_step_size=10.0))
    grad = jax.grad(loss)(params)
    updates, _ = tx.update(grad, tx.init(params), params, value=loss(params), value_fn=loss)
    np.testing.assert_array_equal(updates["b"], 0.0)
    np.testing.assert_allclose(updates["a"], -params["a"], rtol=1e-4)


@pytest.mark.parametrize("name", ["measuring_step_size", "max_step_size", "loose_approximation", "momentum"])
def test_hyperparameters_are_checked(name):
    for value in (-0.1, "0.1", float("nan")):
        with pytest.raises(ValueError, match=name):
            optaxaccel.pal(**{name: value})
    optaxaccel.pal(**{name: jnp.array(0.3)})
    with pytest.raises(ValueError, match="direction_norm"):
        optaxaccel.pal(slope="excat")


@pytest.mark.parametrize("settings", [{"rate": 0.0}, {"rate": -1.0}, {"transition_steps": 0}])
def test_the_decay_is_checked(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        optaxaccel.pal_decay_schedule(0.1, **({"rate": 0.9, "transition_steps": 10} | settings))


# --- Programs ---------------------------------------------------------------------------------------------------------


def tree_of_ten(size=64):
    return {f"leaf{i}": jnp.full((size, size), 1.0 + i, jnp.float32) for i in range(10)}


def compiled_step(tx, loss):
    params = tree_of_ten()

    def step(params, state, grads, value):
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss)
        return optax.apply_updates(params, updates), state

    jitted = jax.jit(step, donate_argnums=(0, 1))
    return jitted.lower(params, tx.init(params), params, jnp.float32(1.0)).compile(SHIPPED)


def squares(params):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("make", [optaxaccel.pal, optaxaccel.scale_by_parabola])
def test_the_update_needs_no_temporary_memory(make, slope):
    leaf = 64 * 64 * 4
    alone = compiled_step(make(slope=slope), lambda p: jnp.float32(1.0))
    assert alone.memory_analysis().temp_size_in_bytes < leaf / 4
    measuring = compiled_step(make(slope=slope), squares)  # one leaf of the measuring point at a time
    assert measuring.memory_analysis().temp_size_in_bytes < 1.5 * leaf
    for program in (alone, measuring):
        assert not re.findall(r"f32\[64,64\]\S* copy\(", program.as_text())


def test_the_second_loss_is_straight_line_code():
    text = compiled_step(optaxaccel.pal(), squares).as_text()
    assert not re.findall(r" (while|conditional)\(", text)


def test_one_trace_with_donation():
    tx, traces = optaxaccel.pal(), []
    params = tree_of_ten(4)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        traces.append(1)
        value, grads = jax.value_and_grad(squares)(params)
        updates, state = tx.update(grads, state, params, value=value, value_fn=squares)
        return optax.apply_updates(params, updates), state

    first, state = squares(params), tx.init(params)
    for _ in range(5):
        params, state = step(params, state)
    assert len(traces) == 1
    assert int(state.count) == 5
    assert float(squares(params)) < 0.9 * float(first)


def test_seeds_and_hyperparameters_vectorise():
    starts = jax.random.normal(jax.random.key(0), (3, 3))
    sizes = jnp.array([0.01, 0.1, 0.3])

    def run(w, mu):
        tx = optaxaccel.pal(measuring_step_size=mu)

        def body(carry, _):
            w, state = carry
            value, grad = jax.value_and_grad(parabola)(w)
            updates, state = tx.update(grad, state, w, value=value, value_fn=parabola)
            return (w + updates, state), state.step_size

        return jax.lax.scan(body, (w, tx.init(w)), length=5)[1]

    together = jax.vmap(run)(starts, sizes)
    alone = jnp.stack([run(w, mu) for w, mu in zip(starts, sizes, strict=True)])
    np.testing.assert_allclose(together, alone, rtol=2e-3)
    assert len(np.unique(np.asarray(together)[:, -1])) == 3
