"""PAL against Algorithm 1 in NumPy, and what it does where the algorithm is silent."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
from compilation import SHIPPED

import optaxaccel
from optaxaccel import ParabolaCase
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


# --- The loss as an argument ------------------------------------------------------------------------------------------


def batch_loss(w, batch, *, weight=1.0):
    return weight * jnp.mean((batch @ w - 1.0) ** 2)


BATCH = jnp.array([[1.0, 2.0, 0.5], [0.0, 1.0, -1.0]])


@pytest.mark.parametrize(
    ("value_fn", "data"),
    [
        (batch_loss, {"batch": BATCH, "unused": 3}),
        (functools.partial(batch_loss, batch=BATCH), {}),
        (lambda w: batch_loss(w, BATCH), {"batch": "ignored"}),
        (lambda w, **data: batch_loss(w, data["batch"]), {"batch": BATCH}),
    ],
    ids=["data", "partial", "closure", "keywords"],
)
def test_data_reach_the_loss(value_fn, data):
    w, tx = jnp.array([1.0, -2.0, 0.5]), optaxaccel.pal()
    value, grad = jax.value_and_grad(batch_loss)(w, BATCH)
    want, _ = tx.update(grad, tx.init(w), w, value=value, value_fn=lambda p: batch_loss(p, BATCH))
    got, _ = tx.update(grad, tx.init(w), w, value=value, value_fn=value_fn, **data)
    np.testing.assert_array_equal(got, want)


def test_a_missing_value_is_evaluated_once():
    w, tx = jnp.array([1.0, -2.0, 0.5]), optaxaccel.pal()
    calls = []

    def counted(p):
        calls.append(p)
        return parabola(p)

    value, grad = jax.value_and_grad(parabola)(w)
    want, _ = tx.update(grad, tx.init(w), w, value=value, value_fn=counted)
    assert len(calls) == 1
    got, _ = tx.update(grad, tx.init(w), w, value_fn=counted)
    assert len(calls) == 3
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("make", [optaxaccel.pal, optaxaccel.scale_by_parabola])
def test_errors_show_the_right_call(make):
    tx, w = make(), jnp.ones(2)
    state = tx.init(w)
    with pytest.raises(ValueError, match=r"params.*tx.update\(grads, state, params"):
        tx.update(w, state, value=1.0, grad=w, value_fn=parabola)
    with pytest.raises(ValueError, match="value_fn=loss_of_params"):
        tx.update(w, state, w, value=1.0, grad=w)
    with pytest.raises(ValueError, match=r"value has shape \(2,\)"):
        tx.update(w, state, w, value=jnp.ones(2), grad=w, value_fn=parabola)


@pytest.mark.parametrize("make", [optaxaccel.pal, optaxaccel.scale_by_parabola])
def test_a_mask_that_hides_parameters_is_refused(make):
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}

    def loss(p):
        return jnp.sum(p["a"] ** 2) + jnp.sum(p["b"] ** 2)

    masked = optax.masked(make(), {"a": True, "b": False})
    parts = optax.multi_transform({"x": make(), "y": optax.sgd(0.1)}, {"a": "x", "b": "y"})
    for tx in (masked, parts):
        with pytest.raises(TypeError, match=r"evaluates the loss.*hand \w+ the others alone"):
            tx.update(params, tx.init(params), params, value=loss(params), grad=params, value_fn=loss)


def test_a_mask_in_front_freezes():
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}

    def loss(p):
        return jnp.sum(p["a"] ** 2) + jnp.sum(p["b"] ** 2)

    frozen = optax.masked(optax.set_to_zero(), {"a": False, "b": True})
    tx = optax.chain(frozen, optaxaccel.pal(loose_approximation=1.0, max_step_size=10.0))
    grad = jax.grad(loss)(params)
    updates, _ = tx.update(grad, tx.init(params), params, value=loss(params), value_fn=loss)
    np.testing.assert_array_equal(updates["b"], 0.0)
    np.testing.assert_allclose(updates["a"], -params["a"], rtol=1e-4)


@pytest.mark.parametrize("name", ["measuring_step_size", "max_step_size", "loose_approximation", "momentum"])
def test_hyperparameters_are_checked(name):
    for value in (-0.1, "0.1", float("nan")):
        with pytest.raises(ValueError, match=name):
            optaxaccel.pal(**{name: value})
    optaxaccel.pal(**{name: jnp.array(0.3)})
    with pytest.raises(ValueError, match="direction_norm"):
        optaxaccel.pal(slope="excat")


@pytest.mark.parametrize("settings", [{"rate": 0.0}, {"rate": -1.0}, {"transition_steps": 0}])
def test_the_decay_is_checked(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        optaxaccel.pal_decay_schedule(0.1, **({"rate": 0.9, "transition_steps": 10} | settings))


# --- Programs ---------------------------------------------------------------------------------------------------------


def tree_of_ten(size=64):
    return {f"leaf{i}": jnp.full((size, size), 1.0 + i, jnp.float32) for i in range(10)}


def compiled_step(tx, loss):
    params = tree_of_ten()

    def step(params, state, grads, value):
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss)
        return optax.apply_updates(params, updates), state

    jitted = jax.jit(step, donate_argnums=(0, 1))
    return jitted.lower(params, tx.init(params), params, jnp.float32(1.0)).compile(SHIPPED)


def squares(params):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("make", [optaxaccel.pal, optaxaccel.scale_by_parabola])
def test_the_update_needs_no_temporary_memory(make, slope):
    leaf = 64 * 64 * 4
    alone = compiled_step(make(slope=slope), lambda p: jnp.float32(1.0))
    assert alone.memory_analysis().temp_size_in_bytes < leaf / 4
    measuring = compiled_step(make(slope=slope), squares)  # one leaf of the measuring point at a time
    assert measuring.memory_analysis().temp_size_in_bytes < 1.5 * leaf
    for program in (alone, measuring):
        assert not re.findall(r"f32\[64,64\]\S* copy\(", program.as_text())


def test_the_second_loss_is_straight_line_code():
    text = compiled_step(optaxaccel.pal(), squares).as_text()
    assert not re.findall(r" (while|conditional)\(", text)


def test_one_trace_with_donation():
    tx, traces = optaxaccel.pal(), []
    params = tree_of_ten(4)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        traces.append(1)
        value, grads = jax.value_and_grad(squares)(params)
        updates, state = tx.update(grads, state, params, value=value, value_fn=squares)
        return optax.apply_updates(params, updates), state

    first, state = squares(params), tx.init(params)
    for _ in range(5):
        params, state = step(params, state)
    assert len(traces) == 1
    assert int(state.count) == 5
    assert float(squares(params)) < 0.9 * float(first)


def test_seeds_and_hyperparameters_vectorise():
    starts = jax.random.normal(jax.random.key(0), (3, 3))
    sizes = jnp.array([0.01, 0.1, 0.3])

    def run(w, mu):
        tx = optaxaccel.pal(measuring_step_size=mu)

        def body(carry, _):
            w, state = carry
            value, grad = jax.value_and_grad(parabola)(w)
            updates, state = tx.update(grad, state, w, value=value, value_fn=parabola)
            return (w + updates, state), state.step_size

        return jax.lax.scan(body, (w, tx.init(w)), length=5)[1]

    together = jax.vmap(run)(starts, sizes)
    alone = jnp.stack([run(w, mu) for w, mu in zip(starts, sizes, strict=True)])
    np.testing.assert_allclose(together, alone, rtol=2e-3)
    assert len(np.unique(np.asarray(together)[:, -1])) == 3
