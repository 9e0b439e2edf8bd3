"""The line search along any direction: exact on quadratics, every case, and what it composes with."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

import optaxaccel
from optaxaccel import ParabolaCase
from optaxaccel.methods._parabola import SLOPES


def one_step(loss, w, direction, grad=None, **settings):
    """Update and state after one search along `direction`."""
    tx = optaxaccel.scale_by_parabola(**settings)
    grad = jax.grad(loss)(w) if grad is None else grad
    return tx.update(direction, tx.init(w), w, value=loss(w), grad=grad, value_fn=loss)


# --- Exactness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "mu"), [(0, 1e-2), (1, 0.3), (2, 2.0), (3, 50.0)])
def test_one_step_is_exact_on_any_quadratic(seed, mu):
    """With lambda = 1 the gradient after the step is orthogonal to any descent direction, whatever mu."""
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        root, centre = rng.normal(size=(4, 4)), rng.normal(size=4)
        hessian = jnp.asarray(root @ root.T + 0.1 * np.eye(4))

        def loss(w):
            return 0.5 * (w - centre) @ hessian @ (w - centre) + 7.0

        w = jnp.asarray(rng.normal(size=4))
        grad = jax.grad(loss)(w)
        direction = jnp.asarray(rng.normal(size=4))
        direction *= -jnp.sign(direction @ grad)
        updates, state = one_step(
            loss, w, direction, measuring_step_size=mu, max_step_size=1e9, loose_approximation=1.0
        )
        unit = direction / jnp.linalg.norm(direction)
        assert abs(float(jax.grad(loss)(w + updates) @ unit)) < 1e-9 * abs(float(grad @ unit))
        assert float(state.slope) == pytest.approx(float(grad @ unit), rel=1e-12)
        assert float(state.curvature) == pytest.approx(float(unit @ hessian @ unit), rel=1e-9)
        np.testing.assert_allclose(updates, state.step_size * unit, rtol=1e-12)


@pytest.mark.parametrize("problem", [problems.ROSENBROCK, problems.MLP], ids=str)
def test_along_the_negative_gradient_it_is_pal_without_momentum(problem):
    chained = optax.chain(optax.scale(-1.0), optaxaccel.scale_by_parabola())
    pal = problems.run_jax(optaxaccel.pal(momentum=0.0), problem)
    problems.assert_follows(problems.run_jax(chained, problem).params, lambda x: pal.params, problem)


def search_twin(problem, theta, directions, mu=0.1, s_max=1.0, lam=0.6, steps=30):
    """PAL's line search in NumPy along directions(gradient); returns the trajectory."""
    rows = [theta]
    for _ in range(steps):
        gradient = problem.gradient(theta)
        d = directions(gradient)
        d = d / np.sqrt(d @ d)
        slope = gradient @ d
        curvature = lam * ((problem.value(theta + mu * d) - problem.value(theta)) / mu - slope) / (mu / 2)
        s = 0.0 if slope >= 0 else min(s_max, -slope / curvature if curvature > 0 else mu)
        theta = theta + s * d
        rows.append(theta)
    return np.array(rows)


