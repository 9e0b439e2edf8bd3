"""Mixing weights: the conditions that mark a minimiser, and how the weights behave under changes of the vectors."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optaxaccel.numerics import gram_weights

affine, simplex = jax.jit(gram_weights.affine_weights), jax.jit(gram_weights.simplex_weights)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None, derandomize=True)


def squares_of(vectors):
    squares = np.sum((vectors[:, None] - vectors) ** 2, axis=2)
    return squares + np.diag(np.sum(vectors**2, axis=1))


def weigh(solve, vectors, ridge=0.0, mask=None):
    with jax.enable_x64(True):
        mask = np.ones(len(vectors), bool) if mask is None else mask
        return np.asarray(solve(jnp.asarray(squares_of(vectors)), jnp.asarray(mask), jnp.asarray(ridge, jnp.float64)))


def draw(seed, k, dimension=8):
    """Vectors of different lengths, some of them nearly parallel, at any scale."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(k, dimension)) * 10.0 ** rng.uniform(-1, 1, (k, 1))
    vectors += rng.choice([0.0, 3.0]) * rng.normal(size=dimension)
    return vectors * 10.0 ** rng.uniform(-8, 8)


def pull(vectors, weights, ridge):
    """Half the gradient of the value, in units of the spectral norm of the Gram matrix."""
    gram = vectors @ vectors.T
    return gram @ weights / np.linalg.norm(gram, 2) + ridge * weights


# --- Minimisers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 6])
@pytest.mark.parametrize("ridge", [0.0, 1e-6, 0.1])
@few
@given(seeds)
def test_affine_weights_are_stationary(k, ridge, seed):
    vectors = draw(seed, k)
    weights = weigh(affine, vectors, ridge)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    slope = pull(vectors, weights, ridge)
    np.testing.assert_allclose(slope, slope.mean(), atol=1e-9 * np.abs(weights).max())
    if ridge:
        z = np.linalg.solve(vectors @ vectors.T / np.linalg.norm(vectors, 2) ** 2 + ridge * np.eye(k), np.ones(k))
        np.testing.assert_allclose(weights, z / z.sum(), rtol=1e-7, atol=1e-9 * np.abs(weights).max())


@pytest.mark.parametrize("k", [1, 2, 3, 6])
@pytest.mark.parametrize("ridge", [0.0, 1e-6, 0.1])
@few
@given(seeds)
def test_simplex_weights_meet_the_conditions_of_karush_kuhn_and_tucker(k, ridge, seed):
    vectors = draw(seed, k)
    weights = weigh(simplex, vectors, ridge)
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    slope = pull(vectors, weights, ridge)
    np.testing.assert_allclose(slope[weights > 0], slope.min(), atol=1e-9)


@pytest.mark.parametrize("k", [2, 3, 4])
@few
@given(seeds)
def test_simplex_weights_beat_a_grid(k, seed):
    vectors = draw(seed, k)
    grid = np.array([c for c in itertools.product(range(9), repeat=k) if sum(c) == 8]) / 8
    least = np.min(np.sum((grid @ vectors) ** 2, axis=1))
    square = np.sum((weigh(simplex, vectors) @ vectors) ** 2)
    assert square <= least * (1 + 1e-9) + 1e-14 * np.sum(vectors**2)


@few
@given(seeds, st.sampled_from([0.0, 1e-6, 0.1]))
def test_two_vectors_on_the_simplex_are_clipped(seed, ridge):
    vectors = draw(seed, 2)
    np.testing.assert_allclose(
        weigh(simplex, vectors, ridge), np.clip(weigh(affine, vectors, ridge), 0.0, 1.0), atol=1e-12
    )


@few
@given(seeds)
def test_a_mixture_that_vanishes_is_found(seed):
    """Vectors A (x_i - x) with enough points: the weights reproduce x, whatever the map A, and affine maps of x_i."""
    rng = np.random.default_rng(seed)
    points, solution = rng.normal(size=(4, 3)), rng.normal(size=3)
    weights = [weigh(affine, (points - solution) @ rng.normal(size=(3, 5))) for _ in range(2)]
    np.testing.assert_allclose(weights[0] @ points, solution, rtol=1e-5, atol=1e-6 * np.abs(weights[0]).max())
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-5, atol=1e-6 * np.abs(weights[0]).max())


