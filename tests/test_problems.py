"""The shared test problems agree with themselves: NumPy with JAX, gradients with differences, the harness with SGD."""

import jax
import numpy as np
import optax
import problems
import pytest


@pytest.mark.parametrize("problem", problems.ALL, ids=str)
def test_numpy_and_jax_see_the_same_function(problem):
    with jax.enable_x64(True):
        value, grads = jax.value_and_grad(problem.loss)(problem.start)
    assert problem.value(problem.x0) == pytest.approx(float(value), rel=1e-13)
    np.testing.assert_allclose(problem.gradient(problem.x0), problems.flatten(grads), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("problem", problems.ALL, ids=str)
def test_the_harness_runs_gradient_descent(problem):
    def paper(x):
        trajectory = [x]
        for _ in range(problems.STEPS):
            x = x - problem.rate * problem.gradient(x)
            trajectory.append(x)
        return np.array(trajectory)

    run = problems.run_jax(optax.sgd(problem.rate), problem)
    problems.assert_follows(run.params, paper, problem)
    np.testing.assert_array_equal(run.evaluated, run.params)
    assert problem.value(run.params[-1]) < problem.value(run.params[0])


def test_a_wrong_rate_is_seen():
    problem = problems.MLP
    run = problems.run_jax(optax.sgd(problem.rate * (1 + 1e-7)), problem)
    exact = problems.run_jax(optax.sgd(problem.rate), problem)
    with pytest.raises(AssertionError, match="relative error"):
        problems.assert_follows(run.params, lambda x: exact.params, problem)
