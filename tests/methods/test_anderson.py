"""Anderson's acceleration against the paper's Algorithm 2 in NumPy, and the facts that its docstring states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
from compilation import SHIPPED

import optaxaccel

# history, regularization, constraint
EVERYWHERE = [(2, 1e-6, None), (2, 0, None), (3, 1e-6, None)]
SOMEWHERE = [(1, 1e-6, None), (3, 0, None), (5, 1e-6, None), (2, 0, "simplex"), (3, 1e-6, "simplex"), (4, 0, "simplex")]
CASES = [(problem, *case) for problem in problems.ALL for case in EVERYWHERE]
CASES += [(problem, *case) for problem in (problems.KINKED, problems.MLP) for case in SOMEWHERE]


def minimiser(gradients, ridge):
    """The weights of sum one that make the mixture of the rows shortest, or None where there are several."""
    k, gram = len(gradients), gradients @ gradients.T
    if ridge:
        z = np.linalg.solve(gram + ridge * np.eye(k), np.ones(k))
        return z / z.sum()
    if k == 2:
        d = gradients[0] - gradients[1]
        first = -(gradients[1] @ d) / (d @ d) if d.any() else None
        return None if first is None else np.array([first, 1 - first])
    differences = (gradients[1:] - gradients[0]).T
    if np.linalg.matrix_rank(differences) < k - 1:
        return None
    rest = np.linalg.lstsq(differences, -gradients[0], rcond=None)[0]
    return np.array([1 - rest.sum(), *rest])


def coefficients(gradients, regularization, constraint):
    k, gram = len(gradients), gradients @ gradients.T
    newest, ridge = np.eye(k)[0], regularization * np.linalg.norm(gram, 2)
    if constraint is None:
        weights = minimiser(gradients, ridge) if gram.any() else None
        return newest if weights is None else weights
    best, lowest = newest, np.inf
    for size in range(1, k + 1):
        for support in map(list, itertools.combinations(range(k), size)):
            solution, weights = minimiser(gradients[support], ridge), np.zeros(k)
            if solution is None or solution.min() < 0:
                continue
            weights[support] = solution
            value = weights @ gram @ weights + ridge * weights @ weights
            if value < lowest - 1e-13 * np.linalg.norm(gram, 2):
                best, lowest = weights, value
    return best


def paper(problem, history, regularization, constraint, rates):
    """Algorithm 2 as printed, with a window that grows."""

    def run(x0):
        xs, gs = [x0], []
        for rate in rates:
            gs.insert(0, problem.gradient(xs[0]))
            alpha = coefficients(np.array(gs[:history]), regularization, constraint)
            xs.insert(0, sum(a * (x - rate * g) for a, x, g in zip(alpha, xs, gs, strict=False)))
        return np.array(xs[::-1])

    return run


# --- Fidelity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("problem", "history", "regularization", "constraint"), CASES, ids=str)
def test_follows_the_paper(problem, history, regularization, constraint):
    """Every single step to 1e-9, from the points and gradients so far.

    The whole run, too, where the twin does not magnify rounding; a secant method does, up to 10^10 times in 30 steps on
    Rosenbrock's function, so 100 rounding errors of the start are allowed as the twin itself magnifies them.
    """
    tx = optaxaccel.anderson(problem.rate, history=history, regularization=regularization, constraint=constraint)
    got = problems.run_jax(tx, problem)
    gradients = np.array([problem.gradient(x) for x in got.params])
    for t in range(problems.STEPS):
        window = slice(max(0, t + 1 - history), t + 1)
        xs, gs = got.params[window][::-1], gradients[window][::-1]
        alpha = coefficients(gs, regularization, constraint)
        error = np.max(np.abs(alpha @ (xs - problem.rate * gs) - got.params[t + 1]))
        assert error <= 1e-9 * np.max(np.abs(got.params[t + 1])), f"step {t + 1}: {error}"
    np.testing.assert_allclose(got.state.coefficients[: len(alpha)], alpha, rtol=1e-6, atol=1e-8)
    twin = paper(problem, history, regularization, constraint, [problem.rate] * problems.STEPS)
    problems.assert_follows(got.params, twin, problem, rounding_errors=0.0 if constraint else 100.0)
    np.testing.assert_array_equal(got.evaluated, got.params)


def test_todays_rate_acts_on_all_gradients():
    def schedule(count):
        return problems.MLP.rate / (1.0 + count)

    got = problems.run_jax(optaxaccel.anderson(schedule, history=3), problems.MLP)
    twin = paper(problems.MLP, 3, 1e-6, None, [schedule(count) for count in range(problems.STEPS)])
    problems.assert_follows(got.params, twin, problems.MLP, rounding_errors=100.0)


def test_three_points_solve_a_plane():
    """Without a ridge, k - 1 differences span k - 1 dimensions: the k-th step of a quadratic there is the last."""
    hessian, target = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([2.0, -1.0])
    with jax.enable_x64(True):
        tx, x = optaxaccel.anderson(0.2, history=3, regularization=0), jnp.array([5.0, 4.0])
        state, update = tx.init(x), jax.jit(tx.update)
        for _ in range(3):
            updates, state = update(hessian @ (x - target), state, x)
            x = x + updates
    np.testing.assert_allclose(x, target, rtol=1e-10)


# --- What the docstring states ----------------------------------------------------------------------------------------


def run(tx, x, gradient, steps):
    """The points and the coefficients of a run in which step t sees gradient(x, t)."""
    state, update, points, alphas = tx.init(x), jax.jit(tx.update), [np.asarray(x)], []
    for t in range(steps):
        updates, state = update(gradient(x, t), state, x)
        x = x + updates
        points.append(np.asarray(x))
        alphas.append(np.asarray(state.coefficients))
    return np.array(points), np.array(alphas)


def test_exact_gradients_constrained_to_a_mean_of_two_are_gradient_descent():
    problem = problems.QUADRATIC
    got = problems.run_jax(optaxaccel.anderson(problem.rate, constraint="simplex"), problem)
    assert problems.relative_error(got.params, problems.run_jax(optax.sgd(problem.rate), problem).params) < 1e-12
    np.testing.assert_array_equal(got.state.coefficients, [1.0, 0.0])


def test_minibatches_make_it_interpolate():
    rng = np.random.default_rng(0)
    inputs, truth = rng.normal(size=(2048, 20)), rng.normal(size=20)
    labels = inputs @ truth + rng.normal(size=2048)

    def gradient(w, t):
        batch = rng.integers(2048, size=32)
        return jnp.asarray(inputs[batch].T @ (inputs[batch] @ w - labels[batch]) / 32, jnp.float32)

    _, alphas = run(optaxaccel.anderson(0.05), jnp.zeros(20), gradient, 150)
    newest = alphas[50:, 0]
    assert np.mean((newest >= 0) & (newest <= 1)) >= 0.95
    assert abs(np.mean(newest) - 0.5) < 0.05


def test_two_steps_miss_rosenbrocks_minimum_and_a_ridge_tames_them():
    def values(regularization):
        tx = optaxaccel.anderson(problems.ROSENBROCK.rate, regularization=regularization)
        return np.array([problems.ROSENBROCK.value(x) for x in problems.run_jax(tx, problems.ROSENBROCK, 200).params])

    wild, tame = values(0), values(1e-2)
    assert np.max(wild) > 1e3 * wild[0]
    assert wild[-1] > 0.5 * wild[0]
    assert np.all(np.diff(tame) < 0)


def test_nearly_equal_gradients_keep_their_difference_in_float32():
    """A slow mode: gradients that shrink by 0.1 % a step. Inner products alone would lose the coefficients."""
    rng = np.random.default_rng(0)
    slow, fast = rng.normal(size=(2, 1000))
    first = (slow + 1e-3 * fast).astype(np.float32)
    second = (0.999 * slow + 0.9e-3 * fast).astype(np.float32)
    d = second.astype(np.float64) - first
    exact = -(first @ d) / (d @ d)
    _, alphas = run(
        optaxaccel.anderson(0.1, regularization=0), jnp.zeros(1000), lambda x, t: jnp.asarray([first, second][t]), 2
    )
    assert abs(exact) > 100
    assert alphas[1, 0] == pytest.approx(exact, rel=1e-3)
    g11, g12, g22 = (np.float32(a @ b) for a, b in ((second, second), (second, first), (first, first)))
    assert (g22 - g12) / (g11 + g22 - 2 * g12) != pytest.approx(exact, rel=1e-1)


def test_the_ridge_bounds_the_coefficients():
    rng = np.random.default_rng(0)
    base = rng.normal(size=100)
    gradients = [jnp.asarray(base + 1e-5 * rng.normal(size=100), jnp.float32) for _ in range(6)]
    _, alphas = run(optaxaccel.anderson(0.1, history=4), jnp.zeros(100), lambda x, t: gradients[t], 6)
    assert np.max(np.linalg.norm(alphas, axis=1)) <= 1000.5
    np.testing.assert_allclose(alphas.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("constraint", [None, "simplex"])
@pytest.mark.parametrize("regularization", [0, 1e-6])
def test_equal_or_vanishing_gradients_give_gradient_descent(constraint, regularization):
    tx = optaxaccel.anderson(0.5, history=3, regularization=regularization, constraint=constraint)
    points, alphas = run(tx, jnp.array([1.0, 2.0]), lambda x, t: jnp.zeros(2), 5)
    np.testing.assert_array_equal(points, np.tile([1.0, 2.0], (6, 1)))
    np.testing.assert_array_equal(alphas, np.tile([1.0, 0.0, 0.0], (5, 1)))
    if regularization == 0:
        points, alphas = run(tx, jnp.zeros(2), lambda x, t: jnp.array([1.0, -2.0]), 5)
        np.testing.assert_allclose(points[:, 1], np.arange(6.0))
        np.testing.assert_array_equal(alphas, np.tile([1.0, 0.0, 0.0], (5, 1)))


def test_state_shows_coefficients_newest_first_of_a_growing_window():
    tx = optaxaccel.anderson(0.1, history=3, regularization=0)
    np.testing.assert_array_equal(tx.init(jnp.zeros(3)).coefficients, [1.0, 0.0, 0.0])
    lengths = jnp.diag(jnp.array([1.0, 2.0, 4.0]))  # orthogonal gradients weigh 1 / |g|^2
    _, alphas = run(tx, jnp.zeros(3), lambda x, t: lengths[t], 3)
    np.testing.assert_allclose(alphas[1], [1 / 5, 4 / 5, 0.0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(alphas[2], np.array([1 / 16, 1 / 4, 1]) / (21 / 16), rtol=1e-5)


def test_bfloat16_parameters_are_weighed_in_float32():
    rng = np.random.default_rng(0)
    gs = jnp.asarray(rng.normal(size=(2, 300)), jnp.bfloat16)
    wide = np.asarray(gs, np.float64)
    d = wide[1] - wide[0]
    points, alphas = run(
        optaxaccel.anderson(0.1, regularization=0), jnp.zeros(300, jnp.bfloat16), lambda x, t: gs[t], 2
    )
    assert points.dtype == jnp.bfloat16
    assert alphas.dtype == np.float32
    assert alphas[1, 0] == pytest.approx(-(wide[0] @ d) / (d @ d), rel=1e-5)


# --- Cost, steps that are not finite, bad arguments -------------------------------------------------------------------


@pytest.mark.parametrize(("history", "constraint"), [(2, None), (5, None), (3, "simplex")], ids=str)
def test_a_donated_step_needs_no_second_buffer(history, constraint):
    """Also with leaves of one shape, which a compiler may treat as one."""
    params = {f"{i}": jnp.ones((256, 256 + i // 5)) for i in range(10)}
    tx = optaxaccel.anderson(0.1, history=history, constraint=constraint)

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params, value=jnp.sum(grads["0"]))
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, tx.init(params), params).compile(SHIPPED)
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 256 * 256 / 8


@pytest.mark.parametrize(
    ("place", "bad"),
    [("value", np.nan), ("value", np.inf), *(("gradient", g) for g in (np.nan, np.inf, -np.inf, 1e30))],
)
def test_a_bad_step_leaves_no_trace(place, bad):
    """A finite gradient whose square overflows is bad, too."""
    tx = optaxaccel.anderson(0.1, history=3)
    update = jax.jit(tx.update)

    def go(good):
        params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(3.0)}
        state = tx.init(params)
        for fine in good:
            grads = jax.tree.map(lambda p: jnp.sin(3.0 * p), params)
            value = jnp.array(1.0 if fine or place == "gradient" else bad)
            if not fine and place == "gradient":
                grads["a"] = grads["a"].at[1].set(bad)
            updates, state = update(grads, state, params, value=value)
            params = optax.apply_updates(params, updates)
        return params, state

    params, state = go([False, True, True, False, True, True, False])
    want, undisturbed = go([True] * 4)
    jax.tree.map(np.testing.assert_array_equal, (params, state[2:]), (want, undisturbed[2:]))
    assert (int(state.count), int(state.notfinite_count)) == (4, 3)
    assert (int(undisturbed.count), int(undisturbed.notfinite_count)) == (4, 0)


def test_traced_regularization_is_left_alone():
    problem = problems.MLP
    tx = optax.inject_hyperparams(optaxaccel.anderson, static_args=("history",))(problem.rate, regularization=0.0)
    got = problems.run_jax(tx, problem)
    twin = paper(problem, 2, 0, None, [problem.rate] * problems.STEPS)
    problems.assert_follows(got.params, twin, problem, rounding_errors=100.0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"learning_rate": -0.1}, "learning_rate=-0.1"),
        ({"history": 0}, "history=0"),
        ({"history": 2.0}, "history=2.0"),
        ({"history": 9, "constraint": "simplex"}, "history=9"),
        ({"regularization": -1e-6}, "regularization=-1e-06"),
        ({"constraint": "box"}, "constraint='box'"),
    ],
)
def test_bad_arguments_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        optaxaccel.anderson(**{"learning_rate": 0.1} | bad)


def test_update_without_params_says_what_it_needs():
    tx = optaxaccel.anderson(0.1)
    with pytest.raises(ValueError, match="params"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
