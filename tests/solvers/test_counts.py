"""How many steps and losses a minimum takes, against the authors' code run in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import SearchStatus, minimize

# Steps and losses of the authors' code (a SciPy BFGS with other updates): the chained Rosenbrock function
# of ten unknowns from (-1.2, 1, ...) to max|g| <= 1e-6, and a turned quadratic of condition 1e6 to 1e-8 of its start.
AUTHORS = {"bfgs": ((74, 84), (91, 101)), "ssbfgs": ((77, 89), (87, 97)), "ssbroyden": ((76, 91), (86, 96))}
WITHIN = 0.05


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def valley(x):
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def bowl(x, *, curvatures):
    return 0.5 * jnp.sum(curvatures * x**2)


@pytest.mark.parametrize("method", AUTHORS)
def test_steps_and_losses_are_those_of_the_authors_code(method):
    (steps, losses), (steps_of_bowl, losses_of_bowl) = AUTHORS[method]
    result = minimize(valley, jnp.where(jnp.arange(10) % 2 == 0, -1.2, 1.0), method=method, tol=1e-6)
    assert SearchStatus(int(result.status)) == SearchStatus.CONVERGED
    assert float(result.value) == pytest.approx(3.98658, abs=1e-5)  # the local minimum
    assert int(result.steps) == pytest.approx(steps, rel=WITHIN)
    assert int(result.evaluations) == pytest.approx(losses, rel=WITHIN)

    turned, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(100, 100)))  # turns nothing but the start
    start, data = jnp.asarray(turned.T @ np.ones(100)), {"curvatures": jnp.logspace(-2, 4, 100)}
    low = 1e-8 * bowl(start, **data)
    most, fewest = round(steps_of_bowl * (1 + WITHIN)), round(steps_of_bowl * (1 - WITHIN)) - 1
    there, before = (
        minimize(bowl, start, method=method, tol=0.0, max_steps=count, data=data) for count in (most, fewest)
    )
    assert float(there.value) <= float(low) < float(before.value)
    extra = int(there.steps) - steps_of_bowl  # the last ones take a loss each
    assert int(there.evaluations) - extra == pytest.approx(losses_of_bowl, rel=WITHIN)
