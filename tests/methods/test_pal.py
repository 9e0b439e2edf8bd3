"""PAL against Algorithm 1 in NumPy, and what it does where the algorithm is silent."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

import optaxaccel
from optaxaccel import PalState, ParabolaCase, ParabolaState
from optaxaccel.methods._parabola import SLOPES

MU, MAX, LAMBDA = 0.1, 1.0, 0.6


def algorithm_1(problem, theta, *, slope, mu0=MU, s_max0=MAX, alpha=0.4, lam=LAMBDA, decay=lambda i, t: i, steps=30):
    """The printed algorithm, line by line; returns the trajectory and (s, l', l'') of every step."""
    s_max, mu, g = s_max0, mu0, np.zeros_like(theta)
    rows, scalars = [theta], []
    for t in range(steps):
        l_0, gradient = problem.value(theta), problem.gradient(theta)
        g = alpha * g + gradient
        norm = np.sqrt(g @ g)
        l_mu = problem.value(theta + mu * -g / norm)
        slopes = {"exact": -(gradient @ g) / norm, "direction_norm": -norm}
        slopes["gradient_norm"] = -np.sqrt(gradient @ gradient)
        d_l = slopes[slope]
        dd_l = lam * ((l_mu - l_0) / mu - d_l) / (mu / 2)
        if dd_l > 0 and d_l < 0:
            s = -d_l / dd_l
        elif dd_l <= 0 and d_l < 0:
            s = mu
        else:
            s = 0.0
        if s > s_max:
            s = s_max
        theta = theta + s * -g / norm
        mu, s_max = decay(mu0, t), decay(s_max0, t)
        rows.append(theta)
        scalars.append((s, d_l, dd_l))
    return np.array(rows), np.array(scalars)


def assert_follows_algorithm_1(problem, tx, **settings):
    run = problems.run_jax(tx, problem)
    problems.assert_follows(run.params, lambda x: algorithm_1(problem, x, **settings)[0], problem)
    _, scalars = algorithm_1(problem, problem.x0, **settings)
    got = [float(run.state.step_size), float(run.state.slope), float(run.state.curvature)]
    np.testing.assert_allclose(got, scalars[-1], rtol=1e-6)
    return run, scalars


# --- Fidelity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("problem", problems.ALL, ids=str)
def test_follows_algorithm_1(problem, slope):
    # Where the loss is piecewise linear l'' is zero but for rounding, whose sign then decides between s_max and mu.
    mu0 = MAX if problem is problems.KINKED else MU
    tx = optaxaccel.pal(measuring_step_size=mu0, slope=slope)
    assert_follows_algorithm_1(problem, tx, slope=slope, mu0=mu0)


def test_decays_as_printed():
    rate, steps = 0.5, 7.0
    decayed = functools.partial(optaxaccel.pal_decay_schedule, rate=rate, transition_steps=steps)
    tx = optaxaccel.pal(measuring_step_size=decayed(MU), max_step_size=decayed(0.3))
    settings = {"slope": "exact", "s_max0": 0.3, "decay": lambda i, t: i * rate ** (t / steps)}
    _, scalars = assert_follows_algorithm_1(problems.VALLEY, tx, **settings)
    s_max = 0.3 * rate ** (np.maximum(np.arange(30) - 1, 0) / steps)
    clipped = np.isclose(scalars[:, 0], s_max, rtol=1e-12)
    assert 5 < clipped.sum() < 30, "the test wants both clipped and free steps"


def test_decay_index():
    schedule = optaxaccel.pal_decay_schedule(2.0, 0.5, 3)
    got = [float(schedule(t)) for t in range(8)]
    np.testing.assert_allclose(got, [2.0 * 0.5 ** (max(t - 1, 0) / 3) for t in range(8)], rtol=1e-6)
    assert got[0] == got[1] == 2.0 > got[2]
    later = optax.exponential_decay(2.0, 3, 0.5)
    assert float(later(1)) == pytest.approx(got[2])
    with jax.enable_x64(True):  # the counters of states are int32, whose quotients are float32
        assert float(schedule(jnp.int32(3))) == pytest.approx(2.0 * 0.5 ** (2 / 3), rel=1e-14)


def test_the_slopes_agree_without_momentum_and_differ_with_it():
    def ends(momentum):
        return [problems.run_jax(optaxaccel.pal(momentum=momentum, slope=s), problems.MLP).params[-1] for s in SLOPES]

    exact, direction, gradient = ends(0.0)
    np.testing.assert_allclose(direction, exact, rtol=1e-9)
    np.testing.assert_allclose(gradient, exact, rtol=1e-9)
    exact, direction, gradient = ends(0.4)
    assert min(np.abs(exact - direction).max(), np.abs(exact - gradient).max()) > 1e-3


@pytest.mark.parametrize("curvature", [1e-3, 1e-2])
def test_the_printed_slope_forgets_the_curvature_with_momentum(curvature):
    """Where the gradient hardly turns, s is mu / (2 alpha lambda) as printed, and the parabola's with Eq. 8."""
    alpha, distance = 0.6, 1000.0

    def step_after_40(slope):
        def loss(w):
            return 0.5 * curvature * jnp.sum(w**2)

        with jax.enable_x64(True):
            tx = optaxaccel.pal(measuring_step_size=MU, max_step_size=1e9, momentum=alpha, slope=slope)
            w = jnp.array([distance])
            state = tx.init(w)
            for _ in range(40):  # the momentum settles, the parameters stay
                _, state = tx.update(jax.grad(loss)(w), state, w, value=loss(w), value_fn=loss)
            return float(state.step_size)

    assert step_after_40("direction_norm") == pytest.approx(MU / (2 * alpha * LAMBDA), rel=1e-3)
    assert step_after_40("exact") == pytest.approx(distance / LAMBDA, rel=1e-6)


def test_the_exact_slope_makes_momentum_pay():
    def end(**settings):
        return problems.MLP.value(problems.run_jax(optaxaccel.pal(**settings), problems.MLP).params[-1])

    exact, printed = end(momentum=0.6), end(momentum=0.6, slope="direction_norm")
    assert exact < 0.5 * printed
    assert exact < end(momentum=0.0)


# --- Values that are not finite ---------------------------------------------------------------------------------------


def parabola(w):
    return jnp.sum(jnp.arange(1.0, 4.0) * w**2)


def warm(tx, w, steps=2):
    """Parameters and state after a few good steps."""
    state = tx.init(w)
    for _ in range(steps):
        value, grad = jax.value_and_grad(parabola)(w)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=parabola)
        w = w + updates
    return w, state


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("bad", ["value", "value inf", "nan", "inf", "overflow"])
def test_a_bad_step_moves_and_stores_nothing(bad, slope):
    tx = optaxaccel.pal(slope=slope)
    w, state = warm(tx, jnp.array([1.0, -2.0, 0.5]))
    value, grad = jax.value_and_grad(parabola)(w)
    entry = {"nan": jnp.nan, "inf": -jnp.inf, "overflow": 1e30}.get(bad, grad[1])
    bad_value = {"value": jnp.nan, "value inf": jnp.inf}.get(bad, value)
    updates, after = tx.update(grad.at[1].set(entry), state, w, value=bad_value, value_fn=parabola)
    np.testing.assert_array_equal(updates, 0.0)
    assert int(after.notfinite_count) == 1
    for name in set(state._fields) - {"notfinite_count"}:
        np.testing.assert_array_equal(getattr(after, name), getattr(state, name), err_msg=name)


