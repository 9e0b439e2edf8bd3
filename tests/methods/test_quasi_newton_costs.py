"""What a step of the dense quasi-Newton methods holds beside its matrix, and where that begins anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optaxaccel
from optaxaccel.methods._quasi_newton_update import QUASI_NEWTON_METHODS

N = 300
MATRIX = 8 * N * N  # bytes


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def loss(x):
    return jnp.sum(jnp.cosh(x) + 0.1 * x[::-1] * x)


def temporary(function, *arguments, **options):
    """Return the bytes that a compiled function needs beside its arguments and results, in matrices."""
    compiled = jax.jit(function, **options).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes / MATRIX


@pytest.mark.parametrize("method", QUASI_NEWTON_METHODS)
def test_a_step_makes_no_matrix_beside_its_own(method):
    """The compiler makes before a loop whatever does not hang on what it carries: here a matrix in every step."""
    tx, x = optaxaccel.scale_by_quasi_newton(method=method), jnp.ones(N)
    assert temporary(tx.update, x, tx.init(x), x, donate_argnums=1) < 0.1


@pytest.mark.parametrize("given", [{"method": "bfgs"}, {"method": "ssbroyden"}, {"bounds": (-1.0, 1.0)}])
def test_a_minimisation_holds_one_matrix(given):
    assert temporary(lambda x: optaxaccel.minimize(loss, x, **given).params, jnp.ones(N)) < 1.1


def test_a_step_of_bfgs_multiplies_with_its_matrix_once():
    tx, x = optaxaccel.scale_by_quasi_newton(method="bfgs"), jnp.ones(N)
    program = jax.jit(tx.update).lower(x, tx.init(x), x).as_text().splitlines()
    products = [line for line in program if "dot_general" in line and f"tensor<{N}x{N}xf64>" in line]
    assert len(products) == 1


def test_the_change_of_the_product_is_the_product_with_the_change():
    """Over 60 steps of Rosenbrock's valley, `last_direction` is H g and H is that of the rule."""
    tx = optaxaccel.bfgs()

    def valley(x):
        return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    @jax.jit
    def step(x, state):
        value, grad = jax.value_and_grad(valley)(x)
        updates, new = tx.update(grad, state, x, value=value, grad=grad, value_fn=valley)
        return x + updates, new, grad

    x = jnp.asarray([-1.2, 1.0] * 5)
    state = tx.init(x)
    for k in range(60):
        before, (x, state, grad) = (x, state), step(x, state)
        old, new = before[1][0], state[0]
        if k:
            s, y = before[0] - old.last_params, grad - old.last_gradient
            H = optaxaccel.quasi_newton_update(
                old.inverse_hessian, s, y, old.last_gradient, _step_size(s, old), method="bfgs"
            )
            scale = float(jnp.max(jnp.abs(H)))
            np.testing.assert_allclose(new.inverse_hessian, H, rtol=1e-9, atol=1e-11 * scale)
        product = new.inverse_hessian @ grad
        np.testing.assert_allclose(new.last_direction, product, atol=1e-10 * float(jnp.max(jnp.abs(product))))


def _step_size(s, old):
    return -jnp.dot(s, old.last_direction) / jnp.dot(old.last_direction, old.last_direction)


@pytest.mark.parametrize(("y", "scale"), [(4.0, 0.25), (-1.0, 1.0), (0.0, 1.0), (1e200, 1.0), (1e-200, 1.0)])
@pytest.mark.parametrize("method", ["bfgs", "ssbroyden"])
def test_a_matrix_that_is_not_definite_begins_anew_as_the_identity_that_the_last_pair_scales(method, y, scale):
    tx = optaxaccel.scale_by_quasi_newton(method=method)
    x, g = jnp.ones(3), jnp.arange(1.0, 4.0)
    _, state = tx.update(g, tx.init(x), x)
    indefinite = jnp.diag(jnp.array([1.0, 1.0, -1e6]))
    state = state._replace(inverse_hessian=indefinite, last_direction=indefinite @ g)
    direction, state = tx.update(g + y, state, x + 1.0)
    np.testing.assert_allclose(state.inverse_hessian, scale * np.eye(3), rtol=1e-12)
    np.testing.assert_allclose(direction, scale * (g + y), rtol=1e-12)
    np.testing.assert_array_equal(state.last_direction, direction)
