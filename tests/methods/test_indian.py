"""INDIAN against the paper's Eq. 1 in NumPy, and its stability condition against eigenvalues."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
from compilation import SHIPPED

import optaxaccel
from optaxaccel.methods._indian import _new_phase_first, _new_phase_last


def paper(problem, gammas, alpha, beta, velocity=None):
    """Eq. 1 as printed, in theta and psi. The start of psi makes the first velocity -velocity * gradient."""

    def run(theta):
        velocity0 = beta if velocity is None else velocity
        psi = (1 - alpha * beta) * theta - beta * (beta - velocity0) * problem.gradient(theta)
        trajectory = [theta]
        for gamma in gammas:
            pull = (1 / beta - alpha) * theta - psi / beta
            theta, psi = theta + gamma * (pull - beta * problem.gradient(theta)), psi + gamma * pull
            trajectory.append(theta)
        return np.array(trajectory)

    return run


def stable_steps(problem):
    """gamma and beta with gamma * beta about the rate of the problem."""
    return problem.rate**0.5 / 1.3, problem.rate**0.5 * 1.3


def constant(gamma):
    return [gamma] * problems.STEPS


# --- Fidelity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", problems.ALL, ids=str)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_constant_steps_follow_the_paper(problem, alpha):
    gamma, beta = stable_steps(problem)
    got = problems.run_jax(optaxaccel.indian(gamma, alpha=alpha, beta=beta), problem)
    problems.assert_follows(got.params, paper(problem, constant(gamma), alpha, beta), problem)
    np.testing.assert_array_equal(got.evaluated, got.params)


def test_the_weight_decay_of_the_authors_code_is_a_gradient_over_beta():
    """Their code takes gamma w theta off theta, and nothing off psi."""
    problem, decay = problems.MLP, 0.3
    gamma, beta = stable_steps(problem)
    tx = optax.chain(optax.add_decayed_weights(decay / beta), optaxaccel.indian(gamma, alpha=0.5, beta=beta))

    def authors(theta):
        psi, trajectory = (1 - 0.5 * beta) * theta, [theta]
        for _ in range(problems.STEPS):
            pull = (1 / beta - 0.5) * theta - psi / beta
            step = pull - beta * problem.gradient(theta) - decay * theta
            theta, psi = theta + gamma * step, psi + gamma * pull
            trajectory.append(theta)
        return np.array(trajectory)

    problems.assert_follows(problems.run_jax(tx, problem).params, authors, problem, rtol=1e-13)


@pytest.mark.parametrize("problem", problems.ALL, ids=str)
def test_the_papers_decreasing_steps_follow_the_paper(problem):
    gamma, beta = stable_steps(problem)
    got = problems.run_jax(optaxaccel.inna(optaxaccel.inverse_power_schedule(2 * gamma), alpha=0.5, beta=beta), problem)
    gammas = [2 * gamma / np.sqrt(k + 1) for k in range(problems.STEPS)]
    problems.assert_follows(got.params, paper(problem, gammas, 0.5, beta), problem)


@pytest.mark.parametrize("nearness", [0.0, 1e-12, -1e-8, -0.05, 0.09, 0.11])
def test_alpha_gamma_near_one_is_exact(nearness):
    problem, gamma, beta = problems.MLP, 0.5, 0.7
    alpha = (1 + nearness) / gamma
    got = problems.run_jax(optaxaccel.indian(gamma, alpha=alpha, beta=beta), problem)
    problems.assert_follows(got.params, paper(problem, constant(gamma), alpha, beta), problem)


def test_steps_that_cross_alpha_gamma_one_are_exact():
    problem = problems.MLP
    gammas = [0.5 * 2 / np.sqrt(k + 1) for k in range(problems.STEPS)]  # alpha gamma = 1 at k = 3, exactly
    got = problems.run_jax(optaxaccel.indian(optaxaccel.inverse_power_schedule(1.0), alpha=2.0, beta=0.7), problem)
    problems.assert_follows(got.params, paper(problem, gammas, 2.0, 0.7), problem)


def test_injected_alpha_gamma_one_is_exact():
    problem, gamma, beta = problems.MLP, 0.5, 0.7
    tx = optax.inject_hyperparams(optaxaccel.indian)(gamma, alpha=1 / gamma, beta=beta)
    got = problems.run_jax(tx, problem)
    problems.assert_follows(got.params, paper(problem, constant(gamma), 1 / gamma, beta), problem)


@pytest.mark.parametrize("schedule", [False, True])
@pytest.mark.parametrize("problem", [problems.ROSENBROCK, problems.KINKED, problems.MLP], ids=str)
def test_initial_velocity_follows_the_authors(problem, schedule):
    gamma, beta = stable_steps(problem)
    rate = optaxaccel.inverse_power_schedule(gamma, 0.0) if schedule else gamma
    got = problems.run_jax(optaxaccel.indian(rate, beta=beta, initial_velocity=1.0), problem)
    problems.assert_follows(got.params, paper(problem, constant(gamma), 0.5, beta, velocity=1.0), problem)
    np.testing.assert_allclose(
        got.params[1] - got.params[0], -gamma * problem.gradient(problem.x0), rtol=1e-10, atol=1e-13
    )


def test_gamma_beta_is_the_heavy_ball():
    problem, beta, alpha = problems.VALLEY, 0.15, 0.5
    got = problems.run_jax(optaxaccel.indian(beta, alpha=alpha, beta=beta), problem)
    ball = problems.run_jax(optax.sgd(beta**2, momentum=1 - alpha * beta), problem)
    assert problems.relative_error(got.params, ball.params) < 1e-12


@pytest.mark.parametrize("gamma", [0.05, 0.15])
def test_alpha_beta_one_is_gradient_descent(gamma):
    """The second case is alpha gamma = 1 as well."""
    problem, beta = problems.VALLEY, 0.15
    got = problems.run_jax(optaxaccel.indian(gamma, alpha=1 / beta, beta=beta), problem)
    descent = problems.run_jax(optax.sgd(gamma * beta), problem)
    assert problems.relative_error(got.params, descent.params) < 1e-12


# --- The two forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nearness", [0.11, 0.5, 0.95])
def test_both_forms_are_as_accurate_in_float32_as_the_rule(nearness):
    """Far from zero, where the paper's psi cancels, and with alpha gamma = 1 - nearness."""
    gamma, beta = 0.5, 0.3
    alpha = (1 - nearness) / gamma
    rng = np.random.default_rng(0)
    theta, gradients = 1000 * rng.normal(size=500), rng.normal(size=(30, 500))

    def rule(dtype):
        z, moves, number = np.zeros(500, dtype), [], np.dtype(dtype).type
        for g in gradients.astype(dtype):
            moves.append(number(gamma) * (z - number(beta) * g))
            z = number(1 - alpha * gamma) * z - number(gamma * (1 - alpha * beta)) * g
        return np.array(moves)

    def printed_in_float32():
        w, psi, moves = theta.astype(np.float32), ((1 - alpha * beta) * theta).astype(np.float32), []
        for g in gradients.astype(np.float32):
            pull = np.float32(1 / beta - alpha) * w - psi / np.float32(beta)
            moves.append(np.float32(gamma) * (pull - np.float32(beta) * g))
            w, psi = w + moves[-1], psi + np.float32(gamma) * pull
        return np.array(moves)

    def ours(move):
        z, moves = jnp.zeros(500), []
        for g in gradients.astype(np.float32):
            updates, z = move(jnp.asarray(g), z, jnp.asarray(theta, jnp.float32), True, (gamma, alpha, beta, 0.0))
            moves.append(updates)
        return np.array(moves)

    exact = rule(np.float64)

    def error(moves):
        return np.max(np.abs(moves - exact)) / np.max(np.abs(exact))

    assert error(printed_in_float32()) > 1e-5
    assert error(rule(np.float32)) < 1e-6
    assert error(ours(_new_phase_first)) < 2e-6
    assert error(ours(_new_phase_last)) < 1e-6