@pytest.mark.parametrize("measured", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_bad_measurement_moves_nothing_but_keeps_the_gradient(measured):
    tx = optaxaccel.pal(momentum=0.5)
    w, state = warm(tx, jnp.array([1.0, -2.0, 0.5]))
    value, grad = jax.value_and_grad(parabola)(w)
    updates, after = tx.update(grad, state, w, value=value, value_fn=lambda p: measured + 0.0 * parabola(p))
    np.testing.assert_array_equal(updates, 0.0)
    np.testing.assert_allclose(after.momentum, 0.5 * state.momentum + grad, rtol=1e-6)
    assert (int(after.count), int(after.notfinite_count)) == (int(state.count) + 1, 0)
    assert int(after.case) == ParabolaCase.NOT_MEASURED
    assert (float(after.step_size), float(after.curvature)) == (0.0, 0.0)
    assert float(after.slope) < 0


# --- Momentum uphill --------------------------------------------------------------------------------------------------


def test_waits_while_the_momentum_points_uphill():
    tx = optaxaccel.pal(momentum=0.9)
    w = jnp.array([1.0])

    def loss(p):
        return 0.5 * jnp.sum(p**2)

    state = tx.init(w)._replace(momentum=jnp.array([-3.0]))
    cases = []
    for _ in range(4):
        updates, state = tx.update(w, state, w, value=loss(w), value_fn=loss)
        cases.append((int(state.case), float(updates[0]) < 0))
    # 0.9 * -3 + 1 = -1.7, -0.53, 0.52: the third gradient turns it downhill.
    assert cases[:3] == [(ParabolaCase.NO_DESCENT, False)] * 2 + [(ParabolaCase.CLIPPED, True)]


# --- Kinds of parameters ----------------------------------------------------------------------------------------------


def test_complex_parameters_move_as_their_real_and_imaginary_parts():
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(5, 3)) + 1j * rng.normal(size=(5, 3))
    start = rng.normal(size=3) + 1j * rng.normal(size=3)

    def loss(z):
        return jnp.sum(jnp.abs(matrix @ z - 1.0) ** 2)

    def run(loss, w):
        tx = optaxaccel.pal()

        @jax.jit
        def step(w, state):
            value, grad = jax.value_and_grad(loss)(w)
            updates, state = tx.update(jnp.conj(grad), state, w, value=value, value_fn=loss)
            return w + updates, state

        state = tx.init(w)
        for _ in range(10):
            w, state = step(w, state)
        return np.asarray(w), state

    with jax.enable_x64(True):
        z, state = run(loss, jnp.asarray(start))
        pair, _ = run(lambda p: loss(p[0] + 1j * p[1]), jnp.stack([start.real, start.imag]))
    np.testing.assert_allclose(z, pair[0] + 1j * pair[1], rtol=1e-9)
    assert z.dtype == np.complex128
    assert state.slope.dtype == np.float64


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_low_precision_keeps_its_dtype_and_descends(dtype):
    w = {"a": jnp.array([1.0, -1.0], dtype), "b": jnp.array(2.0, jnp.float32)}

    def loss(p):
        return jnp.sum(p["a"].astype(jnp.float32) ** 2) + p["b"] ** 2

    tx = optaxaccel.pal()
    state = tx.init(w)
    first = loss(w)
    for _ in range(8):
        value, grad = jax.value_and_grad(loss)(w)
        updates, new = tx.update(grad, state, w, value=value, value_fn=loss)
        assert jax.tree.map(jnp.dtype, jax.tree.map(lambda x: x.dtype, (updates, new))) == jax.tree.map(
            jnp.dtype, jax.tree.map(lambda x: x.dtype, (w, state))
        )
        w, state = optax.apply_updates(w, updates), new
    assert float(loss(w)) < 0.05 * float(first)


def test_the_scalars_are_exact_sums_for_bfloat16():
    """Neither the squares of 1 + 1/128 nor their sum can be written in bfloat16."""
    w = jnp.full(5003, 1 + 2**-7, jnp.bfloat16)
    tx = optaxaccel.pal(momentum=0.0)

    def loss(p):
        return 0.5 * jnp.sum(p.astype(jnp.float32) ** 2)

    _, state = tx.update(w, tx.init(w), w, value=loss(w), value_fn=loss)
    assert float(state.slope) == pytest.approx(-np.sqrt(5003) * (1 + 2**-7), rel=1e-6)


def test_the_state_is_that_of_the_search_whose_direction_has_a_memory():
    w = jnp.array([1.0, -2.0])
    assert PalState is ParabolaState
    assert type(optaxaccel.pal().init(w)) is type(optaxaccel.scale_by_parabola().init(w)) is ParabolaState
    assert optaxaccel.scale_by_parabola().init(w).momentum is None
