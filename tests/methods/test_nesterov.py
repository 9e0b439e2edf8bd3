"""Nesterov's method against the paper's form with x, v, theta and gamma in NumPy, and against the rates it promises."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

import optaxaccel
from optaxaccel.methods._nesterov import _next_theta


def none(x, t):
    return x


def threshold(x, t):
    return np.sign(x) * np.maximum(np.abs(x) - 0.3 * t, 0.0)


def box(x, t):
    return np.clip(x, -1.5, 1.5)


def in_jax(prox):
    if prox is none:
        return None
    one = {threshold: lambda x, t: jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.3 * t, 0.0)}.get(
        prox, lambda x, t: jnp.clip(x, -1.5, 1.5)
    )
    return lambda params, t: jax.tree.map(lambda x: one(x, t), params)


def paper(problem, t, m=0.0, theta0=1.0, prox=none):
    """As printed, with x, v, theta and gamma; t(k). Returns the sequences y (look-ahead) and x."""

    def positive_root(gamma, t):
        """theta^2 / t = (1 - theta) gamma + m theta"""
        b = t * (gamma - m)
        return (-b + np.sqrt(b**2 + 4 * t * gamma)) / 2

    def run(x):
        v, theta, sequence_x, sequence_y = x, theta0, [x], []
        for k in range(problems.STEPS + 1):
            if k == 0:
                y = x
            else:
                gamma = theta**2 / t(k - 1)
                theta = positive_root(gamma, t(k))
                y = x + theta * gamma / (gamma + m * theta) * (v - x)
            sequence_y.append(y)
            x_next = prox(y - t(k) * problem.gradient(y), t(k))
            v = x + (x_next - x) / theta
            x = x_next
            sequence_x.append(x)
        return np.array(sequence_y), np.array(sequence_x)[:-1]

    return run


def assert_follows(got, twin, problem):
    problems.assert_follows(got.params, lambda x: twin(x)[0], problem)
    problems.assert_follows(got.evaluated, lambda x: twin(x)[1], problem)


# --- Fidelity ---------------------------------------------------------------------------------------------------------


CASES = [(none, p) for p in problems.ALL] + [
    (threshold, problems.MLP),
    (threshold, problems.KINKED),
    (box, problems.QUADRATIC),
]


@pytest.mark.parametrize(("prox", "problem"), CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_constant_steps_follow_the_paper(problem, prox):
    t = 0.4 * problem.rate
    got = problems.run_jax(optaxaccel.nesterov(t, prox=in_jax(prox)), problem)
    assert_follows(got, paper(problem, lambda k: t, prox=prox), problem)


@pytest.mark.parametrize(("prox", "problem"), CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_changing_steps_follow_the_paper(problem, prox):
    """A step that goes up and down, strong convexity, and theta_0 < 1."""

    def t(k):
        return problem.rate * (0.1 + 0.3 * (1.0 * (k % 5) / 4))

    m = 0.5 / problem.rate
    got = problems.run_jax(optaxaccel.nesterov(t, strong_convexity=m, theta0=0.2, prox=in_jax(prox)), problem)
    assert_follows(got, paper(problem, t, m, 0.2, prox), problem)


def test_beta_is_the_momentum_of_the_printed_form():
    """The two forms of the paper, both in NumPy, over random steps and strong convexities."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        m, steps, theta0 = 10 ** rng.uniform(-3, 0), rng.uniform(0.1, 1.0, 40), rng.uniform(0.1, 1.0)
        problem = problems.QUADRATIC
        want = paper(problem, lambda k, steps=steps: steps[k], m, theta0)(problem.x0)[0]
        x = x_before = y = problem.x0
        theta, got = theta0, [y]
        for k in range(1, problems.STEPS + 1):
            x, x_before = y - steps[k - 1] * problem.gradient(y), x
            gamma, theta_before = theta**2 / steps[k - 1], theta
            b = steps[k] * (gamma - m)
            theta = (-b + np.sqrt(b**2 + 4 * steps[k] * gamma)) / 2
            beta = steps[k] * theta_before * (1 - theta_before)
            beta = beta / (steps[k - 1] * theta + steps[k] * theta_before**2)
            y = x + beta * (x - x_before)
            got.append(y)
        assert problems.relative_error(np.array(got), want) < 1e-11


def test_constant_momentum_is_agd():
    """theta_0 = sqrt(m t) is a fixed point of the recursion."""
    problem, t, m = problems.QUADRATIC, 1.0, 0.01
    ours = problems.run_jax(optaxaccel.nesterov(t, strong_convexity=m, theta0=(m * t) ** 0.5), problem)
    agd = problems.run_jax(optaxaccel.agd(t, momentum=optaxaccel.strongly_convex_momentum(1 / t, m)), problem)
    assert problems.relative_error(ours.params, agd.params) < 1e-12
    assert problems.relative_error(ours.evaluated, agd.evaluated) < 1e-12


