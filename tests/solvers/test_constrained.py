"""Boxes and penalties against SciPy, coordinate descent, and what a minimum is by definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import optaxaccel
from optaxaccel import SearchStatus, minimize, proximal_gradient

RNG = np.random.default_rng(0)
ROWS, TARGET = RNG.normal(size=(40, 12)), RNG.normal(size=40)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def residual(x):
    return 0.5 * jnp.sum((ROWS @ x - TARGET) ** 2)


def valley(x):
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def word(result):
    return SearchStatus(int(result.status)).name


# --- Boxes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_a_box_gives_the_minimum_of_scipy(method):
    low, high = np.full(6, -0.5), np.array([0.8, 0.3, 0.8, 0.8, np.inf, 0.8])
    start = np.array([-1.2, 1.0, -1.2, 1.0, -1.2, 1.0])
    result = minimize(valley, start, method=method, bounds=(low, high), tol=1e-8)
    want = scipy.optimize.minimize(
        jax.jit(jax.value_and_grad(valley)),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"ftol": 0.0, "gtol": 1e-10},
    )
    assert word(result) == "CONVERGED"
    np.testing.assert_allclose(result.params, want.x, atol=1e-7)
    assert np.all((result.params >= low) & (result.params <= high))
    assert np.any(np.asarray(result.params) == high)
    assert int(result.evaluations) <= 2.0 * want.nfev


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_non_negative_least_squares(method):
    result = minimize(residual, jnp.ones(12), method=method, bounds=(0.0, jnp.inf), tol=1e-9)
    want, _ = scipy.optimize.nnls(ROWS, TARGET)
    assert word(result) == "CONVERGED"
    np.testing.assert_allclose(result.params, want, atol=1e-8)
    np.testing.assert_array_equal(np.asarray(result.params) == 0.0, want == 0.0)


def test_a_box_around_the_minimum_changes_nothing():
    inside = minimize(valley, jnp.array([-1.2, 1.0]), bounds=(-10.0, 10.0), tol=1e-8)
    np.testing.assert_allclose(inside.params, 1.0, atol=1e-6)


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
@pytest.mark.parametrize("start", [[20.0, 15.0], [30.0, 25.0]])
def test_a_box_without_walls_takes_about_the_losses_that_none_takes(method, start):
    """The curvature is negative at these starts: steps that only decrease the loss teach nothing, and crawl."""

    def well(x):
        return -jnp.exp(-jnp.sum(x**2) / 200.0)

    free = minimize(well, jnp.array(start), method=method, tol=1e-6)
    for bounds in ((-jnp.inf, jnp.inf), (-50.0, 50.0)):
        boxed = minimize(well, jnp.array(start), method=method, tol=1e-6, bounds=bounds)
        assert int(boxed.status) == SearchStatus.CONVERGED
        assert float(boxed.value) == pytest.approx(-1.0, abs=1e-9)
        assert int(boxed.evaluations) <= 1.5 * int(free.evaluations)


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_a_box_around_two_exponentials_takes_no_more_than_thrice_scipys_losses(method):
    """Moré, Garbow and Hillstrom's three-dimensional box function, with the minimum at (1, 10, 1) outside."""
    t = 0.1 * jnp.arange(1, 11)

    def loss(x):
        return jnp.sum((jnp.exp(-t * x[0]) - jnp.exp(-t * x[1]) - x[2] * (jnp.exp(-t) - jnp.exp(-10 * t))) ** 2)

    low, high = np.array([-np.inf, 0.3, -np.inf]), np.array([0.6, np.inf, 0.6])
    start = np.clip([0.0, 10.0, 20.0], low, high)
    ours = minimize(loss, jnp.asarray(start), method=method, tol=1e-6, bounds=(low, high))
    assert int(ours.status) == SearchStatus.CONVERGED
    assert float(ours.value) < 1e-9
    evaluate = jax.jit(jax.value_and_grad(loss))
    theirs = scipy.optimize.minimize(
        lambda x: tuple(map(np.asarray, evaluate(x))), start, jac=True, method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)), options={"gtol": 1e-6, "ftol": 0.0},
    )  # fmt: skip
    assert int(ours.evaluations) <= 3 * theirs.nfev


