"""CDAT against its formulas in NumPy with Hessians written by hand, and what is exact on quadratics."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

import optaxaccel

STEPS = 25
MATRIX = np.random.default_rng(4).normal(size=(9, 5))
SHIFT = np.random.default_rng(5).normal(size=9)


def log_cosh() -> problems.Problem:
    """A smooth convex function of two leaves whose curvature changes."""

    def joined(xp, p):
        return xp.concatenate([xp.ravel(p["a"]), p["b"]])

    def formula(xp, p):
        x = joined(xp, p)
        return xp.sum(xp.log(xp.cosh(xp.dot(MATRIX, x) - SHIFT))) + 0.5 * xp.sum(x**2)

    def slope(p):
        x = joined(np, p)
        g = MATRIX.T @ np.tanh(MATRIX @ x - SHIFT) + x
        return {"a": g[:4].reshape(2, 2), "b": g[4:]}

    start = {"a": np.array([[1.0, -2.0], [0.5, 1.0]]), "b": np.array([0.7])}
    return problems.Problem("log_cosh", start, formula, slope, rate=0.1)


LOG_COSH = log_cosh()


def hessian(problem, x):
    if problem is LOG_COSH:
        return MATRIX.T @ (MATRIX * (1 - np.tanh(MATRIX @ x - SHIFT) ** 2)[:, None]) + np.eye(5)
    if problem is problems.ROSENBROCK:
        off = x[1] - x[0] ** 2
        return np.array([[2 - 400 * off + 800 * x[0] ** 2, -400 * x[0]], [-400 * x[0], 200.0]])
    zero = problem.gradient(0 * x)
    return np.array([problem.gradient(e) - zero for e in np.eye(x.size)])


def directions(name):
    """Return a function of the step and the gradient that gives the base's direction, with the sign of descent."""
    memory = {"m": 0.0, "v": 0.0}

    def momentum(t, g, decay=0.9 if name == "momentum" else 0.0):
        memory["m"] = decay * memory["m"] + g
        return -memory["m"]

    def adam(t, g):
        memory["m"], memory["v"] = 0.9 * memory["m"] + 0.1 * g, 0.999 * memory["v"] + 0.001 * g**2
        return -memory["m"] / (1 - 0.9**t) / (np.sqrt(memory["v"] / (1 - 0.999**t)) + 1e-8)

    return adam if name == "adam" else momentum


def twin(problem, name, sigma, ema, most=np.inf, steps=STEPS):
    def run(x):
        slopes, curves, direction, rows = 0.0, 0.0, directions(name), [x]
        for t in range(1, steps + 1):
            g = problem.gradient(x)
            u = direction(t, g)
            slopes = ema * slopes + (1 - ema) * max(-(g @ u), 0.0)
            curves = ema * curves + (1 - ema) * abs(u @ hessian(problem, x) @ u)
            x = x + min(sigma(t - 1) * slopes / (curves + 1e-12), most) * u
            rows.append(x)
        return np.array(rows)

    return run


BASES = {
    "descent": lambda **given: optaxaccel.cdat(momentum=0.0, **given),
    "momentum": lambda **given: optaxaccel.cdat(**given),
    "adam": lambda **given: optax.chain(optax.scale_by_adam(), optax.scale(-1.0), optaxaccel.scale_by_cdat(**given)),
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    ("problem", "sigma", "ema"),
    [(LOG_COSH, 1.5, 0.9), (LOG_COSH, 1.0, 0.0), (problems.ROSENBROCK, 1.0, 0.5), (problems.QUADRATIC, 1.0, 0.9)],
    ids=str,
)
def test_it_follows_its_formulas(base, problem, sigma, ema):
    got = problems.run_jax(BASES[base](sigma=sigma, ema_decay=ema), problem, STEPS)
    problems.assert_follows(got.params, twin(problem, base, lambda t: sigma, ema), problem, rounding_errors=10.0)


def test_on_the_edge_with_a_schedule_and_a_limit():
    problem = LOG_COSH
    tx = BASES["momentum"](sigma=lambda t: 2.0 / (1 + 0.1 * t), ema_decay=0.5, max_learning_rate=0.15)
    got = problems.run_jax(tx, problem, STEPS)
    want = twin(problem, "momentum", lambda t: 2.0 / (1 + 0.1 * t), 0.5, 0.15)
    problems.assert_follows(got.params, want, problem, rounding_errors=10.0)