def test_theta_and_beta_keep_their_digits_in_float32():
    """Random cases, from warm-ups by a factor 10,000 to theta far under sqrt(m t), against extended precision."""
    rng = np.random.default_rng(0)
    theta, t = 10 ** rng.uniform(-3, 0, 1000), 10 ** rng.uniform(-4, 0, 1000)
    t_next = 10 ** rng.uniform(-4, 0, 1000)
    m = rng.choice([0.0, 1e-3, 1.0], 1000) / np.maximum(t, t_next)
    single = [jnp.asarray(x, jnp.float32) for x in (theta, t, t_next, m)]
    theta, t, t_next, m = (np.asarray(x).astype(np.longdouble) for x in single)
    gamma = theta**2 / t
    b = t_next * (gamma - m)
    root = np.sqrt(b**2 + 4 * t_next * gamma)
    want = (root - b) / 2
    beta = t_next * theta * (1 - theta) / (t * want + t_next * theta**2)
    got, got_beta = _next_theta(*single)
    np.testing.assert_allclose(got, want.astype(float), rtol=3e-6)
    np.testing.assert_allclose(got_beta, beta.astype(float), rtol=3e-6, atol=1e-12)


def test_a_step_of_zero_stores_no_nan():
    """A warm-up from zero and a decay to zero: nothing moves there, and the momentum starts afresh."""
    problem = problems.MLP
    rates = jnp.array([0.0, 0.0, 0.1, 0.3, 0.3, 0.0, 0.3, 0.1, 0.0, 0.0, 0.0])
    got = problems.run_jax(optaxaccel.nesterov(lambda k: rates[k], strong_convexity=0.1), problem, 10)
    assert np.all(np.isfinite(got.params))
    np.testing.assert_array_equal(got.params[2], got.params[0])
    assert np.all(got.params[3] != got.params[2])
    np.testing.assert_array_equal(got.params[9:], np.broadcast_to(got.params[8], (2, *got.params[8].shape)))
    assert 0 < float(got.state.theta) <= 1


def test_a_schedule_of_curvature_is_that_of_the_step():
    """theta_1 takes m_0 = 1/2: with theta_0 = t = 1/2 it is the root of 2 theta^2 = (1 - theta) / 2 + theta / 2."""
    tx = optaxaccel.nesterov(0.5, strong_convexity=lambda k: jnp.where(k > 0, 0.0, 0.5), theta0=0.5)
    w = jnp.array(1.0)
    updates, state = tx.update(w, tx.init(w), w)
    np.testing.assert_allclose(state.theta, 0.5, rtol=1e-6)
    np.testing.assert_allclose(w + updates, 1.0 / 3.0, rtol=1e-6)


# --- What it promises -------------------------------------------------------------------------------------------------


def test_the_rate_of_convex_losses():
    """f(x_k) - f* <= 2 ||x_0 - x*||^2 / (t (k + 1)^2), and gradient descent does not keep that up."""
    problem, t = problems.QUADRATIC, 1.0
    got = problems.run_jax(optaxaccel.nesterov(t), problem, 300)
    with jax.enable_x64(True):
        hessian = np.array([problem.gradient(e) for e in np.eye(6)]).T - problem.gradient(np.zeros(6))[:, None]
    best = np.linalg.solve(hessian, -problem.gradient(np.zeros(6)))
    bound = 2 * np.sum((problem.x0 - best) ** 2) / (t * np.arange(1, 302) ** 2)
    gaps = np.array([problem.value(x) for x in got.evaluated]) - problem.value(best)
    assert np.all(gaps[1:] <= bound[1:])
    assert gaps[300] < 0.2 * (problem.value(problems.run_jax(optax.sgd(t), problem, 300).params[-1]))


def test_prox_finds_a_sparse_minimum_whose_zeros_are_zeros():
    problem = problems.QUADRATIC
    tx = optaxaccel.nesterov(1.0, prox=in_jax(threshold))
    got = problems.run_jax(tx, problem, 400)
    x, g = got.evaluated[-1], problem.gradient(got.evaluated[-1])
    assert np.any(x == 0)
    assert np.any(x != 0)
    np.testing.assert_allclose(g[x != 0], -0.3 * np.sign(x[x != 0]), atol=1e-6)
    assert np.all(np.abs(g[x == 0]) <= 0.3)


def test_prox_asks_for_params():
    tx = optaxaccel.nesterov(0.1, prox=in_jax(box))
    with pytest.raises(ValueError, match="params"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_prox_is_a_static_argument():
    make = optax.inject_hyperparams(optaxaccel.nesterov, static_args=optaxaccel.METHODS["nesterov"].static_args)
    problem = problems.KINKED
    got = problems.run_jax(make(problem.rate, prox=in_jax(box)), problem)
    assert_follows(got, paper(problem, lambda k: problem.rate, prox=box), problem)


@pytest.mark.parametrize("prox", [none, box])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_loss_leaves_no_trace(prox, bad):
    tx = optaxaccel.nesterov(lambda k: 0.1 / (k + 1.0), strong_convexity=0.1, prox=in_jax(prox))
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
    jax.tree.map(np.testing.assert_array_equal, state[2:], undisturbed[2:])
    assert (int(state.count), int(state.notfinite_count)) == (3, 2)
    assert (int(undisturbed.count), int(undisturbed.notfinite_count)) == (3, 0)


@pytest.mark.parametrize("prox", [none, box])
def test_a_restart_begins_again_with_the_same_theta(prox):
    tx, w = optaxaccel.nesterov(0.1, prox=in_jax(prox)), jnp.array([1.0, -2.0])
    state = tx.init(w)
    for _ in range(5):
        updates, state = tx.update(3.0 * w, state, w)
        w = w + updates
    again = state.restart(w)
    np.testing.assert_array_equal(optaxaccel.eval_params(again, w), w)
    assert float(again.theta) == float(state.theta) < 1
