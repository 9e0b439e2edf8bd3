"""Small units, small caps and small cotangents: nothing about a solution or its derivative depends on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import FixedPointStatus, fixed_point

METHODS = ("anderson", "acx", "plain")
RATES = np.array([0.9, 0.5, -0.3, 0.2])


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unit", [1.0, 1e-20, 1e-30])
def test_squares_that_underflow_are_no_convergence(method, unit):
    """In float32 a residual of 1e-20 has the square 0; the status says so, and larger units solve it."""
    with jax.enable_x64(False):
        shift = unit * jnp.array([1.0, 2.0, 3.0, 4.0], jnp.float32)
        result = fixed_point(lambda x: RATES.astype(np.float32) * x + shift, jnp.zeros(4, jnp.float32), method=method)
        lazily = jax.vmap(lambda c: fixed_point(lambda x: 0.9 * x + c, jnp.zeros(3, jnp.float32), method=method).status)
        status = lazily(jnp.array([1.0, unit], jnp.float32))
    expected = FixedPointStatus.CONVERGED if unit == 1 else FixedPointStatus.STALLED
    assert int(result.status) == expected
    assert status.tolist() == [FixedPointStatus.CONVERGED, expected]


def test_a_fixed_point_at_zero_is_one():
    with jax.enable_x64(False):
        for start in (jnp.zeros(3, jnp.float32), jnp.full(3, 1e-25, jnp.float32)):
            assert int(fixed_point(lambda x: 0.0 * x, start).status) == FixedPointStatus.CONVERGED
    assert int(fixed_point(lambda x: 0.0 * x, jnp.full(3, 1e-200)).status) == FixedPointStatus.CONVERGED


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("max_maps", [1, 3])
def test_a_cap_on_evaluations_of_the_map_is_none_on_its_derivative(method, max_maps):
    """Whoever starts at the solution needs few evaluations of F."""

    def fun(x, a):
        return a * RATES * x + 0.01 * jnp.sin(x) + 1.0

    start = fixed_point(fun, jnp.zeros(4), 1.0, rtol=1e-13).value

    def total(a, rtol=1e-9, max_maps=5000):
        return fixed_point(fun, start, a, method=method, rtol=rtol, max_maps=max_maps).value.sum()

    slope = (total(1 + 1e-6, 1e-13) - total(1 - 1e-6, 1e-13)) / 2e-6
    assert jax.grad(lambda a: total(a, max_maps=max_maps))(1.0) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weight", [1.0, 1e-6, 1e-12, 1e-200])
def test_an_absolute_tolerance_in_units_of_x_is_none_of_the_cotangents(method, weight):
    def loss(a):
        result = fixed_point(lambda x: 0.9 * a * x + 1.0, jnp.zeros(3), atol=1e-6, rtol=0, method=method)
        return weight * result.value.sum()

    assert jax.grad(loss)(1.0) / weight == pytest.approx(270.0, rel=1e-5)
    assert jax.jvp(loss, (1.0,), (1e-8,))[1] / weight / 1e-8 == pytest.approx(270.0, rel=1e-5)


def test_a_derivative_that_does_not_exist_is_nan():
    """Every x is a fixed point at a = 1, and none beside it."""
    slope = jax.grad(lambda a: fixed_point(lambda x: x + a - 1.0, jnp.ones(3), method="plain").value.sum())(1.0)
    assert np.isnan(slope)


@pytest.mark.parametrize("method", ["anderson", "plain"])
def test_a_parameter_of_some_leaves_has_derivatives_of_any_order(method):
    start = {"u": jnp.zeros(()), "v": jnp.zeros(())}

    def fun(x, p):
        return {"u": 0.5 * p * jnp.cos(x["v"]), "v": 0.7 * jnp.sin(x["u"])}

    def loss(x):
        return x["u"] ** 2 + jnp.sin(x["v"])

    def unrolled(p):
        return loss(_iterated(fun, start, p))

    def solved(p):
        return loss(fixed_point(fun, start, p, method=method, rtol=1e-12).value)

    for derivative in (lambda f: jax.grad(jax.grad(f)), jax.hessian, lambda f: jax.grad(jax.grad(jax.grad(f)))):
        assert derivative(solved)(0.8) == pytest.approx(float(derivative(unrolled)(0.8)), rel=1e-8)


def _iterated(fun, x, p):
    for _ in range(60):
        x = fun(x, p)
    return x


def test_unknowns_without_a_number_are_refused():
    with pytest.raises(ValueError, match="holds no numbers"):
        fixed_point(lambda x: x, jnp.zeros(0))
