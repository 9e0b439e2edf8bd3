"""Mixing weights where one vector is far longer than the others, and their derivatives."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel.numerics import gram_weights

AFFINE, SIMPLEX = jax.jit(gram_weights.affine_weights), jax.jit(gram_weights.simplex_weights)


def squares_of(vectors):
    squares = np.sum((vectors[:, None] - vectors) ** 2, axis=2)
    return squares + np.diag(np.sum(vectors**2, axis=1))


def weigh(solve, vectors, ridge=0.0):
    return np.asarray(solve(jnp.asarray(squares_of(vectors), jnp.float32), jnp.ones(len(vectors), bool), ridge))


def exact(vectors):
    z = np.linalg.solve(vectors @ vectors.T, np.ones(len(vectors)))
    return z / z.sum()


@pytest.mark.parametrize("length", [30.0, 1e3, 1e5])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("solve", [AFFINE, SIMPLEX], ids=["affine", "simplex"])
def test_a_spike_gets_next_to_no_weight_and_the_others_theirs(solve, place, length):
    rng = np.random.default_rng(place)
    vectors = np.linalg.qr(rng.normal(size=(50, 4)))[0].T
    vectors += 0.05 * rng.normal(size=(4, 50)) * (solve is AFFINE)
    vectors[place] *= length
    vectors = vectors.astype(np.float32).astype(float)
    want = exact(vectors)
    np.testing.assert_allclose(weigh(solve, vectors), want, atol=2e-3)
    assert abs(weigh(solve, vectors)[place]) * length < 0.1


@pytest.mark.parametrize("order", list(itertools.permutations([1.0, 1.0, 1000.0]))[::2], ids=str)
def test_two_short_orthogonal_vectors_share_on_the_simplex(order):
    want = np.where(np.array(order) == 1.0, 0.5, 0.0)
    np.testing.assert_allclose(weigh(SIMPLEX, np.diag(order)), want, atol=1e-5)


@pytest.mark.parametrize("length", [1e7, 1e12])
@pytest.mark.parametrize("solve", [AFFINE, SIMPLEX], ids=["affine", "simplex"])
def test_a_spike_whose_angle_is_lost_in_rounding_is_left_out(solve, length):
    np.testing.assert_allclose(weigh(solve, np.diag([length, 1.0, 1.0])), [0.0, 0.5, 0.5], atol=1e-6)


def test_one_spike_among_equal_gradients_is_not_followed():
    """Equal gradients leave many minimisers; gradient descent from the newest would be a step of 1000."""
    tx = optaxaccel.anderson(1.0, history=3, regularization=0)
    x, moves = jnp.zeros(4), []
    state, update = tx.init(x), jax.jit(tx.update)
    for k in range(8):
        gradient = 1000.0 * np.array([1.0, -2.0, 0.5, 3.0]) if k == 4 else np.ones(4)
        moved, state = update(jnp.asarray(gradient, jnp.float32), state, x)
        x = x + moved
        moves.append(float(jnp.linalg.norm(moved)))
        if 4 <= k <= 6:
            assert abs(float(state.coefficients[k - 4])) < 0.02
    assert moves[4] < 10.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_still_stands_for_many_minimisers_without_a_spike(dtype):
    with jax.enable_x64(True):
        line = np.array([[20.0, 0.0], [1.0, 0.0], [2.0, 0.0]], dtype)
        got = gram_weights.affine_weights(jnp.asarray(squares_of(line)), jnp.ones(3, bool))
        np.testing.assert_array_equal(got, [1.0, 0.0, 0.0])
        line[0] *= 100.0
        got = gram_weights.affine_weights(jnp.asarray(squares_of(line)), jnp.ones(3, bool))
        np.testing.assert_array_equal(got, [0.0, 1.0, 0.0])


PAIRS = {
    "equal": [[1.0, -2.0], [1.0, -2.0]],
    "zero": [[0.0, 0.0], [0.0, 0.0]],
    "first zero": [[0.0, 0.0], [1.0, 2.0]],
    "second zero": [[1.0, 2.0], [0.0, 0.0]],
    "spike": [[1e7, 0.0], [0.0, 1.0]],
    "older spike": [[0.0, 1.0], [1e7, 0.0]],
    "parallel spike": [[100.0, 0.0], [1.0, 0.0]],
    "opposite": [[1.0, 0.0], [-3.0, 0.0]],
    "huge": [[1e18, 0.0], [0.0, 2e18]],
    "overflow": [[1e25, 0.0], [0.0, 1.0]],
    "not a number": [[np.nan, 0.0], [0.0, 1.0]],
    "tiny": [[1e-18, 0.0], [0.0, 2e-18]],
    "spike at an angle": [[1e7, 3e6], [20.0, 1.0]],
    "spike whose difference overflows": [[1.8e19, 0.0], [-5e17, 0.0]],
}


@pytest.mark.parametrize("ridge", [0.0, 1e-6, 0.1])
def test_two_vectors_get_the_weights_that_they_get_beside_one_that_does_not_count(ridge):
    """Two have a closed form, more are solved for."""
    for name, pair in PAIRS.items():
        with np.errstate(over="ignore"):
            squares = jnp.asarray(squares_of(np.array([*pair, [3.0, 4.0]], np.float32)))
        for both in (True, False):
            want = np.asarray(AFFINE(squares, jnp.array([True, both, False]), ridge))
            got = np.asarray(AFFINE(squares[:2, :2], jnp.array([True, both]), ridge))
            np.testing.assert_allclose(got, want[:2], rtol=2e-6, atol=1e-12, err_msg=f"{name} {both}")


# --- Derivatives ------------------------------------------------------------------------------------------------------


PICK, H = np.random.default_rng(4).normal(size=4), 1e-6


@functools.cache
def derivatives(solve):
    """The derivative of a sum of the weights by vectors and ridge, by differences and in both modes, compiled once."""

    def value(point, mask):
        v = point[:-1].reshape(4, 9)
        squares = jnp.sum((v[:, None] - v[None]) ** 2, axis=2) + jnp.diag(jnp.sum(v**2, axis=1))
        return solve(squares, mask, point[-1]) @ PICK

    def numeric(point, mask):
        steps = H * jnp.eye(point.size)
        return jax.vmap(lambda s: (value(point + s, mask) - value(point - s, mask)) / (2 * H))(steps)

    return [jax.jit(function) for function in (numeric, jax.grad(value), jax.jacfwd(value))]


@pytest.mark.parametrize("counted", [1, 2, 4])
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("solve", [AFFINE, SIMPLEX], ids=["affine", "simplex"])
def test_weights_have_the_derivatives_of_their_differences(solve, ridge, counted):
    with jax.enable_x64(True):
        vectors = np.random.default_rng(3).normal(size=(4, 9)) + 0.4
        point, compared = jnp.append(vectors.ravel(), ridge), slice(37 if ridge else 36)
        want, *got = (function(point, jnp.arange(4) < counted)[compared] for function in derivatives(solve))
        for gradient in got:
            np.testing.assert_allclose(gradient, want, rtol=1e-5, atol=1e-7)


def test_equal_vectors_have_no_derivative_that_is_not_finite():
    squares = jnp.asarray(squares_of(np.ones((3, 4))), jnp.float32)
    for solve in (AFFINE, SIMPLEX):
        for ridge in (0.0, 1e-6):
            jacobian = jax.jacrev(lambda s, solve=solve, ridge=ridge: solve(s, jnp.ones(3, bool), ridge))(squares)
            assert np.all(np.isfinite(jacobian))


def test_anderson_is_differentiated_through_a_growing_window():
    @jax.jit
    def end(rate):
        tx, x = optaxaccel.anderson(rate, history=3), jnp.array([1.0, -2.0, 0.5])

        def step(carry, _):
            x, state = carry
            moved, state = tx.update(jnp.sin(x) + 0.1 * x, state, x)
            return (optax.apply_updates(x, moved), state), None

        return jnp.sum(jax.lax.scan(step, (x, tx.init(x)), length=5)[0][0] ** 2)

    with jax.enable_x64(True):
        numeric = (end(0.3 + H) - end(0.3 - H)) / (2 * H)
        for mode in (jax.grad, jax.jacfwd):
            assert float(mode(end)(0.3)) == pytest.approx(float(numeric), rel=1e-5)
