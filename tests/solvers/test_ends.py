"""What a minimisation says at its end is true: what rounding swallows, other data, other domains, large and small."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel import SearchStatus, fixed_point, minimize, prox_lasso, proximal_gradient

NOT_NEGATIVE = optaxaccel.make_prox_from_projection(lambda x: jnp.maximum(x, 0))


def word(result):
    return SearchStatus(int(result.status)).name


def slope(x):
    return 0.03 * jnp.sum(x)


def around(x, target):
    return jnp.sum((x - target) ** 2)


# --- Steps that rounding swallows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_a_gradient_below_rounding_is_no_end_in_a_box(method):
    result = minimize(slope, jnp.array([1e6]), method=method, bounds=(0.0, jnp.inf))
    assert word(result) == "PRECISION_LOSS"
    assert float(result.error) == pytest.approx(0.03, rel=1e-2)
    resting = minimize(slope, jnp.array([3.0]), method=method, bounds=(3.0, jnp.inf))
    assert (word(resting), int(resting.steps)) == ("CONVERGED", 0)


@pytest.mark.parametrize("prox", [NOT_NEGATIVE, optaxaccel.prox_none])
def test_a_proximal_step_that_rounding_swallows_is_no_end(prox):
    result = proximal_gradient(slope, jnp.array([1e6]), prox=prox)
    assert word(result) == "PRECISION_LOSS"
    assert float(result.error) == pytest.approx(0.03, rel=1e-2)


def test_a_proximal_step_that_the_operator_takes_back_is_an_end():
    below = optaxaccel.make_prox_from_projection(lambda x: jnp.minimum(x, 1e6))
    result = proximal_gradient(lambda x: -slope(x), jnp.array([1e6]), prox=below)
    assert (word(result), float(result.error)) == ("CONVERGED", 0.0)


# --- States -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solve", [minimize, proximal_gradient])
def test_a_state_is_judged_by_the_loss_as_it_is_now(solve):
    first = solve(around, jnp.zeros(2), data={"target": 1.0})
    again = solve(around, None, data={"target": 1.0}, state=first.state)
    assert (word(again), int(again.steps)) == ("CONVERGED", int(first.steps))
    assert int(again.evaluations) == int(first.evaluations) + 1
    other = solve(around, None, data={"target": 5.0}, state=first.state)
    assert word(other) == "CONVERGED"
    np.testing.assert_allclose(other.params, 5.0, rtol=1e-5)
    stays = solve(around, None, data={"target": 5.0}, state=first.state, max_steps=0)
    assert (word(stays), float(stays.value)) == ("LIMIT", pytest.approx(32.0, rel=1e-5))
    loss = solve(lambda x: around(x, 4.0), None, state=first.state)
    np.testing.assert_allclose(loss.params, 4.0, rtol=1e-5)


def test_a_state_of_another_shape_or_kind_is_explained():
    part = minimize(around, jnp.zeros(9), data={"target": 1.0}, method=optaxaccel.lbfgs(memory_size=5), max_steps=1)
    with pytest.raises(ValueError, match=r"other settings of it"):
        minimize(around, None, data={"target": 1.0}, method=optaxaccel.lbfgs(memory_size=6), state=part.state)
    for state in (part.state, part, part.params, "x"):
        with pytest.raises(TypeError, match=r"goes on from a ProximalGradientState.*state=result.state"):
            proximal_gradient(around, None, data={"target": 1.0}, state=state)


@pytest.mark.parametrize("solve", [minimize, proximal_gradient])
def test_data_that_the_loss_does_not_take_are_named(solve):
    def weighted(x, weight=1.0):
        return weight * jnp.sum(x**2)

    with pytest.raises(ValueError, match=rf"{solve.__name__}: data holds wieght, which.*It takes weight"):
        solve(weighted, jnp.zeros(2), data={"wieght": 3.0})
    with pytest.raises(ValueError, match=r"nothing but the parameters"):
        solve(slope, jnp.zeros(2), data={"target": 3.0})
    assert word(solve(lambda x, **more: weighted(x, **more), jnp.ones(2), data={"weight": 3.0})) == "CONVERGED"


# --- Domains, scales and dtypes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [10.0, 1.0, 0.5, 0.011])
def test_momentum_that_leaves_the_domain_is_dropped(start):
    with jax.enable_x64(True):
        result = proximal_gradient(lambda x: jnp.sum(100 * x - jnp.log(x)), jnp.array([start]), max_steps=20_000)
    assert word(result) == "CONVERGED"
    np.testing.assert_allclose(result.params, 0.01, rtol=1e-6)


def test_a_gradient_that_is_not_finite_at_the_start_is_said():
    result = proximal_gradient(lambda x: jnp.sum(jnp.sqrt(x)), jnp.zeros(2))
    assert word(result) == "NOT_FINITE"
    assert int(result.evaluations) <= 3


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_squares_that_under_and_overflow_say_nothing(method):
    small = minimize(lambda x: 1e-23 * jnp.sum((x - 1) ** 2), jnp.array([3.0, 4.0]), method=method, tol=1e-28)
    assert word(small) != "CONVERGED"
    assert float(small.error) > 1e-28
    large = minimize(lambda x: jnp.sum(x**4), jnp.array([1e7, 1.0]), method=method)
    assert word(large) == "NO_DESCENT"
    assert np.isfinite(float(large.value))


def test_rounding_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(40, 6)).astype(np.float32), rng.normal(size=40).astype(np.float32)
    prox, start = functools.partial(optaxaccel.prox_lasso, l1reg=2.0), jnp.zeros(6, jnp.float32)

    def loss(x):
        return 0.5 * jnp.sum((A @ x - b) ** 2) + jnp.float32(3.0)

    counts = []
    for enabled in (False, True):
        with jax.enable_x64(enabled):
            result = proximal_gradient(loss, start, prox=prox, tol=1e-3)
            boxed = minimize(loss, start, method="lbfgs", bounds=(-0.05, 0.1), tol=1e-4)
        assert (word(result), word(boxed)) == ("CONVERGED", "CONVERGED")
        counts.append(int(result.evaluations))
    assert counts[1] <= 1.2 * counts[0]


# --- Operators, derivatives, compilation ------------------------------------------------------------------------------


def test_operators_make_numbers_of_integers():
    assert optaxaccel.prox_lasso(jnp.array([3, -2]), l1reg=0.5).tolist() == [2.5, -1.5]
    assert optaxaccel.prox_ridge(3, l2reg=1.0).tolist() == 1.5
    assert optaxaccel.prox_elastic_net(jnp.array([True]), l1reg=0.5, gamma=0.0).tolist() == [0.5]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_group_is_shrunk_in_any_units(scale):
    got = optaxaccel.prox_group_lasso(scale * jnp.array([3.0, 4.0]), l2reg=2.5 * scale)
    np.testing.assert_allclose(got / scale, [1.5, 2.0], rtol=1e-6)
    derivative = jax.jacrev(lambda u: optaxaccel.prox_group_lasso(u, l2reg=2.5))(jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(derivative, 0.5 * np.eye(2) + 0.02 * np.outer([3, 4], [3, 4]), rtol=1e-5)
    assert optaxaccel.prox_group_lasso(jnp.zeros(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("solve", [minimize, proximal_gradient])
def test_forward_derivatives_of_batches(solve):
    def solution(a):
        return solve(lambda x, a: around(x, 2.0 * a), jnp.zeros(2), data={"a": a}, tol=1e-3).params

    a = jnp.array([0.3, -1.2])
    np.testing.assert_allclose(jax.jacfwd(solution)(a), 2.0 * np.eye(2), atol=1e-3)

    def lowest(a):
        x = jax.lax.stop_gradient(solution(a))
        return around(x, 2.0 * a) + jnp.sum(a)

    together = jax.grad(lambda batch: jnp.sum(jax.vmap(lowest)(batch)))(jnp.stack([a, 2.0 * a]))
    np.testing.assert_allclose(together, 1.0, atol=1e-3)


def test_a_plain_transformation_is_compiled_once():
    traces = []

    def loss(x):
        traces.append(1)
        return jnp.sum(x**2)

    tx = optax.sgd(0.1)
    plain = optax.GradientTransformation(tx.init, lambda updates, state, params=None: tx.update(updates, state, params))
    minimize(loss, jnp.ones(2), method=plain)
    first = len(traces)
    minimize(loss, 2.0 * jnp.ones(2), method=plain)
    assert len(traces) == first


def lasso(scale, dtype):
    """A fit whose losses cancel: |Xb| is a hundred times |Xb - y|, and so is the rounding of f that of its value."""
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(80, 200)), np.zeros(200)
    w[:5] = [3.0, -2.0, 1.0, 4.0, -1.0]
    y = x @ w + 0.1 * rng.normal(size=80)
    x, y = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
    return lambda b: scale * jnp.sum((x @ b - y) ** 2) / 160, np.asarray(x, np.float64), np.asarray(y, np.float64)


@pytest.mark.parametrize(("dtype", "tol"), [(jnp.float32, 1e-6), (jnp.float64, 1e-12)])
@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_steps_are_not_halved_where_rounding_hides_the_decrease(dtype, tol, accelerate, scale):
    with jax.enable_x64(dtype == jnp.float64):
        f, x, y = lasso(scale, dtype)
        prox = functools.partial(prox_lasso, l1reg=0.05 * scale)
        done = proximal_gradient(f, jnp.zeros(200, dtype), prox=prox, tol=tol * scale, accelerate=accelerate)
    assert int(done.status) == SearchStatus.CONVERGED
    assert int(done.steps) <= 100
    assert float(done.state.step_size) > 0.05 / scale  # 1 / L is 0.15 / scale
    b, grad = np.asarray(done.params, np.float64), x.T @ (x @ np.asarray(done.params, np.float64) - y) / 80
    slack = np.where(b != 0, grad + 0.05 * np.sign(b), np.maximum(np.abs(grad) - 0.05, 0))
    assert np.max(np.abs(slack)) <= 20 * tol


def test_a_gradient_that_judges_a_step_is_counted():
    with jax.enable_x64(True):
        f, *_ = lasso(1.0, jnp.float64)
        calls = []

        def counted(b):
            jax.debug.callback(lambda: calls.append(1))
            return f(b)

        prox = functools.partial(prox_lasso, l1reg=0.05)
        done = jax.block_until_ready(proximal_gradient(counted, jnp.zeros(200), prox=prox, tol=1e-12))
        jax.effects_barrier()
    plain = 1 + 2 * int(done.steps)  # and a loss for every halved trial
    assert len(calls) == int(done.evaluations) > plain


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("x64", [True, False])
def test_an_operator_of_ones_own_may_take_the_dtype_of_the_step(dtype, x64):
    def soft(x, scaling):
        return jnp.sign(x) * jnp.maximum(jnp.abs(x) - scaling * 0.5, 0)

    with jax.enable_x64(x64):
        done = proximal_gradient(lambda x: jnp.sum((x - 1) ** 2), jnp.zeros(3, dtype), prox=soft)
        again = proximal_gradient(lambda x: jnp.sum((x - 1) ** 2), done.params, prox=soft, state=done.state)
    assert done.params.dtype == again.params.dtype == dtype
    np.testing.assert_allclose(np.asarray(again.params, np.float32), 0.75, rtol=1e-2)


def test_a_batch_of_none_is_one():
    """A batch of members without any has a result of the same shapes."""
    none = jnp.zeros((0, 2))
    ends = [
        jax.vmap(lambda x: fixed_point(lambda x: 0.5 * jnp.cos(x), x).value)(none),
        jax.vmap(lambda x: proximal_gradient(lambda x: jnp.sum(x**2), x).params)(none),
        jax.vmap(lambda x: minimize(lambda x: jnp.sum(x**2), x).params)(none),
    ]
    assert [end.shape for end in ends] == [(0, 2)] * 3


def test_an_operator_may_return_a_number():
    done = proximal_gradient(lambda x: (x - 1) ** 2, jnp.array(3.0), prox=lambda x, scaling: 0.0)
    assert (word(done), float(done.params)) == ("CONVERGED", 0.0)
