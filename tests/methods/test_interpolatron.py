"""Interpolatron against the paper's Algorithm 1 in NumPy, its Fig. 2, and the facts that its docstring states."""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest

import optaxaccel

COEFFICIENTS = [(1.0,), (0.1, 0.9), (0.1, 0.3, 0.6), (0.4, 0.1, 0.2, 0.1, 0.2)]


def paper(problem, coefficients, rates, before=None):
    """Algorithm 1 as printed. `before(x0, g0)` gives the pairs of times -1, -2, ...; copies of the first by default."""

    def run(x0):
        xs, gs = [x0], []
        for rate in rates:
            gs.insert(0, problem.gradient(xs[0]))
            older_xs, older_gs = xs, gs
            if len(gs) < len(coefficients):
                pairs = before(x0, gs[-1]) if before else [(x0, gs[-1])] * len(coefficients)
                older_xs = xs + [x for x, _ in pairs]
                older_gs = gs + [g for _, g in pairs]
            x = sum(a * x for a, x in zip(coefficients, older_xs, strict=False))
            g = sum(a * g for a, g in zip(coefficients, older_gs, strict=False))
            xs.insert(0, x - rate * g)
        return np.array(xs[::-1])

    return run


def constant(rate):
    return [rate] * problems.STEPS


# --- Fidelity ---------------------------------------------------------------------------------------------------------


EVERYWHERE = [(problem, c) for problem in problems.ALL for c in COEFFICIENTS[1:3]]
ONCE = [(problems.MLP, COEFFICIENTS[0]), (problems.VALLEY, COEFFICIENTS[3])]


@pytest.mark.parametrize(("problem", "coefficients"), EVERYWHERE + ONCE, ids=str)
def test_follows_the_paper(problem, coefficients):
    got = problems.run_jax(optaxaccel.interpolatron(problem.rate, coefficients=coefficients), problem)
    problems.assert_follows(got.params, paper(problem, coefficients, constant(problem.rate)), problem)
    np.testing.assert_array_equal(got.evaluated, got.params)


@pytest.mark.parametrize("problem", [problems.QUADRATIC, problems.KINKED], ids=str)
def test_todays_rate_acts_on_all_gradients(problem):
    def schedule(count):
        return problem.rate / (1.0 + count)

    got = problems.run_jax(optaxaccel.interpolatron(schedule, coefficients=(0.1, 0.3, 0.6)), problem)
    rates = [schedule(count) for count in range(problems.STEPS)]
    problems.assert_follows(got.params, paper(problem, (0.1, 0.3, 0.6), rates), problem)


def test_zero_history_follows_the_paper():
    problem, coefficients = problems.MLP, (0.4, 0.1, 0.2, 0.1, 0.2)
    tx = optaxaccel.interpolatron(problem.rate, coefficients=coefficients, history_init="zero")

    def before(x0, g0):
        return [(x0, 0.0 * g0)] * len(coefficients)

    got = problems.run_jax(tx, problem)
    problems.assert_follows(got.params, paper(problem, coefficients, constant(problem.rate), before), problem)


@pytest.mark.parametrize("coefficients", COEFFICIENTS[:3], ids=lambda c: f"k={len(c)}")
def test_given_history_follows_the_paper(coefficients):
    problem, rng = problems.MLP, np.random.default_rng(0)
    pairs = [tuple(rng.normal(size=(2, *problem.x0.shape))) for _ in coefficients[1:]]
    given = tuple([problem.tree(pair[i]) for pair in pairs] for i in (0, 1))
    tx = optaxaccel.interpolatron(problem.rate, coefficients=coefficients, history_init=given)
    got = problems.run_jax(tx, problem)
    twin = paper(problem, coefficients, constant(problem.rate), before=lambda x0, g0: pairs)
    problems.assert_follows(got.params, twin, problem)