@pytest.mark.parametrize(
    "rate", [0.01, lambda count: 0.01 / (count + 1.0), 2.0], ids=["number", "schedule", "near one"]
)
def test_a_donated_step_needs_no_second_buffer(rate):
    leaf = 64 * 1024
    params = {f"{i}": jnp.ones(leaf + i) for i in range(10)}
    tx = optaxaccel.indian(rate)

    def step(params, state, grads, value):
        updates, state = tx.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    for value in (None, jnp.array(1.0)):  # they compile differently: without a value nothing is ever held still
        compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, tx.init(params), params, value).compile(SHIPPED)
        assert compiled.memory_analysis().temp_size_in_bytes < leaf


# --- A loss that is not finite ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, optaxaccel.inverse_power_schedule(0.1)], ids=["number", "schedule"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_loss_leaves_no_trace(rate, bad):
    """Also at the first step, which `initial_velocity` treats apart."""
    tx = optaxaccel.indian(rate, initial_velocity=1.0)
    w = jnp.array([1.0, -2.0])

    def run(values):
        params, state = w, tx.init(w)
        for value in values:
            grads = 3.0 * params if np.isfinite(value) else jnp.full(2, jnp.nan)
            updates, state = tx.update(grads, state, params, value=jnp.array(value))
            params = params + updates
        return params, state

    params, state = run([bad, 1.0, 1.0, bad, 1.0])
    want, undisturbed = run([1.0, 1.0, 1.0])
    np.testing.assert_array_equal(params, want)
    np.testing.assert_array_equal(state.phase, undisturbed.phase)
    assert (int(state.count), int(state.notfinite_count)) == (3, 2)
    assert (int(undisturbed.count), int(undisturbed.notfinite_count)) == (3, 0)


