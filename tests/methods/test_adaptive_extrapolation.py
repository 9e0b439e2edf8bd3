"""Adaptive RNA against its rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from methods import histories

import optaxaccel

MODERATE = np.array([1e-6, 1e-4, 1e-2, 1.0])  # so that the twin's normal equations can be trusted to 1e-9


def adaptive(points, value, grid, line_search=True, force_decrease=True):
    """Choose lambda by the loss, fall back to the newest iterate, then double the length while the loss falls."""
    candidates = [histories.extrapolated(points, ridge) for ridge in grid]
    values = [value(x) if np.isfinite(value(x)) else np.inf for x in candidates]
    best = int(np.argmin(values))
    x, lowest = candidates[best], values[best]
    if force_decrease and not lowest <= value(points[-1]):
        x, lowest = points[-1], value(points[-1])
    if not line_search:
        return x
    t, direction = 1.0, x - points[0]
    while value(points[0] + 2 * t * direction) < lowest:
        t *= 2
        lowest = value(points[0] + t * direction)
    return points[0] + t * direction


@pytest.mark.parametrize("line_search", [True, False])
@pytest.mark.parametrize("force_decrease", [True, False])
@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("problem", problems.ALL, ids=str)
def test_follows_the_rule(problem, k, line_search, force_decrease):
    points = histories.descent(problem, k + 1)
    with jax.enable_x64(True):
        got = optaxaccel.extrapolate_adaptive(
            histories.trees(points, problem),
            problem.loss,
            regularizations=MODERATE,
            line_search=line_search,
            force_decrease=force_decrease,
        )
    want = adaptive(points, problem.value, MODERATE, line_search, force_decrease)
    np.testing.assert_allclose(problems.flatten(got), want, rtol=0, atol=1e-8 * np.max(np.abs(want)))


def test_the_grid_is_that_of_the_authors():
    """1e-16 and K powers of ten from 1e-15 to 10: as many evaluations, and one for each candidate of a given grid."""
    calls = []

    def loss(x):
        jax.debug.callback(lambda v: calls.append(float(v)), x[0])
        return jnp.sum(x**2)

    points = [jnp.asarray(p, jnp.float32) for p in histories.decaying(5, size=6)]
    optaxaccel.extrapolate_adaptive(points, loss, line_search=False, force_decrease=False)
    jax.effects_barrier()
    assert len(calls) == 1 + 4
    with jax.enable_x64(True):
        points = [jnp.asarray(p) for p in histories.decaying(4, size=6)]
        default = optaxaccel.extrapolate_adaptive(points, lambda x: jnp.sum(x**2))
        given = optaxaccel.extrapolate_adaptive(
            points, lambda x: jnp.sum(x**2), regularizations=[1e-16, 1e-15, 1e-7, 10]
        )
    np.testing.assert_allclose(default, given, rtol=1e-6)


def test_it_is_never_worse_than_the_newest_iterate():
    rng = np.random.default_rng(0)
    for _ in range(10):
        points = [jnp.asarray(rng.normal(size=4), jnp.float32) for _ in range(5)]
        got = optaxaccel.extrapolate_adaptive(points, norm)
        assert norm(got) <= norm(points[-1])


def norm(x):
    return jnp.sum(x**2)


def test_values_that_are_not_finite_are_the_worst():
    points = [jnp.asarray(p, jnp.float32) for p in histories.decaying(4, size=6)]

    def loss(x):
        return jnp.where(jnp.max(jnp.abs(x - points[-1])) > 1e-6, jnp.nan, 1.0)

    np.testing.assert_array_equal(optaxaccel.extrapolate_adaptive(points, loss), points[-1])


def test_data_reach_the_loss_and_nothing_is_compiled_again():
    traces = []

    def loss(x, target):
        traces.append(1)
        return jnp.sum((x - target) ** 2)

    points = [jnp.asarray(p, jnp.float32) for p in histories.decaying(4, size=6)]
    optaxaccel.extrapolate_adaptive(points, loss, target=jnp.float32(1.0))
    first = len(traces)
    optaxaccel.extrapolate_adaptive(points, loss, target=jnp.float32(2.0))
    assert len(traces) == first


@pytest.mark.parametrize("grid", [[], [-1.0], [float("nan")], [[1.0]]])
def test_what_is_no_grid_is_refused(grid):
    with pytest.raises(ValueError, match="is no grid"):
        optaxaccel.extrapolate_adaptive([jnp.zeros(2), jnp.ones(2)], norm, regularizations=grid)


def test_a_loss_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="one number"):
        optaxaccel.extrapolate_adaptive([jnp.zeros(2), jnp.ones(2)], lambda x: x)
