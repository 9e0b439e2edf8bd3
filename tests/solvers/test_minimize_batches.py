"""A batch of minimisations: each member is what it is alone, and the matrices are not copied for it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel import SearchStatus, minimize

N = 5
METHODS = {
    "bfgs": {"method": "bfgs"},
    "ssbroyden": {"method": "ssbroyden"},
    "in a box": {"method": "bfgs", "bounds": (-2.0, 0.9)},
    "parts of one's own": {
        "method": optax.chain(
            optaxaccel.scale_by_quasi_newton(method="ssbfgs"),
            optax.scale(-1.0),
            optaxaccel.scale_by_wolfe_search(search="hager_zhang"),
        )
    },
}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def loss(x):
    value = jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)
    return jnp.where(x[0] < -1.9, jnp.nan, value)


def starts():
    """Return members that end at once, early, late, and one whose loss is not finite."""
    rng = np.random.default_rng(0)
    far = -0.5 + 0.7 * rng.normal(size=(3, N))
    return jnp.asarray([np.ones(N), *far, np.full(N, -1.95), 1.0 + 1e-3 * rng.normal(size=N)])


def run(given, **more):
    return lambda x: minimize(loss, x, **{"tol": 1e-7, "max_steps": 300} | given | more)


def matrices(state):
    return [x for x in jax.tree.leaves(state) if x.shape == (N, N)]


@pytest.mark.parametrize("given", METHODS.values(), ids=METHODS)
def test_every_member_is_what_it_is_alone(given):
    together = jax.vmap(run(given))(starts())
    alone = [run(given)(x) for x in starts()]
    assert len({int(result.steps) for result in alone}) >= 3
    for k, want in enumerate(alone):
        got = jax.tree.map(lambda x, k=k: x[k], together)
        assert (int(got.status), int(got.steps)) == (int(want.status), int(want.steps))
        assert abs(int(got.evaluations) - int(want.evaluations)) <= 1  # rounding may cost a trial, no more
        np.testing.assert_allclose(got.params, want.params, rtol=1e-6)
        (H,), (wanted,) = matrices(got.state), matrices(want.state)
        np.testing.assert_allclose(H, wanted, atol=0.05 * np.max(np.abs(wanted)))  # rounding grows over the steps


@pytest.mark.parametrize("given", METHODS.values(), ids=METHODS)
def test_a_member_that_has_ended_is_left_as_it_is(given):
    first = jax.jit(jax.vmap(run(given, max_steps=24)))(starts())
    again = jax.jit(jax.vmap(lambda state: run(given, state=state, max_steps=30)(None)))(first.state)
    ended = (first.status != int(SearchStatus.LIMIT)) & (first.status != int(SearchStatus.RUNNING))
    assert not bool(ended.all())
    assert bool((ended & (first.steps > 0)).any())
    assert int((again.steps > first.steps).sum()) == len(ended) - int(ended.sum())
    np.testing.assert_allclose(again.state.grad[ended], first.state.grad[ended], atol=1e-14)  # seen anew, so it rounds
    seen = first.state._replace(evaluations=first.state.evaluations + 1, grad=again.state.grad)
    for a, b in zip(jax.tree.leaves(again.state), jax.tree.leaves(seen), strict=True):
        np.testing.assert_array_equal(a[ended], b[ended])


def test_batches_of_batches():
    grid = starts()[1:5].reshape(2, 2, N)
    nested = jax.vmap(jax.vmap(run({})))(grid)
    flat = jax.vmap(run({}))(grid.reshape(4, N))
    np.testing.assert_array_equal(nested.steps.reshape(4), flat.steps)
    np.testing.assert_allclose(nested.params.reshape(4, N), flat.params, rtol=1e-6)


@pytest.mark.parametrize("method", ["bfgs", "ssbroyden"])
def test_a_turn_of_a_batch_selects_between_matrices_once(method):
    """The select is the update's own, for pairs that teach nothing; the compiler makes one pass of both.

    Another belongs to the round in which a matrix begins anew, a loop that runs only where one is no longer definite.
    """
    program = jax.jit(jax.vmap(run({"method": method}))).lower(jnp.ones((3, N))).as_text().splitlines()
    selects = [line for line in program if "stablehlo.select" in line and line.endswith(f"tensor<3x{N}x{N}xf64>")]
    inside = [line for line in selects if "%iterArg" in line]  # of that loop's turn, which keeps the others' matrices
    assert (len(selects), len(inside)) == (2, 1)