def adam_directions():
    m = v = t = 0

    def direction(g):
        nonlocal m, v, t
        m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
        return -(m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    return direction


def indian_directions(rate=0.5, alpha=0.5, beta=0.1):
    z = 0

    def direction(g):
        nonlocal z
        d = rate * (z - beta * g)
        z = (1 - alpha * rate) * z - rate * (1 - alpha * beta) * g
        return d

    return direction


SMOOTH = [problem for problem in problems.ALL if problem.smooth]


@pytest.mark.parametrize("problem", SMOOTH, ids=str)
def test_along_adam(problem):
    tx = optax.chain(optax.scale_by_adam(), optax.scale(-1.0), optaxaccel.scale_by_parabola())
    run = problems.run_jax(tx, problem)
    problems.assert_follows(run.params, lambda x: search_twin(problem, x, adam_directions()), problem)
    assert problem.value(run.params[-1]) < 0.7 * problem.value(problem.x0)


@pytest.mark.parametrize("problem", SMOOTH, ids=str)
def test_along_indian(problem):
    indian = optaxaccel.METHODS["indian"].make(learning_rate=0.5, alpha=0.5, beta=0.1)
    run = problems.run_jax(optax.chain(indian, optaxaccel.scale_by_parabola()), problem)
    problems.assert_follows(run.params, lambda x: search_twin(problem, x, indian_directions()), problem)
    assert problem.value(run.params[-1]) < 0.7 * problem.value(problem.x0)


# --- Every case -------------------------------------------------------------------------------------------------------


def convex(w):
    return jnp.sum(w**2)


def concave(w):
    return -jnp.sum(w**2)


def straight(w):
    return -2.0 * jnp.sum(w)


def walled(w):
    return jnp.where(jnp.sum(w) > 3.2, jnp.inf, -jnp.sum(w))


@pytest.mark.parametrize(
    ("loss", "start", "direction", "settings", "case", "step"),
    [
        (convex, 3.0, -5.0, {"loose_approximation": 1.0}, ParabolaCase.MINIMUM, 3.0),
        (convex, 3.0, -5.0, {"loose_approximation": 0.5}, ParabolaCase.MINIMUM, 6.0),
        (convex, 3.0, -5.0, {"loose_approximation": 2.0}, ParabolaCase.MINIMUM, 1.5),
        (convex, 3.0, -5.0, {"loose_approximation": 1.0, "max_step_size": 2.0}, ParabolaCase.CLIPPED, 2.0),
        (convex, 3.0, -5.0, {"loose_approximation": 1.0, "max_step_size": 3.0}, ParabolaCase.MINIMUM, 3.0),
        (convex, 3.0, -5.0, {"measuring_step_size": lambda step: 0.0}, ParabolaCase.NO_MEASURING_STEP, 0.0),
        (convex, 3.0, -5.0, {"measuring_step_size": lambda step: -0.1}, ParabolaCase.NO_MEASURING_STEP, 0.0),
        (concave, 3.0, 1.0, {"measuring_step_size": lambda step: 0.0}, ParabolaCase.NO_MEASURING_STEP, 0.0),
        (concave, 3.0, 1.0, {}, ParabolaCase.DOWNHILL, 0.5),
        (concave, 3.0, 1.0, {"max_step_size": 0.25}, ParabolaCase.DOWNHILL, 0.25),
        (straight, 3.0, 1.0, {}, ParabolaCase.DOWNHILL, 0.5),
        (convex, 3.0, 1.0, {}, ParabolaCase.NO_DESCENT, 0.0),
        (convex, 3.0, 0.0, {}, ParabolaCase.NO_DESCENT, 0.0),
        (convex, 0.0, -1.0, {}, ParabolaCase.NO_DESCENT, 0.0),
        (concave, 3.0, -1.0, {}, ParabolaCase.NO_DESCENT, 0.0),
        (walled, 3.0, 1.0, {}, ParabolaCase.NOT_MEASURED, 0.0),
    ],
)
def test_cases(loss, start, direction, settings, case, step):
    settings = {"measuring_step_size": 0.5, "max_step_size": 10.0} | settings
    w = jnp.array([start])
    updates, state = one_step(loss, w, jnp.array([direction]), **settings)
    assert ParabolaCase(int(state.case)) is case
    assert float(state.step_size) == step
    assert float(updates[0]) == step * np.sign(direction)
    assert (int(state.count), int(state.notfinite_count)) == (1, 0)
    assert np.all(np.isfinite([state.slope, state.curvature]))


def test_an_ascent_direction_is_never_followed():
    """A forgotten minus sign: the case says so at every step."""
    tx = optax.chain(optax.scale_by_adam(), optaxaccel.scale_by_parabola())
    w = jnp.array([3.0, -4.0])
    state = tx.init(w)
    for _ in range(5):
        value, grad = jax.value_and_grad(convex)(w)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=convex)
        np.testing.assert_array_equal(updates, 0.0)
        assert int(state[1].case) == ParabolaCase.NO_DESCENT


@pytest.mark.parametrize("slope", SLOPES)
def test_no_direction_no_move(slope):
    w = jnp.array([3.0, -4.0])
    updates, state = one_step(convex, w, jnp.zeros(2), slope=slope)
    np.testing.assert_array_equal(updates, 0.0)
    assert (float(state.step_size), int(state.case)) == (0.0, ParabolaCase.NO_DESCENT)
    assert float(state.slope) == 0.0


def test_the_three_slopes():
    w, direction = jnp.array([3.0, 4.0]), jnp.array([-2.0, 0.0])
    want = {"exact": -6.0, "direction_norm": -2.0, "gradient_norm": -10.0}
    for slope in SLOPES:
        _, state = one_step(convex, w, direction, slope=slope)
        assert float(state.slope) == pytest.approx(want[slope], rel=1e-6), slope


# --- Values that are not finite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "slope"),
    [(bad, slope) for bad in ("value", "direction", "infinite direction") for slope in SLOPES]
    + [("gradient", "exact"), ("gradient", "gradient_norm")],
)
def test_a_bad_step_moves_and_stores_nothing(bad, slope):
    w, tx = jnp.array([3.0, -4.0]), optaxaccel.scale_by_parabola(slope=slope)
    value, grad = jax.value_and_grad(convex)(w)
    updates, state = tx.update(-grad, tx.init(w), w, value=value, grad=grad, value_fn=convex)
    direction = (-grad).at[0].set({"direction": jnp.nan, "infinite direction": jnp.inf}.get(bad, 1.0))
    updates, after = tx.update(
        direction,
        state,
        w,
        value=jnp.nan if bad == "value" else value,
        grad=grad.at[1].set(jnp.nan if bad == "gradient" else 1.0),
        value_fn=convex,
    )
    np.testing.assert_array_equal(updates, 0.0)
    assert after._replace(notfinite_count=state.notfinite_count) == state
    assert int(after.notfinite_count) == 1


def test_apply_if_finite_guards_what_precedes_in_the_chain():
    chain = optax.chain(optax.scale_by_adam(), optax.scale(-1.0), optaxaccel.scale_by_parabola())
    tx = optax.apply_if_finite(chain, max_consecutive_errors=5)
    w = jnp.array([3.0, -4.0])
    state = tx.init(w)
    for step in range(6):
        value, grad = jax.value_and_grad(convex)(w)
        grad = grad * jnp.nan if step == 2 else grad
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=convex)
        w = w + updates
    assert float(convex(w)) < 1.0