def test_drawn_history_follows_the_paper():
    """The pairs drawn are read off the fresh state: slot -1 is the newest."""
    problem, coefficients = problems.MLP, (0.1, 0.3, 0.6)
    tx = optaxaccel.interpolatron(problem.rate, coefficients=coefficients, history_init=("normal", 0.5, 7))
    with jax.enable_x64(True):
        fresh = tx.init(jax.tree.map(jnp.asarray, problem.start))

    def slot(ring, age):
        return problems.flatten(jax.tree.map(lambda leaf: leaf[-age], ring))

    pairs = [(slot(fresh.iterates, age), slot(fresh.gradients, age)) for age in (1, 2)]
    got = problems.run_jax(tx, problem)
    twin = paper(problem, coefficients, constant(problem.rate), before=lambda x0, g0: pairs)
    problems.assert_follows(got.params, twin, problem)


def test_drawn_history_is_a_truncated_normal():
    tx = optaxaccel.interpolatron(0.1, coefficients=(0.5, 0.5), history_init=("normal", 0.01, 3))
    params = {"a": jnp.zeros(4000), "b": jnp.zeros(4000), "c": jnp.zeros(4000, jnp.complex64)}
    state = tx.init(params)
    drawn = [ring[leaf][1] for ring in (state.iterates, state.gradients) for leaf in params]
    drawn = [part for x in drawn for part in ([x.real, x.imag] if jnp.iscomplexobj(x) else [x])]
    drawn = np.array(drawn, np.float64)
    assert np.max(np.abs(drawn)) <= 0.0200001
    np.testing.assert_allclose(drawn.std(axis=1), 0.01 * 0.8796, rtol=0.05)
    np.testing.assert_allclose(drawn.mean(axis=1), 0.0, atol=6e-4)
    assert np.max(np.abs(np.corrcoef(drawn) - np.eye(len(drawn)))) < 0.07, "two leaves share their random numbers"
    other = optaxaccel.interpolatron(0.1, coefficients=(0.5, 0.5), history_init=("normal", 0.01, 4)).init(params)
    assert not np.allclose(other.iterates["a"], state.iterates["a"])


def test_figure_2():
    """A plateau of slope 0.1 between two slopes of -15. Both methods come from -0.1; moves are counted from there."""

    def value(x):
        return np.interp(x, [-1.0, 0.0, 1.1, 4.0], [14.9, -0.1, 0.01, 0.01 - 15 * 2.9])

    def slope(x):
        return 0.1 if 0.0 <= x <= 1.1 else -15.0

    def moves(step):
        points = [-0.1, 0.1]
        while len(points) < 60 and points[-1] <= 2.0 and not (points[-2] < 0.0 and len(points) > 2):
            points.append(step(points))
        return points, np.diff(points)

    points, ball = moves(lambda x: 1.9 * x[-1] - 0.9 * x[-2] - 0.1 * slope(x[-1]))
    assert (len(ball), np.sum(ball > 0), np.sum(ball < 0)) == (29, 12, 17)
    assert points[-2] < 0.0 < 1.1 < points[-1]

    given = ([jnp.array(-0.1)], [jnp.array(slope(-0.1))])
    with jax.enable_x64(True):
        tx = optaxaccel.interpolatron(0.1, coefficients=(0.1, 0.9), history_init=given)
        state = tx.init(jnp.array(0.1))

        def step(points):
            nonlocal state
            updates, state = tx.update(jnp.array(slope(points[-1])), state, jnp.array(points[-1]))
            return points[-1] + float(updates)

        points, ours = moves(step)
    assert len(ours) == 4
    assert (round(points[-1], 3), round(float(value(points[-1])), 3)) == (2.527, -21.393)


# --- What the docstring states ----------------------------------------------------------------------------------------


def modes(coefficients, rate, curvatures):
    """The error after a step over that before it: the largest root of Appendix A's polynomial, Eq. 9."""
    factors = 1.0 - rate * np.atleast_1d(curvatures)
    return np.array([np.max(np.abs(np.roots([1.0, *(-c * np.array(coefficients))]))) for c in factors])


