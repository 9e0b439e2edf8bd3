"""What a function reads from elsewhere is part of the problem: bound anew, it is another one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import fixed_point, minimize, proximal_gradient

TARGET = jnp.array(1.0)
TRACES = []
COUNT = 0


def squared(x):
    return jnp.sum((x - target()) ** 2)


def target():
    return TARGET


class Shifted:
    def __init__(self, shift):
        self.shift, self.calls = shift, 0

    def loss(self, x):
        self.calls += 1
        return jnp.sum((x - self.shift) ** 2)

    def image(self, x):
        return 0.5 * x + self.shift

    def __call__(self, x):
        return self.loss(x)


def test_a_global_that_a_helper_reads(monkeypatch):
    np.testing.assert_allclose(minimize(squared, jnp.zeros(2)).params, 1.0, atol=1e-5)
    monkeypatch.setitem(globals(), "TARGET", jnp.array(5.0))
    np.testing.assert_allclose(minimize(squared, jnp.zeros(2)).params, 5.0, atol=1e-5)


@pytest.mark.parametrize("of", [lambda p: p.loss, lambda p: p, lambda p: functools.partial(Shifted.loss, p)])
def test_an_attribute_of_the_object(of):
    problem = Shifted(1.0)
    np.testing.assert_allclose(proximal_gradient(of(problem), jnp.zeros(2)).params, 1.0, atol=1e-4)
    problem.shift = 2.0
    np.testing.assert_allclose(proximal_gradient(of(problem), jnp.zeros(2)).params, 2.0, atol=1e-4)


def test_a_map_whose_object_or_surroundings_change():
    problem, shift = Shifted(1.0), 1.0

    def image(x):
        return 0.5 * x + shift

    for shift in (1.0, 3.0):
        problem.shift = shift
        np.testing.assert_allclose(fixed_point(problem.image, jnp.zeros(2)).value, 2 * shift, atol=1e-4)
        np.testing.assert_allclose(fixed_point(image, jnp.zeros(2)).value, 2 * shift, atol=1e-4)


def test_nothing_is_compiled_anew_for_equal_bindings_or_a_counter_of_calls():
    """A counter that the function itself keeps is no binding that it reads."""
    inner = 0

    def loss(x):
        global COUNT
        nonlocal inner
        COUNT, inner = COUNT + 1, inner + 1
        TRACES.append(x)
        return jnp.sum((x - 1.0) ** 2)

    problem = Shifted(1.0)
    for fun in (loss, problem.loss, problem):
        minimize(fun, jnp.zeros(2))
        traced = len(TRACES), problem.calls
        for start in (1.0, 2.0):
            minimize(fun, jnp.zeros(2) + start, tol=1e-4)
        assert (len(TRACES), problem.calls) == traced


def test_it_is_taken_inside_of_compiled_functions():
    def of(shift):
        return minimize(lambda x: jnp.sum((x - shift) ** 2), jnp.zeros(2)).params

    np.testing.assert_allclose(jax.jit(of)(2.0), 2.0, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(of)(jnp.array([1.0, 3.0])), [[1.0, 1.0], [3.0, 3.0]], atol=1e-5)