# --- The stability condition and the schedule -------------------------------------------------------------------------


def test_stability_is_a_spectral_radius_under_one():
    """The matrix is that of Eq. 1 as printed, in (theta, psi), for J = L theta^2 / 2."""
    rng = np.random.default_rng(0)
    gamma, alpha, beta, curvature = 10 ** rng.uniform([-3, -2, -2, -2], [0.7, 1, 1, 3], (4000, 4)).T
    curvature *= rng.choice([1, 1, 1, -1], 4000)
    gamma[:1000] = (beta + alpha / np.abs(curvature))[:1000]  # on the first boundary, and on the second where it is one
    half = (alpha + beta * curvature)[1000:2000]
    inside = np.sqrt(np.maximum(half**2 - 4 * curvature[1000:2000], 0))
    gamma[1000:2000] = np.abs((half - inside) / curvature[1000:2000])
    gamma *= 1 + rng.choice([-1e-4, 1e-4], 4000)
    pull = np.array([1 / beta - alpha, -1 / beta])
    newton = np.array([-beta * curvature, 0 * beta])
    matrices = np.eye(2) + np.moveaxis(gamma * np.array([pull + newton, pull]), -1, 0)
    radius = np.max(np.abs(np.linalg.eigvals(matrices)), axis=1)
    decided = np.abs(radius - 1) > 1e-9
    stable = optaxaccel.indian_stable(gamma, alpha, beta, curvature)
    np.testing.assert_array_equal(stable[decided], radius[decided] < 1)
    assert 0.2 < np.mean(radius[2000:] < 1) < 0.8
    assert decided.mean() > 0.99


@pytest.mark.parametrize(("gamma", "stable"), [(0.1 + 0.5 / 5 - 1e-3, True), (0.1 + 0.5 / 5 + 1e-3, False)])
def test_the_method_is_stable_where_the_condition_says(gamma, stable):
    assert optaxaccel.indian_stable(gamma, 0.5, 0.1, 5.0) is stable
    tx, w = optaxaccel.indian(gamma), jnp.array(1.0)

    def step(carry, _):
        w, state = carry
        updates, state = tx.update(5.0 * w, state, w)
        return (w + updates, state), jnp.abs(w)

    _, path = jax.lax.scan(step, (w, tx.init(w)), length=5000)
    assert (float(path[-500:].max()) < 0.5 * float(path[:500].max())) == stable


def test_the_schedule_divides_by_a_power():
    schedule = optaxaccel.inverse_power_schedule(3.0, 0.25)
    np.testing.assert_allclose([schedule(k) for k in (0, 1, 15)], [3.0, 3.0 / 2**0.25, 1.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ({"learning_rate": -0.1}, "learning_rate"),
        ({"alpha": -1.0}, "alpha"),
        ({"beta": np.inf}, "beta"),
        ({"initial_velocity": np.nan}, "initial_velocity"),
    ],
)
def test_bad_hyperparameters_are_refused(bad, name):
    with pytest.raises(ValueError, match=f"{name}="):
        optaxaccel.indian(**{"learning_rate": 0.1} | bad)
    with pytest.raises(ValueError, match="power="):
        optaxaccel.inverse_power_schedule(0.1, -1.0)
