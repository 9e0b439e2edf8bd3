"""Numbers at their edges: infinite parameters, losses of any scale, half precision, random keys inside a state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel import METHODS, ParabolaCase

INFINITE = {
    **{name: METHODS[name].make(**METHODS[name].example) for name in METHODS},
    "anderson 4": optaxaccel.anderson(0.3, history=4, regularization=0),
    "anderson simplex": optaxaccel.anderson(0.3, history=3, constraint="simplex"),
    "indian scheduled": optaxaccel.indian(lambda count: 0.3),
    "interpolatron zero": optaxaccel.interpolatron(0.3, coefficients=(0.1, 0.3, 0.6), history_init="zero"),
    "rna 1": optaxaccel.rna_sgd(0.3, history=2, period=1),
    "scale_by_parabola": optax.chain(optax.scale(-1.0), optaxaccel.scale_by_parabola()),
    "nesterov with prox": optaxaccel.nesterov(0.3, prox=lambda p, t: p),
    "add_proximal_term": optax.chain(optaxaccel.add_proximal_term(0.1, recenter_every=3), optax.sgd(0.3)),
}


@pytest.mark.parametrize("name", INFINITE)
@pytest.mark.parametrize("infinite", [-np.inf, np.inf])
def test_an_infinite_parameter_that_stands_still_stays(name, infinite):
    """A logit masked by -inf has a gradient of zero; the other parameters go as they go without it."""
    tx, curvature = INFINITE[name], jnp.array([0.0, 1.0, 0.5])

    def loss(p):
        return 0.5 * jnp.sum(jnp.where(curvature > 0, curvature * jnp.where(curvature > 0, p - 0.3, 0.0) ** 2, 0.0))

    def run(first):
        params = jnp.array([first, 1.0, -2.0])
        state, update = tx.init(params), jax.jit(lambda g, s, p, v: tx.update(g, s, p, value=v, grad=g, value_fn=loss))
        for _ in range(7):
            value, grad = jax.value_and_grad(loss)(params)
            updates, state = update(grad, state, params, value)
            params = optax.apply_updates(params, updates)
        return np.asarray(params), np.asarray(optaxaccel.eval_params(state, params))

    for got, want in zip(run(infinite), run(0.0), strict=True):
        assert got[0] == infinite
        np.testing.assert_allclose(got[1:], want[1:], rtol=1e-5)


def test_an_extrapolation_keeps_what_is_infinite_and_equal():
    history = [jnp.array([-jnp.inf, 1 + 4 * 0.5**k, 1 - 8 * 0.5**k]) for k in range(3)]
    with jax.enable_x64(False):
        weights = optaxaccel.extrapolation_weights([h[1:] for h in history], regularization=0.0)
        np.testing.assert_allclose(weights, [-1.0, 2.0], atol=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6, 1e12])
def test_an_absolute_regularisation_acts_at_every_scale(scale):
    """R'R is far above 1e10 or below 1e-10: the sum of z says nothing, the weights do."""
    history = [jnp.asarray(scale * (1 + 0.5**k * np.array([4.0, -8.0])), jnp.float32) for k in range(4)]
    ridge = 1e-6 * 80.0 * scale**2
    got = optaxaccel.extrapolate(history, relative=False, regularization=ridge)
    differences = np.diff(np.array(history, float) / scale, axis=0)
    z = np.linalg.solve(differences @ differences.T + 1e-6 * 80.0 * np.eye(3), np.ones(3))
    want = (z / z.sum()) @ np.array(history, float)[1:]
    np.testing.assert_allclose(got, want, rtol=1e-3)
    mean = np.mean(np.array(history, float)[1:], axis=0)
    assert np.all(np.abs(np.asarray(got) - mean) > 0.1 * scale), "not the plain mean"