def test_a_box_of_points_and_trees():
    start = {"a": jnp.ones(2), "b": jnp.array(5.0)}
    low, high = {"a": jnp.array([2.0, -3.0]), "b": -1.0}, {"a": jnp.array([2.0, jnp.inf]), "b": jnp.inf}
    result = minimize(lambda p: jnp.sum((p["a"] + 1.0) ** 2) + p["b"] ** 2, start, bounds=(low, high), tol=1e-9)
    np.testing.assert_allclose(result.params["a"], [2.0, -1.0], atol=1e-9)
    np.testing.assert_allclose(result.params["b"], 0.0, atol=1e-9)
    part = minimize(valley, jnp.zeros(3), method="lbfgs", bounds=(-1.0, 0.5), tol=1e-9, max_steps=3)
    rest = minimize(valley, None, method="lbfgs", bounds=(-1.0, 0.5), tol=1e-9, state=part.state)
    whole = minimize(valley, jnp.zeros(3), method="lbfgs", bounds=(-1.0, 0.5), tol=1e-9)
    np.testing.assert_allclose(rest.params, whole.params, rtol=1e-12)


def test_bad_boxes_are_explained():
    with pytest.raises(ValueError, match=r"lower.*above"):
        minimize(residual, jnp.zeros(12), bounds=(1.0, -1.0))
    with pytest.raises(ValueError, match=r"pair"):
        minimize(residual, jnp.zeros(12), bounds=3.0)
    with pytest.raises(ValueError, match=r"structure"):  # SciPy's pairs
        minimize(jnp.sum, jnp.zeros(2), bounds=((0.0, 1.0), (0.0, 1.0)))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        minimize(residual, jnp.zeros(12), bounds=(jnp.zeros(3), 1.0))
    with pytest.raises(ValueError, match=r"NaN"):
        minimize(residual, jnp.zeros(12), bounds=(jnp.nan, 1.0))
    with pytest.raises(ValueError, match=r"'lbfgs'.*'ssbroyden'"):
        minimize(residual, jnp.zeros(12), method="ssbroyden", bounds=(0.0, 1.0))
    with pytest.raises(TypeError, match=r"complex"):
        minimize(lambda z: jnp.abs(z[0]) ** 2, jnp.zeros(2, complex), bounds=(0.0, 1.0))


# --- Proximal operators -----------------------------------------------------------------------------------------------

