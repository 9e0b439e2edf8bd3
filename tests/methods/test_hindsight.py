"""Hindsight against twins written from its formulas, and what it does where they are silent."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
from hindsight_twins import NoisyBowl, adam, indian, momentum, plain, twin
from noisy_bowl import train

import optaxaccel

INDIAN = optax.chain(optaxaccel.indian(0.5, alpha=0.5, beta=0.1), optaxaccel.scale_by_hindsight(flip_sign=False))
ALONG = {
    "itself": (optaxaccel.scale_by_hindsight(), plain, {}),
    "momentum": (optax.chain(optax.trace(0.9), optaxaccel.scale_by_hindsight()), momentum, {}),
    "adam": (optax.chain(optax.scale_by_adam(), optaxaccel.scale_by_hindsight()), adam, {}),
    "adam, every third": (
        optax.chain(optax.scale_by_adam(), optaxaccel.scale_by_hindsight(every=3, initial_rate=0.1, relaxation=1.0)),
        adam,
        {"every": 3, "rate": 0.1, "kappa": 1.0},
    ),
    "indian": (INDIAN, indian, {}),
}


@pytest.mark.parametrize("along", ALONG)
@pytest.mark.parametrize("problem", [problems.VALLEY, problems.MLP], ids=str)
def test_follows_its_formulas(problem, along):
    tx, direction, settings = ALONG[along]
    run = problems.run_jax(tx, problem, 40)
    problems.assert_follows(run.params, lambda x: twin(problem, x, direction(), 40, **settings), problem)
    assert problem.value(run.params[-1]) < problem.value(problem.x0)


@pytest.mark.parametrize("noise", [0.03, 0.1])
def test_follows_its_formulas_where_batches_differ(noise):
    """Windows of five steps at the start, and longer ones as noise takes over from progress."""
    steps, x = 300, np.array([3.0, -4.0, 2.0])
    problem = NoisyBowl(noise, steps)
    want, shares = problem.twin(x, adam())
    assert np.min(shares) < 0.05 < 0.5 < np.max(shares)
    tx = optax.chain(optax.scale_by_adam(), optaxaccel.scale_by_hindsight())
    with jax.enable_x64(True):

        def step(carry, side):
            w, state = carry

            def loss(w):
                return 0.5 * w @ (problem.curvatures * w) + side @ w

            value, grad = jax.value_and_grad(loss)(w)
            updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
            return (w + updates, state), w + updates

        w = jnp.asarray(x)
        got = np.asarray(jax.jit(lambda w: jax.lax.scan(step, (w, tx.init(w)), problem.sides))(w)[1])
    np.testing.assert_allclose(got, want[1:], rtol=1e-9, atol=1e-9)


# --- What the rule is for ---------------------------------------------------------------------------------------------


def test_the_rate_finds_the_inverse_curvature_and_falls_in_noise():
    exact = optaxaccel.scale_by_hindsight(relaxation=1.0, initial_rate=1e-4)
    _, states = train(exact, 80, scale=10.0)
    np.testing.assert_allclose(states.rate[-1], 0.1, rtol=1e-2)
    np.testing.assert_allclose(states.curvature[-1] / states.slope[-1], 10.0, rtol=1e-2)
    _, states = train(optaxaccel.scale_by_hindsight(), 400, noise=3.0)
    assert states.rate[-1] < 0.2 * jnp.max(states.rate)


def test_a_first_rate_that_is_far_too_long_is_cut_at_once():
    """The first step that climbs shows how long it should have been, but it is cut by no more than to a twentieth."""
    for first, second in ((1e3, 50.0), (50.0, 3.5), (14.0, 3.5)):
        _, states = train(optax.chain(optax.clip(1.0), optaxaccel.scale_by_hindsight(initial_rate=first)), 2)
        np.testing.assert_allclose(states[1].rate, [first, second], rtol=1e-5)


def test_a_forgotten_sign_shows_in_the_slope_and_does_no_harm():
    tx = optax.chain(optax.scale(-1.0), optaxaccel.scale_by_hindsight(initial_rate=0.1))
    w, states = train(tx, 60)
    assert states[1].slope[-1] < 0
    assert jnp.linalg.norm(w) < 1.5 * 5.0


# --- Where the formulas are silent ------------------------------------------------------------------------------------


def bowl(w):
    return jnp.sum(w**2)


def warm(tx, steps=3):
    w = jnp.array([3.0, -4.0])
    state = tx.init(w)
    for _ in range(steps):
        value, grad = jax.value_and_grad(bowl)(w)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=bowl)
        w = w + updates
    return w, state


@pytest.mark.parametrize("make", [optaxaccel.scale_by_hindsight, optaxaccel.tuning_free])
def test_a_loss_that_is_not_finite_looking_back_halves_the_rate(make):
    tx = make()
    w, state = warm(tx)
    value, grad = jax.value_and_grad(bowl)(w)
    updates, after = tx.update(grad, state, w, value=value, grad=grad, value_fn=lambda p: jnp.inf * bowl(p))
    np.testing.assert_array_equal(updates, 0.0)
    assert after.measurement_failed
    assert not state.measurement_failed
    np.testing.assert_allclose(after.rate, state.rate / 2)
    assert (after.slope, after.curvature) == (state.slope, state.curvature)
    assert int(after.count) == int(state.count) + 1
    updates, again = tx.update(grad, after, w, value=value, grad=grad, value_fn=bowl)  # nothing moved: no slope
    assert not again.measurement_failed
    assert again.rate == after.rate
    assert np.all(updates != 0)


def test_a_direction_that_is_not_finite_moves_nothing():
    tx = optaxaccel.scale_by_hindsight()
    w, state = warm(tx)
    value, grad = jax.value_and_grad(bowl)(w)
    updates, after = tx.update(grad.at[0].set(jnp.inf), state, w, value=value, grad=grad, value_fn=bowl)
    np.testing.assert_array_equal(updates, 0.0)
    assert int(after.notfinite_count) == 1
    assert after.rate == state.rate


def test_rounding_is_no_curvature():
    """On a plane far from zero every curvature is rounding, and the rate grows as the bound allows."""
    tx = optaxaccel.scale_by_hindsight(initial_rate=1e-3)
    w = jnp.array([1.0, 1.0])
    state = tx.init(w)
    for _ in range(5):
        value, grad = jax.value_and_grad(lambda w: 1000.0 + jnp.sum(w))(w)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=lambda w: 1000.0 + jnp.sum(w))
        w = w + updates
    assert state.curvature == 0
    np.testing.assert_allclose(state.rate, 1e-3 * np.exp(4 * 0.3), rtol=1e-5)


def test_a_restart_has_nothing_to_look_back_on():
    for tx in (optaxaccel.scale_by_hindsight(), optaxaccel.tuning_free()):
        _, state = warm(tx)
        w = jnp.array([50.0, 60.0])
        state = state.restart(w)
        value, grad = jax.value_and_grad(bowl)(w)
        _, after = tx.update(grad, state, w, value=value, grad=grad, value_fn=bowl)
        assert after.rate == state.rate
