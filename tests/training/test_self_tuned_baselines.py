"""NGN, PoNoS and SaLSA against their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optaxaccel.methods.states import line_calls
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.self_tuned_baselines import ngn, ponos, salsa

SCALE = np.array([1.0, 30.0, 0.2])
START = np.array([3.0, -1.0, 2.0])
STEPS = 25


def bowl(xp, x):
    return xp.sum(SCALE * x**2) + xp.sum(x**4) / 10


def slope(x):
    return 2 * SCALE * x + 0.4 * x**3


def ours(tx, steps=STEPS):
    with jax.enable_x64(True):
        x = jnp.asarray(START)
        state, rows, trials = tx.init(x), [START], []

        @jax.jit
        def step(x, state):
            value, grad = jax.value_and_grad(lambda x: bowl(jnp, x))(x)
            updates, new = tx.update(grad, state, x, value=value, grad=grad, value_fn=lambda x: bowl(jnp, x))
            return optax.apply_updates(x, updates), new, line_calls(new, state)

        for _ in range(steps):
            x, state, calls = step(x, state)
            rows.append(np.asarray(x))
            trials.append(calls)
    return np.array(rows), trials


def test_ngn_follows_its_rate():
    x, rows = START, [START]
    for _ in range(STEPS):
        g, f = slope(x), bowl(np, x)
        x = x - 0.7 / (1 + 0.7 / (2 * f) * g @ g) * g
        rows.append(x)
    np.testing.assert_allclose(ours(ngn(0.7))[0], rows, rtol=1e-10)


def test_ponos_follows_its_algorithm_and_tells_its_trials():
    x, rows, trials = START, [START], []
    weight, reference, cuts = 0.0, 0.0, 0
    for _ in range(STEPS):
        g, f = slope(x), bowl(np, x)
        square = g @ g
        reference, weight = (weight * reference + f) / (weight + 1), weight + 1
        rate = np.clip(f / (0.1 * square + 1e-8) * 0.5**cuts, 1e-6, 10.0)
        tried = 1
        while bowl(np, x - rate * g) > max(reference, f) - 0.5 * rate * square:
            rate, tried = 0.5 * rate, tried + 1
        cuts = max(cuts + (tried - 1) - 1, 0)
        x = x - rate * g
        rows.append(x)
        trials.append(tried)
    got, calls = ours(ponos())
    np.testing.assert_allclose(got, rows, rtol=1e-9)
    assert [int(values) for values, _ in calls] == trials
    assert max(trials) > 1


def test_salsa_follows_its_algorithm():
    x, rows, trials = START, [START], []
    m, v, fell_mean, slope_mean, rate = 0.0, 0.0, 0.0, 0.0, 1.0
    for t in range(STEPS):
        g, f = slope(x), bowl(np, x)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        d = m / (1 - 0.9 ** (t + 2)) / (np.sqrt(v / (1 - 0.999 ** (t + 2))) + 1e-8)
        slope_mean = 0.9 * slope_mean + 0.1 * (g @ d)
        rate, tried = 1.1 * rate, 1
        while 0.9 * fell_mean + 0.1 * (f - bowl(np, x - rate * d)) < rate * 0.5 * slope_mean:
            rate, tried = 0.8 * rate, tried + 1
        fell_mean = 0.9 * fell_mean + 0.1 * (f - bowl(np, x - rate * d))
        x = x - rate * d
        rows.append(x)
        trials.append(tried)
    got, calls = ours(salsa())
    np.testing.assert_allclose(got, rows, rtol=1e-8)
    assert [int(values) for values, _ in calls] == trials
    assert max(trials) > 1


@pytest.mark.parametrize("make", [ngn, ponos, salsa])
def test_a_loss_that_is_not_finite_or_zero_moves_nothing(make):
    tx, x = make(), jnp.array([1.0, 2.0])
    _, state = tx.update(x, tx.init(x), x, value=jnp.float32(2.5), value_fn=lambda x: 0.5 * jnp.sum(x**2))
    for value, gradient in ((jnp.nan, x), (0.0, 0.0 * x)):
        updates, after = tx.update(gradient, state, x, value=jnp.float32(value), value_fn=lambda x: 0.5 * jnp.sum(x**2))
        np.testing.assert_array_equal(updates, 0.0)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


@pytest.mark.parametrize("name", ["ngn", "ponos", "salsa"])
def test_a_run_names_them(name):
    assert optimizer.find(f"baseline.{name}").name == f"baseline.{name}"
