import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel.numerics import differences


def problem(condition, seed=0, size=40, number=6):
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, number)))[0] for n in (size, number))
    columns = left @ np.diag(np.logspace(0, -np.log10(condition), number)) @ right.T
    return columns * np.logspace(3, -3, number), rng.normal(size=size)


@pytest.mark.parametrize("condition", [1.0, 1e3])
@pytest.mark.parametrize("newest", [0, 3, 5])
def test_weights_solve_the_least_squares_problem(condition, newest):
    with jax.enable_x64(True):
        columns, side = problem(condition)
        got = differences.weights(columns.T @ columns, columns.T @ side, np.ones(6, bool), newest)
        np.testing.assert_allclose(got, np.linalg.lstsq(columns, side)[0], rtol=1e-8)


def test_slots_that_are_not_filled_get_no_weight():
    with jax.enable_x64(True):
        columns, side = problem(10.0)
        gram, along = columns.T @ columns, columns.T @ side
        gram[4:], gram[:, 4:] = np.nan, 7.0
        got = differences.weights(gram, along, np.arange(6) < 4, 3)
        np.testing.assert_allclose(got[:4], np.linalg.lstsq(columns[:, :4], side)[0], rtol=1e-9)
        assert got[4:].tolist() == [0.0, 0.0]


def test_a_difference_that_depends_on_newer_ones_is_left_out():
    with jax.enable_x64(True):
        columns, side = problem(10.0)
        columns[:, 4] = columns[:, 1] - 2 * columns[:, 2]  # slots from newest to oldest: 2, 1, 0, 5, 4, 3
        got = differences.weights(columns.T @ columns, columns.T @ side, np.ones(6, bool), 2)
        assert float(got[4]) == 0.0
        rest = [0, 1, 2, 3, 5]
        np.testing.assert_allclose(got[np.array(rest)], np.linalg.lstsq(columns[:, rest], side)[0], rtol=1e-8)


def test_members_of_a_batch_are_what_they_are_alone():
    grams, sides = zip(*((c.T @ c, c.T @ r) for c, r in (problem(10.0, seed) for seed in range(3))), strict=True)
    grams, sides = (np.array(x, np.float32) for x in (grams, sides))
    filled = jnp.ones(6, bool)
    together = jax.jit(jax.vmap(differences.weights, (0, 0, None)))(grams, sides, filled)
    for k in range(3):
        np.testing.assert_allclose(together[k], jax.jit(differences.weights)(grams[k], sides[k], filled), rtol=1e-4)


def test_a_new_row_enters_both_ways():
    gram = jnp.arange(9.0).reshape(3, 3)
    row = jnp.array([10.0, 20.0, 30.0])
    assert differences.enter(gram, 1, row, when=True).tolist() == [[0, 10, 2], [10, 20, 30], [6, 30, 8]]
    assert differences.enter(gram, 1, row, when=False).tolist() == gram.tolist()
