"""An optimiser without tuning against its twin; what it evaluates, decays, costs, and refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
from hindsight_twins import whole_twin
from noisy_bowl import train

import optaxaccel


def bowl(w):
    return jnp.sum(w**2)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("problem", [problems.VALLEY, problems.MLP], ids=str)
def test_tuning_free_follows_its_formulas(problem, decay):
    run = problems.run_jax(optaxaccel.tuning_free(weight_decay=decay), problem, 60)
    problems.assert_follows(run.params, lambda x: whole_twin(problem, x, 60, decay)[0], problem)
    problems.assert_follows(run.evaluated, lambda x: whole_twin(problem, x, 60, decay)[1], problem)
    assert np.any(run.evaluated[1:] != run.params[1:])


def test_its_direction_is_that_of_optax():
    """At a rate that never moves, since no measurement is due."""
    fixed_rate = optaxaccel.tuning_free(initial_rate=0.03, every=10**6)
    theirs = optax.nadam(0.03, b1=0.95, b2=0.99)

    @functools.partial(jax.jit, static_argnums=0)
    def updates(tx, gradients):
        def step(state, g):
            u, state = tx.update(g, state, jnp.zeros(3), value=1.0, value_fn=lambda w: 1.0 + 0.0 * jnp.sum(w))
            return state, u

        return jax.lax.scan(step, tx.init(jnp.zeros(3)), gradients)[1]

    gradients = jnp.asarray(np.random.default_rng(0).normal(size=(30, 3)), jnp.float32)
    fixed_rate = optax.with_extra_args_support(fixed_rate)
    np.testing.assert_allclose(
        updates(fixed_rate, gradients), updates(optax.with_extra_args_support(theirs), gradients), rtol=1e-5
    )


def test_evaluates_at_the_average_in_noise_and_at_the_point_without():
    tx = optaxaccel.tuning_free()
    w, states = train(tx, 300, noise=3.0)
    state = jax.tree.map(lambda s: s[-1], states)
    shown = optaxaccel.eval_params(state, w)
    assert state.lead < 0
    assert jnp.linalg.norm(shown) < jnp.linalg.norm(w)
    w, states = train(tx, 60, bend=0.0)  # still on its way, so that every average is behind
    state = jax.tree.map(lambda s: s[-1], states)
    assert state.lead > 0
    np.testing.assert_array_equal(optaxaccel.eval_params(state, w), w)


def test_weight_decay_reaches_what_the_mask_names():
    params = {"a": jnp.ones(2), "b": {"c": jnp.ones(2), "d": jnp.ones(2)}}
    zeros = jax.tree.map(jnp.zeros_like, params)
    for mask in ({"a": False, "b": True}, lambda p: {"a": False, "b": jax.tree.map(lambda _: True, p["b"])}):
        tx = optaxaccel.tuning_free(weight_decay=0.5, mask=mask, initial_rate=0.01)
        updates, _ = tx.update(zeros, tx.init(params), params, value=1.0, value_fn=lambda p: 1.0)
        np.testing.assert_array_equal(updates["a"], 0.0)
        np.testing.assert_allclose(updates["b"]["c"], -0.01 * 0.5, rtol=1e-6)
        np.testing.assert_allclose(updates["b"]["d"], -0.01 * 0.5, rtol=1e-6)


# --- Programs and wrappers --------------------------------------------------------------------------------------------


def test_the_cheap_variant_evaluates_less_often():
    calls = []

    @jax.jit
    def step(w, state):
        def loss(w):
            jax.debug.callback(lambda _: calls.append(1), w)
            return bowl(w)

        value, grad = jax.value_and_grad(bowl)(w)
        return optaxaccel.tuning_free(every=5).update(grad, state, w, value=value, value_fn=loss)

    w = jnp.array([3.0, -4.0])
    state = optaxaccel.tuning_free(every=5).init(w)
    for _ in range(60):
        updates, state = step(w, state)
        w = w + updates
    jax.effects_barrier()
    assert len(calls) == 20 + 40 // 5 + 1  # in step 35 the average, too


def test_each_eighth_step_evaluates_the_average_too():
    tx, calls = optaxaccel.tuning_free(), []

    @jax.jit
    def step(w, state):
        def loss(w):
            jax.debug.callback(lambda _: calls.append(1), w)
            return bowl(w)

        value, grad = jax.value_and_grad(bowl)(w)
        return tx.update(grad, state, w, value=value, value_fn=loss)

    w = jnp.array([3.0, -4.0])
    state = tx.init(w)
    for _ in range(100):
        updates, state = step(w, state)
        w = w + updates
    jax.effects_barrier()
    assert len(calls) == 100 + 80 // 8
    assert optaxaccel.METHODS["tuning_free"].cost.values == 1 + 1 / 8


def test_part_of_the_parameters():
    """Behind `optaxaccel.masked` the loss is that of its own leaves, and so are slope and curvature."""
    tx = optaxaccel.masked(optaxaccel.tuning_free(), {"a": True, "b": False})
    params = {"a": jnp.array([3.0, -4.0]), "b": jnp.array([1.0])}
    alone, state, own = optaxaccel.tuning_free(), tx.init(params), None
    part = params["a"]

    def loss(p):
        return jnp.sum(p["a"] ** 2) * (1.0 + p["b"][0] ** 2)

    for _ in range(6):
        value, grad = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        params = {**params, "a": params["a"] + updates["a"]}
        own = alone.init(part) if own is None else own
        value, grad = jax.value_and_grad(lambda a: 2.0 * bowl(a))(part)
        updates, own = alone.update(grad, own, part, value=value, value_fn=lambda a: 2.0 * bowl(a))
        part = part + updates
    np.testing.assert_allclose(params["a"], part, rtol=1e-6)
    np.testing.assert_allclose(optaxaccel.eval_params(state, params)["a"], optaxaccel.eval_params(own, part), rtol=1e-6)


def test_parameters_in_bfloat16_train_and_average_in_float32():
    w = jnp.asarray([3.0, -4.0], jnp.bfloat16)
    tx = optaxaccel.tuning_free()
    state = tx.init(w)
    assert state.average.dtype == state.mean.dtype == jnp.float32

    def loss(w):
        return jnp.sum(w.astype(jnp.float32) ** 2)

    @jax.jit
    def step(w, state):
        value, grad = jax.value_and_grad(loss)(w)
        updates, state = tx.update(grad, state, w, value=value, value_fn=loss)
        return optax.apply_updates(w, updates), state

    for _ in range(150):
        w, state = step(w, state)
    shown = optaxaccel.eval_params(state, w)
    assert shown.dtype == jnp.bfloat16
    assert loss(shown) < 1e-2


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial_rate": 0.0},
        {"relaxation": -1.0},
        {"every": 0},
        {"every": 1.5},
        {"weight_decay": -0.1},
        {"b1": 1.0},
        {"b2": -0.1},
        {"eps": -1.0},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}="):
        optaxaccel.tuning_free(**wrong)
