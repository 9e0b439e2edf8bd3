r"""Weights c of sum one that make a mixture of vectors short: min_c |sum_i c_i r_i|^2 + rho |c|^2.

Used by methods that mix their last iterates.

The vectors are as large as a model and known by their `squares`: |r_i - r_j|^2 off the diagonal of a small matrix and
|r_i|^2 on it. Inner products G would do in exact arithmetic. But the weights depend on differences, which a Gram matrix
in float32 loses where the vectors are nearly equal: the relative error of the weights is then eps |r|^2 / |d|^2, and
from squares of differences it is eps |r| / |d|, no more than rounding the vectors themselves does.

The ridge is relative: rho = `ridge` times the spectral norm of G, so that it means the same at every scale.
"""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def _with_derivative(solve: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Differentiate weights as the implicit function that they are: no eigenvalues of equal size divide by zero."""
    weights = jax.custom_jvp(solve)

    @weights.defjvp
    def tangent(primals, tangents):
        (squares, mask, ridge), (moved, _, ridge_moved) = primals, tangents
        c = weights(squares, mask, ridge)
        return c, _change(c, _of_the_counted(squares, mask), ridge, _of_the_counted(moved, mask), ridge_moved)

    @functools.wraps(solve)
    def call(squares: jax.Array, mask: jax.Array, ridge: jax.typing.ArrayLike = 0.0) -> jax.Array:
        return weights(squares, jnp.asarray(mask, bool), jnp.asarray(ridge, squares.dtype))

    return call


@_with_derivative
def affine_weights(squares: jax.Array, mask: jax.Array, ridge: jax.typing.ArrayLike = 0.0) -> jax.Array:
    r"""Return the minimiser with sum c = 1, which is z / sum z with (G + rho I) z = 1.

    It is solved as r_o + sum_i c_i a_i with a_i = r_i - r_o and r_o the shortest vector, so that one that is far longer
    than the others does not stand in all the differences: for two vectors without a ridge that is the closed form
    c_2 = -(a_2.r_1) / (a_2.a_2).

    Args:
      squares: (k, k), see above.
      mask: (k,), true for the vectors that count, the first among them; the others get the weight 0.
      ridge: at least 0.

    Returns:
      (k,) weights of sum one. Where there are many minimisers to rounding (no ridge, and vectors that are equal or lie
      in a plane of too few dimensions), or all vectors are zero, the first vector gets all the weight; the shortest
      one, if the first is a spike: more than 30 times as long as any other.
    """
    places = jnp.arange(squares.shape[0])
    if squares.shape[0] == 1:
        return jnp.ones_like(squares, shape=(1,))
    if squares.shape[0] == 2:
        return _weights_of_two(squares, mask[1], ridge)
    squares, eps = _of_the_counted(squares, mask), jnp.finfo(squares.dtype).eps
    rho, length = ridge * _norm(squares), jnp.diag(squares)
    shortest = jnp.argmin(jnp.where(mask, length, jnp.inf))
    least = length[shortest]
    ridge_decides = rho > eps * jnp.max(length)
    # Of a vector so much longer, rounding leaves no angle to the others; its weight is next to nothing.
    counts = mask & ((length * (64.0 * eps) ** 2 <= least) | ridge_decides)
    system, side, scale = _system(squares, counts, rho, shortest)
    values, vectors = jnp.linalg.eigh(system)
    values = jnp.maximum(values, rho * jnp.min(scale) ** 2)  # rounding of the system cannot put them lower
    # Vectors without a unique minimiser leave an eigenvalue of rounding, which the scaling magnifies.
    solvable = (values[0] > 8.0 * eps * jnp.max(scale) / jnp.min(scale)) | ridge_decides
    rest = jnp.sum(vectors * side[:, None], axis=0) / jnp.where(solvable, values, 1.0)
    weights = _weights(scale * jnp.sum(vectors * rest[None, :], axis=1), places == shortest)
    others = jnp.max(jnp.where(places > 0, length, 0.0))  # those that do not count are zero
    chosen = jnp.where((length[0] > 1000.0 * others) & (others > 0.0), shortest, 0)
    vertex = (places == chosen).astype(squares.dtype)
    return jnp.where(solvable & jnp.all(jnp.isfinite(weights)), weights, vertex)


@_with_derivative
def simplex_weights(squares: jax.Array, mask: jax.Array, ridge: jax.typing.ArrayLike = 0.0) -> jax.Array:
    r"""Return the minimiser with c >= 0 and sum c = 1.

    The weights that are not zero solve the problem without the sign. So each set of vectors is tried, 2^k - 1 in all,
    and the best nonnegative solution is exact. With sum c = 1 the value is sum_i c_i |r_i|^2 - sum_ij c_i c_j
    |r_i - r_j|^2 / 2 + rho |c|^2. Among equals the one of fewest vectors wins, and then the first.

    Args:
      squares: (k, k), see above; k <= 8.
      mask: (k,), true for the vectors that count, the first among them; the others get the weight 0.
      ridge: at least 0.

    Returns:
      (k,) nonnegative weights of sum one. Where all vectors are zero the first gets all the weight.
    """
    if squares.shape[0] <= 2:
        return jnp.clip(affine_weights(squares, mask, ridge), 0.0, 1.0)
    squares, number = _of_the_counted(squares, mask), squares.shape[0]
    places, length, rho = jnp.arange(number), jnp.diag(squares), ridge * _norm(squares)
    chosen = [set(s) for n in range(1, number + 1) for s in itertools.combinations(range(number), n)]
    supports = jnp.asarray(np.array([[i in s for i in range(number)] for s in chosen]))
    origins = jnp.argmin(jnp.where(supports, length[None, :], jnp.inf), axis=1)
    systems, sides, scales = jax.vmap(lambda s, o: _system(squares, s, rho, o))(supports, origins)
    rest = scales * jnp.linalg.solve(systems, sides[:, :, None])[:, :, 0]
    weights = jnp.where(supports, jax.vmap(_weights)(rest, places[None, :] == origins[:, None]), 0.0)

    allowed = jnp.all((weights >= 0) & (~supports | mask[None, :]), axis=1)  # a singular system gives NaN: not allowed
    between = squares * (1.0 - jnp.eye(number, dtype=squares.dtype))
    scattered = 0.5 * jnp.sum(weights[:, :, None] * between[None, :, :] * weights[:, None, :], axis=(1, 2))
    mean = jnp.sum(weights * length[None, :], axis=1)
    value = mean - scattered + rho * jnp.sum(weights**2, axis=1)
    # Each value is known to the rounding of what it is summed from, which for a long vector is much and for others not.
    known = 2.0 * number * jnp.finfo(squares.dtype).eps * mean
    upper = jnp.where(allowed, value + known, jnp.inf)
    best = jnp.argmin(upper)
    equal = allowed & (upper <= upper[best] + 2.0 * known[best])
    weights = weights[jnp.argmax(equal)]
    return jnp.where(jnp.any(equal), weights, (places == 0).astype(squares.dtype))  # none where squares are not finite


def _weights_of_two(squares: jax.Array, both: jax.Array, ridge: jax.typing.ArrayLike) -> jax.Array:
    """Return the affine weights of two vectors: with one unknown the rules of `affine_weights` are a quotient."""
    first, second, apart = squares[0, 0], squares[1, 1], squares[0, 1]
    shorter = both & (second < first)  # whether the second is
    short, long = jnp.where(shorter, second, first), jnp.where(shorter, first, second)
    product = 0.5 * (first + second - apart)
    rho = ridge * (0.5 * first + 0.5 * second + jnp.hypot(0.5 * first - 0.5 * second, product))
    eps = jnp.finfo(squares.dtype).eps
    counts = both & ((long * (64.0 * eps) ** 2 <= short) | (rho > eps * long))
    unknown = (rho + 0.5 * (apart + short - long)) / (apart + 2.0 * rho)
    spike = (first > 1000.0 * second) & (second > 0.0)
    vertex = jnp.where(shorter & ~spike, 1.0, 0.0)
    of_long = jnp.where(counts, jnp.where(jnp.isfinite(unknown), unknown, vertex), 0.0)
    return jnp.where(jnp.stack([shorter, ~shorter]), of_long, 1.0 - of_long)


def _system(
    squares: jax.Array, counts: jax.Array, rho: jax.typing.ArrayLike, origin: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the normal equations of the weights of all counted vectors but the origin, and their scaling s.

    With weights c = s y they are (system) y = side; the diagonal is one, so vectors of all lengths are treated alike.
    """
    length, identity = jnp.diag(squares), jnp.eye(squares.shape[0], dtype=squares.dtype)
    between = squares * (1.0 - identity)
    distance = between[origin]
    free = (counts & (jnp.arange(squares.shape[0]) != origin)).astype(squares.dtype)
    products = 0.5 * (distance[:, None] + distance[None, :] - between)  # a_i.a_j
    along = 0.5 * (length - length[origin] - distance)  # a_i.r_o
    system = (products + rho) * free[:, None] * free[None, :] + jnp.diag(rho * free)
    size = jnp.diag(system)
    typical = jnp.max(size)
    scale = jax.lax.rsqrt(jnp.where(size > 0, size, jnp.where(typical > 0, typical, 1.0)))
    system = system * scale[:, None] * scale[None, :] + jnp.diag(1.0 - free)
    return system, scale * (rho - along) * free, scale


def _weights(rest: jax.Array, origin: jax.Array) -> jax.Array:
    """Return the weights of sum one of which all but the origin's are given."""
    return jnp.where(origin, 1.0 - jnp.sum(jnp.where(origin, 0.0, rest)), rest)


def _change(c: jax.Array, squares: jax.Array, ridge: jax.Array, moved: jax.Array, ridge_moved: jax.Array) -> jax.Array:
    """Return the change of the weights c with that of the squares and of the ridge; those that are zero stay so.

    It is the change of the point where the slope of the value, |r_i|^2 - sum_j c_j |r_i - r_j|^2 + 2 rho c_i, is the
    same for all i.
    """
    values, vectors = jnp.linalg.eigh(_gram(squares))
    norm, top = jnp.maximum(values[-1], 0.0), vectors[:, -1]
    rho = ridge * norm
    rho_moved = ridge_moved * norm + ridge * jnp.sum(top * (_gram(moved) @ top))
    between_moved = moved * (1.0 - jnp.eye(squares.shape[0], dtype=squares.dtype))
    slope_moved = jnp.diag(moved) - between_moved @ c + 2.0 * rho_moved * c
    support, places = c != 0, jnp.arange(squares.shape[0])
    origin = jnp.argmin(jnp.where(support, jnp.diag(squares), jnp.inf))
    free = support & (places != origin)
    system, _, scale = _system(squares, support, rho, origin)
    side = jnp.where(free, -0.5 * scale * (slope_moved - slope_moved[origin]), 0.0)
    rest = jnp.where(free, scale * jnp.linalg.solve(system, side), 0.0)
    return jnp.where(places == origin, -jnp.sum(rest), rest)


def _gram(squares: jax.Array) -> jax.Array:
    """Return the inner products."""
    length = jnp.diag(squares)
    between = squares * (1.0 - jnp.eye(squares.shape[0], dtype=squares.dtype))
    return 0.5 * (length[:, None] + length[None, :] - between)


def _norm(squares: jax.Array) -> jax.Array:
    """Return the spectral norm of the matrix of inner products."""
    return jnp.maximum(jnp.linalg.eigvalsh(_gram(squares))[-1], 0.0)


def _of_the_counted(squares: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the squares as if the vectors that do not count were zero."""
    length = jnp.diag(squares) * mask
    apart = jnp.where(mask[:, None] & mask[None, :], squares, length[:, None] + length[None, :])
    return jnp.where(jnp.eye(squares.shape[0], dtype=bool), length, apart)