PENALTIES = {
    "prox_none": (optaxaccel.prox_none, lambda x: 0.0),
    "prox_lasso": (functools.partial(optaxaccel.prox_lasso, l1reg=0.7), lambda x: 0.7 * np.sum(np.abs(x))),
    "prox_non_negative_lasso": (
        functools.partial(optaxaccel.prox_non_negative_lasso, l1reg=0.7),
        lambda x: 0.7 * np.sum(x) if np.all(x >= 0) else np.inf,
    ),
    "prox_elastic_net": (
        functools.partial(optaxaccel.prox_elastic_net, l1reg=0.7, gamma=1.5),
        lambda x: 0.7 * (np.sum(np.abs(x)) + 0.75 * np.sum(x**2)),
    ),
    "prox_group_lasso": (
        functools.partial(optaxaccel.prox_group_lasso, l2reg=0.7), lambda x: 0.7 * np.sqrt(np.sum(x**2)),
    ),
    "prox_ridge": (functools.partial(optaxaccel.prox_ridge, l2reg=0.7), lambda x: 0.35 * np.sum(x**2)),
    "prox_non_negative_ridge": (
        functools.partial(optaxaccel.prox_non_negative_ridge, l2reg=0.7),
        lambda x: 0.35 * np.sum(x**2) if np.all(x >= 0) else np.inf,
    ),
    "make_prox_from_projection": (
        optaxaccel.make_prox_from_projection(lambda x: jnp.clip(x, -0.2, 0.4)),
        lambda x: 0.0 if np.all((x >= -0.2) & (x <= 0.4)) else np.inf,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PENALTIES)
def test_a_proximal_operator_minimises_what_it_says(name):
    """No point near the result, and none of the special ones, has a lower objective."""
    prox, penalty = PENALTIES[name]
    rng = np.random.default_rng(1)
    for scaling in (0.3, 2.0):
        x = rng.normal(size=5)
        got = np.asarray(prox(jnp.asarray(x), scaling=scaling))

        def objective(z, x=x, scaling=scaling):
            return 0.5 * np.sum((z - x) ** 2) + scaling * penalty(z)

        others = [got + size * rng.normal(size=5) for size in (1e-3, 0.1, 1.0) for _ in range(60)]
        others += [got * (1 + t) for t in (-1.0, -0.5, -1e-3, 1e-3)] + [np.maximum(z, 0.0) for z in others]
        others += [np.clip(z, -0.2, 0.4) for z in others]
        assert np.isfinite(objective(got))
        assert all(objective(got) <= objective(z) + 1e-12 for z in others)


def test_proximal_operators_take_trees_and_complex_leaves():
    tree = {"a": jnp.array([3.0, -1.0]), "z": jnp.array([3.0 + 4.0j])}
    got = optaxaccel.prox_lasso(tree, l1reg={"a": jnp.array([1.0, 5.0]), "z": 2.5})
    np.testing.assert_allclose(got["a"], [2.0, 0.0])
    np.testing.assert_allclose(got["z"], [1.5 + 2.0j])
    zero = jax.grad(lambda x: jnp.sum(optaxaccel.prox_group_lasso(x)))(jnp.zeros(3))
    assert bool(jnp.all(jnp.isfinite(zero)))


# --- FISTA ------------------------------------------------------------------------------------------------------------


def coordinate_descent(l1, ridge=0.0):
    """The elastic net of ROWS and TARGET, one exactly minimised coordinate after the other."""
    x = np.zeros(12)
    for _ in range(500):
        for i in range(12):
            rest = TARGET - ROWS @ x + ROWS[:, i] * x[i]
            pull = ROWS[:, i] @ rest
            x[i] = np.sign(pull) * max(abs(pull) - l1, 0.0) / (ROWS[:, i] @ ROWS[:, i] + ridge)
    return x


@pytest.mark.parametrize("gamma", [0.0, 2.0], ids=["lasso", "elastic_net"])
def test_penalised_least_squares(gamma):
    prox = functools.partial(optaxaccel.prox_elastic_net, l1reg=4.0, gamma=gamma)
    result = proximal_gradient(residual, jnp.ones(12), prox=prox, tol=1e-10)
    want = coordinate_descent(4.0, 4.0 * gamma)
    assert word(result) == "CONVERGED"
    np.testing.assert_allclose(result.params, want, atol=1e-10)
    assert 0 < np.sum(want == 0) < 12
    np.testing.assert_array_equal(np.asarray(result.params) == 0, want == 0)


def test_group_lasso_satisfies_its_optimality_conditions():
    groups = {"one": jnp.ones(6), "two": jnp.ones(6)}

    def loss(g):
        return residual(jnp.concatenate([g["one"], 1e-2 * g["two"]]))

    result = proximal_gradient(loss, groups, prox=functools.partial(optaxaccel.prox_group_lasso, l2reg=3.0), tol=1e-10)
    slope = jax.grad(loss)(result.params)
    assert np.all(result.params["two"] == 0)
    assert np.linalg.norm(slope["two"]) <= 3.0
    unit = result.params["one"] / jnp.linalg.norm(result.params["one"])
    np.testing.assert_allclose(slope["one"], -3.0 * unit, atol=1e-8)


def test_projection_and_bounds_agree():
    prox = optaxaccel.make_prox_from_projection(lambda x: jnp.maximum(x, 0.0))
    result = proximal_gradient(residual, jnp.ones(12), prox=prox, tol=1e-10)
    np.testing.assert_allclose(result.params, scipy.optimize.nnls(ROWS, TARGET)[0], atol=1e-9)


def test_momentum_and_restart_save_steps():
    curvature = jnp.logspace(0, 3, 20)

    def loss(x):
        return 0.5 * jnp.sum(curvature * (x - 1.0) ** 2)

    plain, fast = (
        proximal_gradient(loss, jnp.zeros(20), tol=1e-6, max_steps=20_000, accelerate=a) for a in (False, True)
    )
    assert word(plain) == word(fast) == "CONVERGED"
    assert int(fast.steps) < 0.2 * int(plain.steps)
    np.testing.assert_allclose(fast.params, 1.0, atol=1e-5)


def test_proximal_gradient_goes_on_returns_aux_and_keeps_bad_starts():
    def loss(x):
        return residual(x), x[0]

    part = proximal_gradient(loss, jnp.ones(12), has_aux=True, tol=1e-10, max_steps=5)
    assert (word(part), int(part.steps)) == ("LIMIT", 5)
    whole = proximal_gradient(loss, jnp.ones(12), has_aux=True, tol=1e-10)
    rest = proximal_gradient(loss, None, has_aux=True, tol=1e-10, state=part.state)
    assert int(rest.steps) == int(whole.steps)
    assert float(whole.aux) == float(whole.params[0])
    assert float(whole.value) == pytest.approx(float(residual(whole.params)))
    bad = proximal_gradient(lambda x: jnp.sum(x) * jnp.nan, jnp.ones(2))
    assert word(bad) == "NOT_FINITE"
    np.testing.assert_array_equal(bad.params, 1.0)
    with pytest.raises(TypeError, match="gradient"):
        proximal_gradient(residual, jnp.arange(12))
