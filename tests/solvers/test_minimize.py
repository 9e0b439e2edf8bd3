"""The whole loop: statuses, auxiliary output, callbacks, batches of starts, going on, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel import SearchStatus, minimize


def valley(x):
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


START = np.array([-1.2, 1.0, -0.5, 0.8])


def word(result):
    return SearchStatus(int(result.status)).name


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


# --- Results ----------------------------------------------------------------------------------------------------------


def test_the_result_belongs_to_the_point_that_is_returned():
    def loss(p):
        value = valley(jnp.concatenate([p["a"], p["b"]]))
        return value, {"twice": 2.0 * value, "a": p["a"]}

    result = minimize(loss, {"a": START[:1], "b": START[1:]}, has_aux=True, tol=1e-8)
    assert word(result) == "CONVERGED"
    value, aux = loss(result.params)
    assert float(result.value) == pytest.approx(float(value), rel=1e-12, abs=1e-25)
    assert float(result.aux["twice"]) == 2.0 * float(result.value)  # of one program: another one rounds otherwise
    np.testing.assert_array_equal(result.aux["a"], aux["a"])
    assert float(result.error) <= 1e-8
    assert int(result.evaluations) <= 1.5 * int(result.steps)


def test_going_on_is_one_run():
    whole = minimize(valley, START, tol=1e-8)
    part = minimize(valley, START, tol=1e-8, max_steps=7)
    assert word(part) == "LIMIT"
    assert int(part.steps) == 7
    rest = minimize(valley, None, tol=1e-8, state=part.state)
    assert int(rest.steps) == int(whole.steps)
    assert int(rest.evaluations) == int(whole.evaluations) + 1  # the loss is seen anew
    np.testing.assert_array_equal(rest.params, whole.params)


def test_steps_with_progress_are_those_of_the_compiled_loop():
    seen = []
    stepwise = minimize(valley, START, tol=1e-8, callback=seen.append)
    whole = minimize(valley, START, tol=1e-8)
    assert len(seen) == int(stepwise.steps) == int(whole.steps)
    np.testing.assert_allclose(stepwise.params, whole.params, rtol=1e-9)
    values = [float(result.value) for result in seen]
    assert values == sorted(values, reverse=True)

    def enough(result):
        if int(result.steps) == 5:
            raise StopIteration

    for stopping in (enough, lambda result: int(result.steps) == 5):
        stopped = minimize(valley, START, tol=1e-8, callback=stopping)
        assert (word(stopped), int(stopped.steps)) == ("STOPPED", 5)


def test_a_batch_of_starts_is_a_loop_over_them():
    starts = START + 0.1 * np.random.default_rng(0).normal(size=(4, 4))
    together = jax.jit(jax.vmap(lambda x: minimize(valley, x, tol=1e-8)))(starts)
    for k, x in enumerate(starts):
        alone = minimize(valley, x, tol=1e-8)
        assert int(together.steps[k]) == int(alone.steps)
        np.testing.assert_allclose(together.params[k], alone.params, rtol=1e-6)


def test_a_batch_of_problems_maps_over_the_data():
    def loss(x, target):
        return jnp.sum((x - target) ** 4) + jnp.sum((x - target) ** 2)

    targets = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))
    result = jax.vmap(lambda t: minimize(loss, jnp.zeros(2), data={"target": t}, tol=1e-8))(targets)
    np.testing.assert_allclose(result.params, targets, atol=1e-7)


def test_nothing_is_compiled_twice():
    traces = []

    def loss(x, target):
        traces.append(1)
        return jnp.sum((x - target) ** 2)

    minimize(loss, START, data={"target": jnp.ones(4)})
    first = len(traces)
    minimize(loss, 2.0 * START, data={"target": jnp.zeros(4)}, tol=1e-3, max_steps=3)
    assert len(traces) == first


@pytest.mark.parametrize(
    "tx", [optax.adam(0.1), optaxaccel.nesterov(5e-4), optax.lbfgs()], ids=["adam", "agd", "lbfgs"]
)
def test_any_transformation_is_a_method(tx):
    result = minimize(valley, START, method=tx, max_steps=400, tol=1e-6)
    assert float(result.value) < 0.2 * float(valley(START))
    assert int(result.evaluations) >= int(result.steps)


def test_complex_parameters_find_a_complex_minimum():
    result = minimize(lambda z: jnp.sum(jnp.abs(z - (1.0 + 2.0j)) ** 2 * jnp.array([1.0, 7.0])), jnp.zeros(2, complex))
    np.testing.assert_allclose(result.params, 1.0 + 2.0j, atol=1e-5)


# --- Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
def test_a_start_that_is_not_finite_is_returned_and_said(bad):
    result = minimize(lambda x: jnp.sum(x) * bad, START)
    assert word(result) == "NOT_FINITE"
    assert (int(result.steps), int(result.evaluations)) == (0, 1)
    np.testing.assert_array_equal(result.params, START)


def test_the_last_good_point_is_kept_when_a_method_without_search_diverges():
    result = minimize(lambda x: jnp.sum(x**4), START, method=optax.sgd(10.0))
    assert word(result) == "NOT_FINITE"
    assert np.all(np.isfinite(result.params))
    assert np.isfinite(float(result.value))


def test_float32_ends_in_precision_loss_and_not_in_a_loop():
    result = minimize(lambda x: valley(x) + 1.0, START.astype(np.float32), tol=1e-8, max_steps=1000)
    assert word(result) == "PRECISION_LOSS"
    assert int(result.steps) < 200
    np.testing.assert_allclose(result.params, 1.0, atol=0.1)


def test_the_approximate_test_goes_on_where_strong_wolfe_ends():
    """1 + f hides f below 1e-16, yet slopes see it."""
    errors = {}
    for search in ("strong_wolfe", "hager_zhang"):
        result = minimize(
            lambda x: valley(x) + 1.0, START.astype(np.float32), method=optaxaccel.bfgs(search=search), tol=1e-8
        )
        errors[search] = float(result.error)
    assert errors["hager_zhang"] < 0.5 * errors["strong_wolfe"]


def test_an_unbounded_loss_ends_at_its_lowest_point():
    result = minimize(lambda x: -jnp.sum(x), START)
    assert word(result) in ("PRECISION_LOSS", "LIMIT")
    assert float(result.value) < -1e10


def test_bad_arguments_are_explained():
    with pytest.raises(TypeError, match=r"int32|int64"):
        minimize(valley, jnp.arange(4))
    with pytest.raises(ValueError, match=r"one number"):
        minimize(lambda x: x, START)
    with pytest.raises(ValueError, match=r"'newton'.*'ssbroyden'"):
        minimize(valley, START, method="newton")
    with pytest.raises(ValueError, match=r"tol=-1"):
        minimize(valley, START, tol=-1.0)
    with pytest.raises(ValueError, match=r"one number each"):
        minimize(valley, START, tol=np.full(4, 1e-5))
    with pytest.raises(TypeError, match=r"optax.adam\(1e-3\)"):
        minimize(valley, START, method=optax.adam)
    with pytest.raises(TypeError, match=r"pair \(loss, aux\)"):
        minimize(valley, START, has_aux=True)
    with pytest.raises(TypeError, match=r"data="):
        minimize(valley, START, data=(1.0,))
    with pytest.raises(TypeError, match=r"callback"):
        jax.jit(lambda x: minimize(valley, x, callback=print).params)(START)
    with pytest.raises(ValueError, match=r"max_steps=-1"):
        minimize(valley, START, max_steps=-1)
    with pytest.raises(ValueError, match=r"minimize: the loss takes target.*Pass data=\{'target': \.\.\.\}"):
        minimize(lambda x, target: jnp.sum((x - target) ** 2), START)
    with pytest.raises(ValueError, match=r"lbfgs"):
        minimize(lambda x: jnp.sum(x * x), jnp.ones(30_000), method="bfgs")


def test_a_state_of_something_else_is_explained():
    result = minimize(valley, START, max_steps=2)
    with pytest.raises(TypeError, match=r"state=result.state"):
        minimize(valley, START, state=result)
    with pytest.raises(ValueError, match=r"another method"):
        minimize(valley, START, state=result.state, method="lbfgs")
    with pytest.raises(ValueError, match=r"another method"):
        minimize(valley, START, state=result.state, bounds=(0.0, 1.0))


def test_a_limit_beyond_32_bits_is_no_limit():
    begun = minimize(valley, START, max_steps=2)
    assert word(minimize(valley, START, state=begun.state, max_steps=10**12)) == "CONVERGED"


@pytest.mark.parametrize("method", ["bfgs", "ssbfgs", "ssbroyden", "lbfgs"])
def test_features_of_any_size_in_single_precision(method):
    """Curvatures above 1 over the precision make an update of the identity indefinite: it begins anew, scaled."""
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 5)) * 3000
    targets = features @ random.normal(size=5) + random.normal(size=200) * 300
    best = np.linalg.lstsq(features, targets)[0]
    with jax.enable_x64(False):
        features, targets = (jnp.asarray(a, jnp.float32) for a in (features, targets))
        result = minimize(lambda w: jnp.mean((features @ w - targets) ** 2), jnp.zeros(5), method=method, max_steps=200)
    assert word(result) == "PRECISION_LOSS"  # an error of 1e-6 is not to be had there
    np.testing.assert_allclose(result.params, best, rtol=1e-3)


@pytest.mark.parametrize(
    "method",
    [
        "bfgs",
        "lbfgs",
        optax.lbfgs(),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15)),
        optax.sgd(0.1),
    ],
    ids=["bfgs", "lbfgs", "optax.lbfgs", "backtracking", "sgd"],
)
def test_evaluations_are_those_that_were_made(method):
    made = 0

    def counted(x):
        def count():
            nonlocal made
            made += 1

        jax.debug.callback(count)
        return jnp.sum((x[1:] - x[:-1] ** 2) ** 2) + jnp.sum((1 - x) ** 2) / 10

    result = minimize(counted, jnp.full(8, 0.3), method=method, max_steps=12)
    jax.effects_barrier()
    assert int(result.steps) == 12
    assert int(result.evaluations) == made