def test_two_steps_are_stable_where_the_docstring_says():
    rng = np.random.default_rng(0)
    for older in rng.uniform(0, 1, 300):
        limit = 1.0 + 1.0 / max(older, 1.0 - 2.0 * older)
        inside, outside = modes((1.0 - older, older), 1.0, [limit * 0.999, limit * 1.001])
        assert inside < 1.0 < outside


@pytest.mark.parametrize("coefficients", COEFFICIENTS, ids=lambda c: f"k={len(c)}")
def test_slow_modes_go_as_gradient_descent_with_a_smaller_rate(coefficients):
    delay = np.dot(coefficients, np.arange(1, len(coefficients) + 1))
    assert modes(coefficients, 1.0, 1e-3)[0] == pytest.approx(1.0 - 1e-3 / delay, abs=2e-6)
    tx, curvature = optaxaccel.interpolatron(1.0, coefficients=coefficients), 0.3

    def step(carry, _):
        x, state = carry
        updates, state = tx.update(curvature * x, state, x)
        return (x + updates, state), jnp.log(jnp.abs(x))

    with jax.enable_x64(True):
        x = jnp.array(1.0)
        _, path = jax.lax.scan(step, (x, tx.init(x)), length=400)
    measured = np.polyfit(np.arange(200), path[100:300], 1)[0]
    assert np.exp(measured) == pytest.approx(modes(coefficients, 1.0, curvature)[0], rel=2e-3)


def test_first_step_is_gradient_descent():
    tx, x = optaxaccel.interpolatron(0.25, coefficients=(0.1, 0.3, 0.6)), jnp.array([1.0, -2.0])
    updates, _ = tx.update(jnp.array([4.0, 8.0]), tx.init(jnp.zeros(2)), x)
    np.testing.assert_allclose(updates, [-1.0, -2.0], rtol=1e-6)


def test_stored_iterates_are_the_parameters_handed_in():
    """Someone else moves the parameters between two steps: the rule holds for where they are."""
    tx, rng = optaxaccel.interpolatron(0.1, coefficients=(0.2, 0.8)), np.random.default_rng(0)
    xs, gs = rng.normal(size=(2, 5, 3))
    with jax.enable_x64(True):
        state = tx.init(jnp.asarray(xs[0]))
        for t in range(5):
            updates, state = tx.update(jnp.asarray(gs[t]), state, jnp.asarray(xs[t]))
            last = max(t - 1, 0)
            want = 0.2 * xs[t] + 0.8 * xs[last] - 0.1 * (0.2 * gs[t] + 0.8 * gs[last])
            np.testing.assert_allclose(xs[t] + updates, want, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_rounds_an_update_once(dtype):
    tx, rng = optaxaccel.interpolatron(0.1, coefficients=(0.1, 0.3, 0.6)), np.random.default_rng(0)
    xs, gs = jnp.asarray(rng.normal(size=(2, 3, 100)), dtype)
    state = tx.init(xs[0])
    for t in range(3):
        updates, state = tx.update(gs[t], state, xs[t])
    wide_xs, wide_gs = np.asarray(xs, np.float64)[::-1], np.asarray(gs, np.float64)[::-1]
    want = np.tensordot([0.1, 0.3, 0.6], wide_xs - 0.1 * wide_gs, 1) - wide_xs[0]
    assert updates.dtype == dtype
    error = np.abs(np.asarray(updates, np.float64) - want)
    assert np.all(error <= 0.5001 * float(jnp.finfo(dtype).eps) * np.abs(want) + 1e-6)
    updates, state = tx.update(jnp.zeros(100, dtype), state, xs[2])
    for _ in range(2):
        updates, state = tx.update(jnp.zeros(100, dtype), state, xs[2])
    np.testing.assert_array_equal(np.asarray(updates, np.float32), 0.0)
