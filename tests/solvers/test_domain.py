"""Extrapolations stay in the domain that was named; plain steps are the map's own affair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import FixedPointStatus, anderson_init, anderson_update, fixed_point

CHAIN = np.array([[0.98, 0.02, 0.0], [0.01, 0.97, 0.02], [0.01, 0.01, 0.98]])


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def seen_by(fun, x0, **options):
    """Return the points at which the map is evaluated, and the result."""
    points = []

    def image(x):
        jax.debug.callback(lambda x: points.append(np.asarray(x)), x)
        return fun(x)

    result = fixed_point(image, x0, **options)
    jax.effects_barrier()
    return np.array(points), result


def falling(x):
    """Comes down to 1 from above; extrapolating from far away overshoots below 1, where there is no map."""
    return jnp.where(x >= 1, 1 + (x - 1) * (0.97 - 0.3 * jnp.exp(1 - x)), jnp.nan)


@pytest.mark.parametrize("method", ["anderson", "acx"])
def test_bounds_keep_extrapolations_in_the_box(method):
    x0 = jnp.array([30.0, 8.0, 2.0])
    loose, _ = seen_by(falling, x0, method=method)
    assert loose.min() < 1
    points, result = seen_by(falling, x0, method=method, bounds=(1.0, jnp.inf))
    assert points.min() >= 1
    assert int(result.status) == fixed_point.CONVERGED
    tree = fixed_point(lambda t: {"x": falling(t["x"])}, {"x": x0}, method=method, bounds=({"x": jnp.ones(3)}, 1e9))
    np.testing.assert_allclose(tree.value["x"], result.value, rtol=1e-9)


@pytest.mark.parametrize("method", ["anderson", "acx"])
def test_valid_is_asked_before_the_map(method):
    points, result = seen_by(falling, jnp.array([30.0, 8.0]), method=method, valid=lambda x: jnp.all(x >= 1))
    assert points.min() >= 1
    assert int(result.status) == fixed_point.CONVERGED
    assert int(result.rejected) > 0


def test_a_projection_keeps_probabilities_on_the_simplex():
    def project(p):
        p = jnp.maximum(p, 0)
        return p / jnp.sum(p)

    points, result = seen_by(lambda p: CHAIN.T @ p * 1.0, jnp.array([1.0, 0.0, 0.0]), project=project, rtol=1e-10)
    assert points.min() >= 0
    values, vectors = np.linalg.eig(CHAIN.T)
    wanted = np.real(vectors[:, np.argmax(np.real(values))])
    np.testing.assert_allclose(result.value / result.value.sum(), wanted / wanted.sum(), rtol=1e-6)


def test_the_step_pair_knows_the_domain_too():
    x, state = jnp.array([30.0, 8.0]), anderson_init(jnp.zeros(2))
    update = jax.jit(lambda y, x, state: anderson_update(y, x, state, bounds=(1.0, 40.0)))
    while int(state.status) == FixedPointStatus.RUNNING:
        assert float(x.min()) >= 1
        x, state = update(falling(x), x, state)
    assert int(state.status) == FixedPointStatus.CONVERGED


def test_other_bounds_are_not_compiled_for():
    traced = []

    def fun(x):
        traced.append(1)
        return 0.5 * x + 1

    for lower in (-1, 0.0, np.zeros(2), None):
        result = fixed_point(fun, jnp.zeros(2), bounds=(lower, 5))
        np.testing.assert_allclose(result.value, 2.0, rtol=1e-5)
    assert len(traced) <= 2  # the map is traced twice for one program
    inside = jax.grad(lambda top: fixed_point(lambda x: 0.5 * x + top, 0.0, bounds=(0.0, 3 * top)).value)(1.0)
    np.testing.assert_allclose(inside, 2.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        ([(0.0, 1.0), (0.0, 1.0)], ValueError, "as SciPy takes one of pairs"),
        ((5.0, 1.0), ValueError, "above"),
        ((np.nan, 1.0), ValueError, "NaN"),
        (5.0, ValueError, "pair"),
        ((0.0, 1.0, 2.0), ValueError, "pair"),
        ((np.zeros(3), 1.0), ValueError, r"\(3,\)"),
        (({"a": 0.0}, 1.0), ValueError, "structure"),
        ((1j, 1.0), TypeError, "complex"),
    ],
)
def test_bad_bounds_are_refused(bounds, error, message):
    with pytest.raises(error, match=message):
        fixed_point(jnp.cos, jnp.ones(2), bounds=bounds)
    with pytest.raises(error, match=message):
        anderson_update(jnp.ones(2), jnp.ones(2), anderson_init(jnp.ones(2)), bounds=bounds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"project": lambda x: x[:1]}, "project returned"),
        ({"valid": lambda x: x > 0}, "valid returned"),
        ({"valid": lambda x: jnp.sum(x)}, "valid returned"),
    ],
)
def test_hooks_that_return_something_else_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fixed_point(jnp.cos, jnp.ones(2), **options)