# --- Changes of the vectors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solve", [affine, simplex], ids=["affine", "simplex"])
@few
@given(seeds)
def test_scale_rotation_and_order_do_not_matter(solve, seed):
    rng = np.random.default_rng(seed)
    vectors, order = draw(seed, 4), rng.permutation(4)
    rotation, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    want = weigh(solve, vectors, 1e-3)
    np.testing.assert_allclose(weigh(solve, 1e6 * vectors @ rotation, 1e-3), want, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(weigh(solve, vectors[order], 1e-3), want[order], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("solve", [affine, simplex], ids=["affine", "simplex"])
@pytest.mark.parametrize("ridge", [0.0, 1e-6])
@few
@given(seeds, st.integers(1, 4))
def test_vectors_that_do_not_count_do_not_matter(solve, ridge, seed, counted):
    vectors = draw(seed, 5)
    mask = np.arange(5) < counted
    with_garbage = np.where(mask[:, None], vectors, 1e3 * vectors)
    want = np.zeros(5)
    want[:counted] = weigh(functools.partial(_cut, solve, counted), vectors, ridge)
    np.testing.assert_allclose(weigh(solve, with_garbage, ridge, mask), want, rtol=1e-7, atol=1e-8)


def _cut(solve, counted, squares, mask, ridge):
    return solve(squares[:counted, :counted], mask[:counted], ridge)


# --- What cannot be solved, and rounding ------------------------------------------------------------------------------


@pytest.mark.parametrize("solve", [affine, simplex], ids=["affine", "simplex"])
@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_the_first_of_equal_or_zero_vectors_gets_all_the_weight(solve, k):
    first = np.eye(k)[0]
    np.testing.assert_array_equal(weigh(solve, np.zeros((k, 3))), first)
    np.testing.assert_array_equal(weigh(solve, np.zeros((k, 3)), 1e-6), first)
    np.testing.assert_array_equal(weigh(solve, np.tile([1.0, -2.0, 0.5], (k, 1))), first)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [3, 4, 6])
def test_the_first_of_many_minimisers_is_taken(k, dtype):
    """More points than their plane can tell apart: without a ridge many mixtures are as short."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        for _ in range(50):
            flat = rng.normal(size=(k, k - 2)) @ rng.normal(size=(k - 2, 9)) + rng.choice([0, 1]) * rng.normal(size=9)
            squares = jnp.asarray(squares_of(flat.astype(dtype)))
            assert squares.dtype == dtype
            np.testing.assert_array_equal(affine(squares, np.ones(k, bool), 0.0), np.eye(k)[0])


def test_equals_are_chosen_in_order_and_a_ridge_shares():
    twins = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    np.testing.assert_allclose(weigh(simplex, twins), [0.5, 0.5, 0.0], atol=1e-12)
    for solve in (affine, simplex):
        weights = weigh(solve, twins, 1e-6)
        assert weights[1] == pytest.approx(weights[2], rel=1e-6)


def test_the_default_ridge_decides_in_float32_also_beside_a_large_vector():
    rng = np.random.default_rng(0)
    small = 0.1 * rng.normal(size=9)
    vectors = np.stack([3.0 * rng.normal(size=9), small, small, small])
    weights = np.asarray(affine(jnp.asarray(squares_of(vectors), jnp.float32), jnp.ones(4, bool), 1e-6))
    assert weights[0] < 0.1, "not all the weight on the first"
    np.testing.assert_allclose(weights @ vectors, weigh(affine, vectors, 1e-6) @ vectors, atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("solve", [affine, simplex], ids=["affine", "simplex"])
def test_squares_that_are_not_finite_give_weights_that_are(solve, bad):
    squares = jnp.asarray(squares_of(np.random.default_rng(0).normal(size=(3, 5)))).at[0, 1].set(bad).at[1, 0].set(bad)
    assert np.all(np.isfinite(solve(squares, jnp.ones(3, bool), 0.0)))


@pytest.mark.parametrize("ratio", [0.9, 0.99, 0.999])
def test_nearly_equal_vectors_keep_their_weights_in_float32(ratio):
    """The second is the first times `ratio`, so that 1 / (1 - 1/ratio) takes both to zero."""
    first = np.random.default_rng(0).normal(size=100).astype(np.float32)
    vectors = np.stack([first, np.float32(ratio) * first])
    squares = jnp.asarray(squares_of(vectors), jnp.float32)
    weights = affine(squares, jnp.ones(2, bool), 0.0)
    assert weights.dtype == jnp.float32
    assert float(weights[0]) == pytest.approx(-ratio / (1 - ratio), rel=1e-6 / (1 - ratio))
