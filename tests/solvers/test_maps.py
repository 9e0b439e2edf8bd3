"""What `fixed_point` says of its evaluations is what it made of them, and it makes none that it does not need."""

import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import fixed_point

A = np.diag(np.linspace(-0.5, 0.9, 12))
ENDS = {"converged": {}, "limit": {"max_maps": 6}, "with aux": {"has_aux": True}, "phantom": {"phantom": 3}}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def counted(calls, has_aux=False):
    def fun(x):
        jax.debug.callback(lambda: calls.append(None))
        image = jnp.tanh(A @ x) + 1.0
        return (image, jnp.sum(x)) if has_aux else image

    return fun


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("method", ["anderson", "acx", "plain"])
def test_the_evaluations_are_those_that_the_host_counted(method, end):
    calls, options = [], ENDS[end]
    fun = counted(calls, options.get("has_aux", False))
    result = fixed_point(fun, jnp.zeros(12), method=method, **{"max_maps": 500, **options})
    jax.effects_barrier()
    assert int(result.maps) == len(calls)
    assert int(result.status) == (fixed_point.LIMIT if end == "limit" else fixed_point.CONVERGED)
    assert end != "limit" or len(calls) == 7


@pytest.mark.parametrize("method", ["anderson", "acx", "plain"])
def test_a_search_that_converged_returns_the_image_that_it_has(method):
    seen, calls = [], []
    fun = counted(calls)
    result = fixed_point(fun, jnp.zeros(12), method=method, callback=lambda maps, residual: seen.append(int(maps)))
    jax.effects_barrier()
    assert int(result.maps) == seen[-1] == len(calls)
    # With an auxiliary output there is one evaluation more, at the same point: the same image.
    other = fixed_point(counted([], has_aux=True), jnp.zeros(12), method=method, has_aux=True)
    assert int(other.maps) == int(result.maps) + 1
    np.testing.assert_allclose(result.value, other.value, rtol=1e-15)


def test_nothing_is_evaluated_for_a_value_that_aux_brings():
    calls = []

    def host(x):
        calls.append(None)
        return 0.9 * np.cos(x)

    def fun(x):  # an evaluation with effects is never dropped by the compiler
        return jax.experimental.io_callback(host, jax.ShapeDtypeStruct(x.shape, x.dtype), x, ordered=True), jnp.sum(x)

    for most, status in ((4, fixed_point.LIMIT), (100, fixed_point.CONVERGED)):
        calls.clear()
        result = jax.block_until_ready(fixed_point(fun, jnp.ones(2), has_aux=True, max_maps=most))
        assert (int(result.maps), int(result.status)) == (len(calls), status)


def test_members_of_a_batch_count_as_they_do_alone():
    scales = jnp.array([0.1, 0.5, 0.99])

    def solve(scale):
        return fixed_point(lambda x: scale * jnp.tanh(A @ x) + 1.0, jnp.zeros(12), rtol=1e-9, max_maps=9)

    together, alone = jax.vmap(solve)(scales), [solve(scale) for scale in scales]
    assert {int(one.status) for one in alone} == {fixed_point.CONVERGED, fixed_point.LIMIT}
    for k, one in enumerate(alone):
        assert int(together.maps[k]) == int(one.maps)
        np.testing.assert_allclose(together.value[k], one.value, rtol=1e-12)


def test_the_derivative_is_that_of_another_step_with_and_without_aux():
    """Tangents of x are solved to `rtol`; those of F(x) are nearer by the rate of the map."""

    def value(scale, has_aux):
        def fun(x):
            image = scale * (A @ x) + 1.0
            return (image, None) if has_aux else image

        return fixed_point(fun, jnp.zeros(12), rtol=1e-4, has_aux=has_aux).value

    scale = 0.5
    inverse = np.linalg.inv(np.eye(12) - scale * A)
    exact = inverse @ A @ inverse @ np.ones(12)
    for derivative in (lambda f: jax.jvp(f, (scale,), (1.0,))[1], lambda f: jax.jacrev(f)(scale)):
        without, with_ = (derivative(lambda scale, k=k: value(scale, k)) for k in (False, True))
        np.testing.assert_allclose(without, with_, rtol=1e-12)
        assert np.linalg.norm(without - exact) <= 1e-4 / (1 - 0.9 * scale) * np.linalg.norm(exact)
