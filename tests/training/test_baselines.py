"""Baselines that optax offers in parts, as a run names them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

import optaxaccel
from optaxaccel.training.many.trajectory import follow
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.baselines import backtracking_sgd, parabola_adam, parabola_indian, schedule_free_sgd

START = np.array([3.0, -1.0])


def valley(x):
    return 0.5 * x[0] ** 2 + 50.0 * x[1] ** 2


def test_backtracking_never_rises_and_keeps_below_its_largest_step():
    path = follow(lambda: backtracking_sgd(0.5), valley, START, 200)
    assert (np.diff(path.values) <= 0).all()
    assert path.values[-1] < 1e-2 * path.values[0]
    steps = np.linalg.norm(np.diff(path.points, axis=0), axis=1)
    gradients = np.linalg.norm(path.points * np.array([1.0, 100.0]), axis=1)[:-1]
    assert (steps <= 0.5 * gradients * (1 + 1e-12)).all()


def test_schedule_free_is_evaluated_at_its_average():
    tx, params = schedule_free_sgd(0.01), jnp.asarray(START)
    state = tx.init(params)
    for _ in range(5):
        updates, state = tx.update(jnp.array([1.0, 100.0]) * params, state, params, value=1.0, value_fn=valley)
        params = optax.apply_updates(params, updates)
    average = optaxaccel.eval_params(state, params)
    np.testing.assert_array_equal(average, contrib.schedule_free_eval_params(state.inner, params))
    assert not np.allclose(average, params)


@pytest.mark.parametrize("make", [parabola_adam, parabola_indian])
def test_the_parabola_finds_the_minimum_along_the_direction_of_another_method(make):
    """Of a quadratic, in one step, without loose approximation: the gradient there is perpendicular to the line."""
    params = jnp.asarray(START)
    tx = make(loose_approximation=1.0, max_step_size=10.0)
    value, grad = jax.value_and_grad(valley)(params)
    updates, _ = tx.update(grad, tx.init(params), params, value=value, grad=grad, value_fn=valley)
    assert float(jnp.linalg.norm(updates)) > 0.1
    slope = jnp.vdot(jax.grad(valley)(params + updates), updates) / jnp.vdot(grad, updates)
    np.testing.assert_allclose(slope, 0.0, atol=1e-5)


def test_a_run_names_them_and_a_misspelt_name_is_refused():
    assert optimizer.find("baseline.schedule_free_sgd").make is schedule_free_sgd
    assert optimizer.find("baseline.parabola_adam").cost.values == 1.0
    with pytest.raises(ValueError, match="backtracking_sgd"):
        optimizer.find("baseline.backtraking_sgd")
    with pytest.raises(ValueError, match=r"Did you mean 'adamw'\?") as raised:
        optimizer.find("optax.adamww")
    assert len(str(raised.value)) < 400  # optax has three hundred names