# --- Half precision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("host_driven", [False, True])
def test_neon2_finds_a_saddle_away_from_zero_in_half_precision(dtype, host_driven):
    centre = jnp.asarray([1.0, 2.0, -3.0], dtype)

    def saddle(p):
        return jnp.sum(jnp.array([0.5, 0.5, -0.5]) * (p - centre) ** 2)

    outcome = optaxaccel.negative_curvature(saddle, centre, finder="neon2", host_driven=host_driven)
    assert float(outcome.eigenvalue) == pytest.approx(-1.0, abs=0.01)
    assert float(outcome.residual) < 0.01
    tx = optaxaccel.negative_curvature_descent(0.5, finder="neon2")
    _, state = tx.update(0 * centre, tx.init(centre), centre, value_fn=saddle)
    assert int(state.num_jumps) == 1


def test_neon2_serves_losses_that_insist_on_their_dtype():
    matrix = jnp.diag(jnp.array([1.0, 2.0, -1.0], jnp.bfloat16))

    def strict(p):
        return jax.lax.dot(p, jax.lax.dot(matrix, p)).astype(jnp.float32) / 2  # lax has no promotion

    outcome = optaxaccel.negative_curvature(strict, jnp.zeros(3, jnp.bfloat16), finder="neon2")
    assert float(outcome.eigenvalue) == pytest.approx(-1.0, abs=0.05)


# --- Keys in a state --------------------------------------------------------------------------------------------------

AROUND = {
    "rna": lambda base: optaxaccel.rna(base, history=2, period=2),
    "rna that resets": lambda base: optaxaccel.rna(base, history=2, period=2, reset_base=True),
    "gose": lambda base: optaxaccel.gose(base, gradient_threshold=10.0, check_every=2),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("key", [0, jax.random.key(0)], ids=["seed", "typed"])
def test_a_base_may_keep_a_typed_key(around, key):
    tx = AROUND[around](optax.chain(optax.add_noise(1e-4, 0.5, key), optax.sgd(0.1)))

    def loss(p):
        return jnp.sum(p**2) - 1.5 * p[0] ** 2

    params = jnp.array([0.1, 1.0])
    state, update = tx.init(params), jax.jit(lambda g, s, p: tx.update(g, s, p, value=loss(p), value_fn=loss))
    for _ in range(5):
        updates, state = update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    assert np.all(np.isfinite(params))
    assert loss(params) < loss(jnp.array([0.1, 1.0]))


# --- The line search --------------------------------------------------------------------------------------------------


def test_a_measuring_step_that_has_come_down_to_zero_is_no_failure():
    tx = optaxaccel.pal(measuring_step_size=optax.linear_schedule(0.1, 0.0, 2), max_step_size=np.inf, momentum=0.0)
    params = jnp.array([3.0])
    state, cases = tx.init(params), []
    for _ in range(4):
        updates, state = tx.update(params, state, params, value=params @ params / 2, value_fn=lambda p: p @ p / 2)
        params = params + updates
        cases.append(ParabolaCase(int(state.case)).name)
        assert not state.measurement_failed
    assert cases == ["MINIMUM", "MINIMUM", "NO_MEASURING_STEP", "NO_MEASURING_STEP"]
    assert int(state.notfinite_count) == 0


# --- Facts about others' code that the docstrings state ---------------------------------------------------------------


def test_weight_decay_of_indians_authors_is_decay_over_beta_in_front():
    """Their step takes gamma w theta off theta alone; psi does not see it (Eq. 1, written out in NumPy)."""
    alpha, beta, gamma, decay = 0.5, 0.1, 0.05, 0.01
    curvature, theta = np.array([1.0, 0.3, 2.0]), np.array([1.0, -2.0, 0.5])
    psi = (1 - alpha * beta) * theta
    with jax.enable_x64(True):
        tx = optax.chain(optax.add_decayed_weights(decay / beta), optaxaccel.indian(gamma, alpha=alpha, beta=beta))
        params = jnp.asarray(theta)
        state = tx.init(params)
        for _ in range(60):
            gradient, phase = curvature * theta, (1 / beta - alpha) * theta - psi / beta
            theta, psi = theta + gamma * (phase - beta * gradient) - gamma * decay * theta, psi + gamma * phase
            updates, state = tx.update(curvature * params, state, params)
            params = params + updates
    np.testing.assert_allclose(params, theta, rtol=1e-12)