@pytest.mark.parametrize("base", BASES)
def test_twice_the_way_to_the_minimum_leaves_a_quadratic_where_it_is(base):
    problem = problems.QUADRATIC
    got = problems.run_jax(BASES[base](sigma=2.0, ema_decay=0.0), problem, 40)
    values = [problem.value(x) for x in got.params]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)
    assert np.linalg.norm(got.params[-1] - got.params[0]) > 0.1


@pytest.mark.parametrize("base", BASES)
def test_one_more_loss_measures_the_curvature_of_a_quadratic(base):
    problem = problems.QUADRATIC
    exact, measured = (
        problems.run_jax(BASES[base](sigma=1.0, curvature=rule, measuring_step_size=0.3), problem, STEPS)
        for rule in ("hvp", "loss")
    )
    assert problems.relative_error(measured.params, exact.params) < 1e-6


def test_a_direction_that_ascends_is_not_followed_and_a_line_without_curvature_is_limited():
    w = jnp.array([1.0, 2.0])
    tx = optaxaccel.scale_by_cdat(ema_decay=0.0, max_learning_rate=3.0)
    up, _ = tx.update(w, tx.init(w), w, value=1.0, grad=w, value_fn=lambda w: 0.5 * jnp.sum(w**2))
    np.testing.assert_array_equal(up, 0.0)
    slope = jnp.array([1.0, 0.0])
    straight, state = tx.update(-slope, tx.init(w), w, value=1.0, grad=slope, value_fn=lambda w: w[0])
    np.testing.assert_array_equal(straight, -3.0 * slope)
    assert float(state.rate) == 3.0


def test_a_curvature_that_is_not_finite_moves_nothing_but_counts():
    w, grad = jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0])
    tx = optaxaccel.cdat(momentum=0.5)
    _, good = tx.update(grad, tx.init(w), w, value=1.0, value_fn=lambda w: jnp.sum(w**2))
    updates, state = tx.update(grad, good, w, value=1.0, value_fn=lambda w: jnp.sum(w**2) * jnp.nan)
    np.testing.assert_array_equal(updates, 0.0)
    assert (int(state.count), int(state.notfinite_count), bool(state.measurement_failed)) == (2, 0, True)
    assert not bool(good.measurement_failed)
    np.testing.assert_allclose(state.momentum, 1.5 * grad)
    np.testing.assert_array_equal(state.curvature_mean, good.curvature_mean)


def test_a_network_is_trained_at_its_defaults():
    """The curvature of a network answers a rate on the edge; one program serves all steps."""
    problem, tx = problems.MLP, optaxaccel.cdat()

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(problem.loss)(params)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=problem.loss)
        return optax.apply_updates(params, updates), state, value

    with jax.enable_x64(True):  # as all tests of these problems: their data are in float64
        params = jax.tree.map(jnp.asarray, problem.start)
        state, losses = tx.init(params), []
        for _ in range(201):
            params, state, value = step(params, state)
            losses.append(float(value))
        assert step._cache_size() == 1
    assert losses[200] < 0.1 * losses[0]


@pytest.mark.parametrize(
    "bad",
    [
        {"sigma": -1.0},
        {"ema_decay": 1.0},
        {"max_learning_rate": 0.0},
        {"curvature": "guess"},
        {"measuring_step_size": 0.0},
        {"momentum": 1.5},
    ],
    ids=str,
)
def test_bad_hyperparameters_are_refused(bad):
    name, value = next(iter(bad.items()))
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        optaxaccel.cdat(**bad)
    if name != "momentum":
        with pytest.raises(ValueError, match=f"{name}={value!r}"):
            optaxaccel.scale_by_cdat(**bad)


def test_what_is_missing_is_asked_for():
    w = jnp.ones(2)
    tx = optaxaccel.scale_by_cdat()
    with pytest.raises(ValueError, match="scale_by_cdat needs grad"):
        tx.update(w, tx.init(w), w, value_fn=jnp.sum)
