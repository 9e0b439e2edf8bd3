"""Interpolatron: its cost, a loss that is not finite, bad arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilation import SHIPPED

import optaxaccel


@pytest.mark.parametrize(
    ("value", "coefficients"), [(None, (0.1, 0.9)), (1.0, (0.1, 0.9)), (1.0, (0.4, 0.1, 0.2, 0.1, 0.2))], ids=str
)
def test_a_donated_step_needs_no_second_buffer(value, coefficients):
    leaf = 64 * 1024
    params = {f"{i}": jnp.ones(leaf + i) for i in range(10)}
    tx = optaxaccel.interpolatron(0.1, coefficients=coefficients)

    def step(params, state, grads):
        loss = None if value is None else value * jnp.sum(grads["0"])
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, tx.init(params), params).compile(SHIPPED)
    assert compiled.memory_analysis().temp_size_in_bytes < leaf


@pytest.mark.parametrize("history_init", ["copy", "zero"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_loss_leaves_no_trace(bad, history_init):
    tx = optaxaccel.interpolatron(0.1, coefficients=(0.1, 0.3, 0.6), history_init=history_init)

    def run(values):
        params = jnp.array([1.0, -2.0])
        state = tx.init(params)
        for value in values:
            grads = 3.0 * params if np.isfinite(value) else jnp.full(2, jnp.nan)
            updates, state = tx.update(grads, state, params, value=jnp.array(value))
            params = params + updates
        return params, state

    params, state = run([bad, 1.0, 1.0, bad, 1.0, 1.0, bad])
    want, undisturbed = run([1.0, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(params, want)
    jax.tree.map(np.testing.assert_array_equal, state[2:], undisturbed[2:])
    assert (int(state.count), int(state.notfinite_count)) == (4, 3)
    assert (int(undisturbed.count), int(undisturbed.notfinite_count)) == (4, 0)


def test_traced_coefficients_are_left_alone():
    params = jnp.array([1.0, 2.0])

    @jax.jit
    def update(coefficients):
        tx = optaxaccel.interpolatron(0.1, coefficients=coefficients, history_init="zero")
        return tx.update(params, tx.init(params), params)[0]

    np.testing.assert_allclose(update(jnp.array([0.25, 0.75])), -0.025 * params, rtol=1e-6)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"learning_rate": -0.1}, "learning_rate=-0.1"),
        ({"coefficients": (0.5, 0.6)}, "sum to 1.1"),
        ({"coefficients": (-0.1, 1.1)}, r"coefficients\[0\]=-0.1"),
        ({"coefficients": ()}, "no sequence"),
        ({"coefficients": 0.5}, "no sequence"),
        ({"coefficients": (np.nan, 1.0)}, r"coefficients\[0\]=nan"),
        ({"history_init": "ones"}, "history_init='ones'"),
        ({"history_init": ("normal", -1.0, 0)}, "history_init scale=-1.0"),
        ({"history_init": ("normal", 1.0, 0.5)}, "history_init seed=0.5"),
        ({"history_init": ([], [])}, "no list of 1 trees"),
    ],
)
def test_bad_arguments_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        optaxaccel.interpolatron(**{"learning_rate": 0.1} | bad)


@pytest.mark.parametrize(
    ("tree", "what"), [({"w": jnp.ones(3)}, "leaf 0 of "), ({}, "")], ids=["other shape", "leaf missing"]
)
def test_a_history_unlike_the_parameters_is_refused(tree, what):
    tx = optaxaccel.interpolatron(0.1, history_init=([tree], [tree]))
    with pytest.raises(ValueError, match=f"{what}the tree 1 steps before the first"):
        tx.init({"w": jnp.ones(2)})


def test_update_without_params_says_what_it_needs():
    tx = optaxaccel.interpolatron(0.1)
    with pytest.raises(ValueError, match="params"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
