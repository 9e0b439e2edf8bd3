"""Derivatives of fixed points, against closed forms and central differences; each pitfall of custom rules is a test."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import fixed_point

RNG = np.random.default_rng(0)
W = RNG.normal(size=(8, 8)) / 5
V = (RNG.normal(size=(5, 5)) + 1j * RNG.normal(size=(5, 5))) / 8
COST = RNG.uniform(size=(6, 6))
STEP = 1e-5
PLAIN = {"method": "plain", "rtol": 1e-14}  # compiles in a quarter of the time


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def layer(a, **options):
    return fixed_point(lambda z, a: jnp.tanh(W @ z + a), jnp.zeros(8), a, rtol=1e-13, **options)


def transport(a):
    a = jax.nn.log_softmax(a)  # masses

    def image(f):
        g = -jax.nn.logsumexp(f[:, None] - COST / 0.2, axis=0) + a
        return -jax.nn.logsumexp(g[None, :] - COST / 0.2, axis=1) - jnp.log(6.0)

    f = fixed_point(image, jnp.zeros(6), rtol=1e-13).value
    return jnp.sum((f - jnp.mean(f)) ** 2)  # the loss may not depend on the free constant


def ridge(a):
    data = jnp.asarray(W)
    solution = fixed_point(lambda x: x - 0.5 * (data.T @ (data @ x - a) + 0.1 * x), jnp.zeros(8), rtol=1e-13)
    return jnp.sum(solution.value**2)


LOSSES = {
    "layer": (lambda a: jnp.sum(jnp.sin(layer(a).value)), RNG.normal(size=8)),
    "transport": (transport, 0.1 * RNG.normal(size=6)),
    "ridge": (ridge, RNG.normal(size=8)),
}


def differences(fun, a):
    shifts = STEP * np.eye(a.size)
    return np.array([(fun(a + e) - fun(a - e)) / (2 * STEP) for e in shifts])


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_central_differences(name):
    loss, a = LOSSES[name]
    loss = jax.jit(loss)
    wanted = differences(loss, a)
    np.testing.assert_allclose(jax.grad(loss)(a), wanted, rtol=1e-6, atol=1e-8)
    forward = jax.jit(jax.vmap(lambda e: jax.jvp(loss, (a,), (e,))[1]))(np.eye(a.size))
    np.testing.assert_allclose(forward, wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("inner", [jax.jacfwd, jax.jacrev])
def test_second_derivatives_in_every_order(outer, inner):
    """x = a / x^2 has x = a^(1/3) and x'' = -2/9 a^(-5/3); damped, the map contracts. Plain steps compile fast."""

    def root(a):
        return fixed_point(lambda x: (2 * x + a / x**2) / 3, jnp.ones(()), method="plain", rtol=1e-14).value

    np.testing.assert_allclose(jax.jit(outer(inner(root)))(2.0), -2 / 9 * 2 ** (-5 / 3), rtol=1e-9)


def test_second_derivatives_of_the_default_rule():
    loss = jax.jit(lambda a: jnp.sum(jnp.sin(layer(a, history=3).value)))
    a = LOSSES["layer"][1]
    got = jax.jit(lambda a, e: jax.jvp(jax.grad(loss), (a,), (e,))[1])(a, np.eye(8)[0])
    gradient = jax.jit(jax.grad(loss))
    wanted = (gradient(a + 1e-5 * np.eye(8)[0]) - gradient(a - 1e-5 * np.eye(8)[0])) / 2e-5
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-8)


def test_closures_arguments_and_auxiliary_outputs_carry_the_derivative():
    def by_argument(a):
        r = fixed_point(lambda x, a: (jnp.cos(a * x), a * jnp.sin(x)), jnp.ones(()), a, has_aux=True, **PLAIN)
        return r.value, r.aux

    def by_closure(a):
        r = fixed_point(lambda x: (jnp.cos(a * x), a * jnp.sin(x)), jnp.ones(()), has_aux=True, **PLAIN)
        return r.value, r.aux

    first, second = (jax.jit(jax.jacrev(f))(0.7) for f in (by_argument, by_closure))
    np.testing.assert_allclose(first, second, rtol=1e-12)
    wanted = np.subtract(by_closure(0.7 + STEP), by_closure(0.7 - STEP)) / (2 * STEP)
    np.testing.assert_allclose(second, wanted, rtol=1e-7)


def test_batches_of_gradients_and_gradients_of_batches_agree():
    def one(a, n):  # n is an integer under vmap, and closed over
        return fixed_point(lambda x: jnp.cos(a * x) / n, jnp.ones(()), **PLAIN).value

    a, n = jnp.array([0.5, 0.8, 1.0]), jnp.array([1, 2, 3])
    each, alone = jax.jit(jax.vmap(jax.grad(one)))(a, n), jax.jit(jax.grad(one))
    np.testing.assert_allclose(jax.jit(jax.grad(lambda a: jnp.sum(jax.vmap(one)(a, n))))(a), each, rtol=1e-12)
    np.testing.assert_allclose(each, [alone(a[k], n[k]) for k in range(3)], rtol=1e-9)


def test_complex_unknowns_have_jax_gradients():
    @jax.jit
    def loss(b):
        z = fixed_point(lambda z: V @ jnp.tanh(z) + b, jnp.zeros(5, complex), rtol=1e-14).value
        return jnp.sum(jnp.arange(1, 6) * jnp.abs(z) ** 2)

    b = jnp.asarray(V[0])
    gradient = jax.grad(loss)(b)
    for direction in (np.eye(5)[1], 1j * np.eye(5)[2]):
        slope = (loss(b + STEP * direction) - loss(b - STEP * direction)) / (2 * STEP)
        np.testing.assert_allclose(np.real(np.sum(gradient * direction)), slope, rtol=1e-7)


def test_where_it_starts_does_not_matter_to_the_derivative():
    def numbers(x0, a):
        result = fixed_point(lambda x: a * jnp.cos(x), x0, **PLAIN)
        return jnp.sum(result.value) + result.residual * result.maps

    by_start, by_argument = jax.grad(numbers, (0, 1))(jnp.ones(3), 0.5)
    assert by_start.tolist() == [0.0, 0.0, 0.0]
    assert float(by_argument) > 0


def test_maps_without_a_derivative_are_solved():
    def image(x):
        return jax.pure_callback(np.cos, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    np.testing.assert_allclose(fixed_point(image, np.ones(2, np.float32)).value, 0.739085, rtol=1e-5)


def test_a_map_is_traced_once():
    traced = []

    def image(x, a):
        traced.append(1)
        return jnp.cos(a * x)

    jax.jit(jax.grad(lambda a: fixed_point(image, 1.0, a).value))(0.5)
    assert len(traced) == 1


@pytest.mark.parametrize("method", ["acx", "plain"])
def test_every_method_solves_its_own_linear_equations(method):
    loss = jax.jit(lambda a: jnp.sum(jnp.sin(layer(a, method=method).value)))
    a = LOSSES["layer"][1]
    np.testing.assert_allclose(jax.grad(loss)(a), differences(loss, a), rtol=1e-6, atol=1e-8)


def test_phantom_gradients_are_those_of_the_last_steps():
    a = jnp.asarray(LOSSES["layer"][1])
    solve = jax.jit(functools.partial(layer, method="plain"), static_argnames="phantom")
    exact, maps = solve(a).value, int(solve(a).maps)

    def loss(a, steps):
        return jnp.sum(jnp.sin(solve(a, phantom=steps).value))

    def unrolled(a, steps):
        z = jax.lax.stop_gradient(exact)
        for _ in range(steps):
            z = jnp.tanh(W @ z + a)
        return jnp.sum(jnp.sin(z))

    implicit = jax.grad(loss)(a, None)
    errors = []
    for steps in (1, 3, 40):
        result, got = solve(a, phantom=steps), jax.grad(loss)(a, steps)
        np.testing.assert_allclose(result.value, exact, rtol=1e-11)
        assert int(result.maps) == maps + steps
        np.testing.assert_allclose(got, jax.grad(unrolled)(a, steps), rtol=1e-8)
        errors.append(float(jnp.max(jnp.abs(got - implicit))))
    assert errors[0] > errors[1] > 1e6 * errors[2]
