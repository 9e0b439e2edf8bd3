"""`every` and `safeguard` of Anderson's acceleration, against a NumPy twin written from their description."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel

START = np.array([-1.2, 1.0])


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 20 * (x[1] - x[0] ** 2) ** 2


def slope(x):
    return np.array([-2 * (1 - x[0]) - 80 * x[0] * (x[1] - x[0] ** 2), 40 * (x[1] - x[0] ** 2)])


CURVATURE = np.logspace(0, -3, 10)


def quartic(x):
    return 0.5 * (CURVATURE * (x - 1) ** 2).sum() + 0.01 * ((x - 1) ** 4).sum()


def quartic_slope(x):
    return CURVATURE * (x - 1) + 0.04 * (x - 1) ** 3


def means(gradients, ridge):
    gram = np.array(gradients) @ np.array(gradients).T
    z = np.linalg.solve(gram + ridge * np.linalg.norm(gram, 2) * np.eye(len(gram)), np.ones(len(gram)))
    return z / z.sum()


def twin(fun, gradient, x, steps, rate, history, ridge, every, safeguard):
    """Return the points, the losses of those taken, and how often a mean was taken back or not tried."""
    points, taken, pairs, jump, halved, count, rejected, backward = [x], [], [], False, 0, 0, 0, 0
    for _ in range(steps):
        value, g = fun(x), gradient(x)
        if safeguard and jump and not value <= taken[-1]:
            rejected, last = rejected + 1, pairs[0]
            if halved < 3:
                halved, x = halved + 1, last[0] + (x - last[0]) / 2
            else:
                jump, x = False, last[0] - rate * last[1]
        else:
            taken.append(value)
            pairs = [(x, g), *pairs][:history]
            halved, jump = 0, False
            ahead = x - rate * g
            if count % every == every - 1 and len(pairs) > 1:
                weights = means([g for _, g in pairs], ridge)
                mean = sum(w * (x - rate * g) for w, (x, g) in zip(weights, pairs, strict=True))
                if not safeguard or (mean - x) @ g < 0:
                    ahead, jump = mean, True
                else:
                    backward, pairs = backward + 1, pairs[:1]
            x, count = ahead, count + 1
        points.append(x)
    return np.array(points), taken, rejected, backward


def run(steps, fun=rosenbrock, x=START, **options):
    with jax.enable_x64(True):
        tx, x = optaxaccel.anderson(**options), jnp.asarray(x)
        state, points = tx.init(x), [np.asarray(x)]

        @jax.jit
        def step(x, state):
            value, g = jax.value_and_grad(fun)(x)
            updates, state = tx.update(g, state, x, value=value)
            return optax.apply_updates(x, updates), state

        for _ in range(steps):
            x, state = step(x, state)
            points.append(np.asarray(x))
        return np.array(points), state


@pytest.mark.parametrize(("every", "safeguard"), [(1, True), (2, True), (2, False), (3, False)])
def test_follows_its_description(every, safeguard):
    options = {"history": 3, "regularization": 1e-10, "every": every, "safeguard": safeguard}
    start = np.full(10, -2.0)
    want, _, rejected, backward = twin(quartic, quartic_slope, start, 60, 0.5, 3, 1e-10, every, safeguard)
    got, state = run(60, quartic, start, learning_rate=0.5, **options)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert (state.guard is not None) == safeguard
    if safeguard:
        assert (int(state.guard.rejected), int(state.guard.backward)) == (rejected, backward)
    if (every, safeguard) == (1, True):
        assert rejected >= 3
        assert backward >= 1


def test_a_guarded_run_never_rises_and_arrives():
    """Without a guard this function rises and its minimum is missed; gradient descent is not there by far."""
    options = {"learning_rate": 5e-3, "history": 5, "every": 2}
    points, state = run(300, safeguard=True, **options)
    np.testing.assert_allclose(points[-1], 1.0, atol=1e-3)
    assert int(state.guard.rejected) > 0
    assert float(state.guard.value) < 1e-8
    unguarded, _ = run(300, **options)
    assert max(map(rosenbrock, unguarded)) > 10 * rosenbrock(START)
    x = START
    for _ in range(300):
        x = x - 5e-3 * slope(x)
    assert rosenbrock(x) > 1e-2


def test_a_mean_without_a_loss_is_taken_back():
    def walled(x):
        return jnp.where(jnp.all(x > 0.5), jnp.sum((x - 0.6) ** 2 * jnp.array([1.0, 0.05])), jnp.nan)

    points, state = run(60, walled, np.array([3.0, 0.9]), learning_rate=0.4, history=3, every=2, safeguard=True)
    assert np.all(np.isfinite(points))
    assert int(state.notfinite_count) == 0
    np.testing.assert_allclose(points[-1], 0.6, atol=1e-3)


def test_the_safeguard_needs_the_loss_and_a_bool():
    tx = optaxaccel.anderson(0.1, safeguard=True)
    with pytest.raises(ValueError, match="value=None"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))
    with pytest.raises(ValueError, match=r"safeguard=2\.0"):
        optaxaccel.anderson(0.1, safeguard=2.0)
    with pytest.raises(ValueError, match="every=0"):
        optaxaccel.anderson(0.1, every=0)
