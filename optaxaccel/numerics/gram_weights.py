r"""Weights c of sum one that make a mixture of vectors short: min_c |sum_i c_i r_i|^2 + rho |c|^2.

The vectors are as large as a model and known by their `squares`: |r_i - r_j|^2 off the diagonal of a small matrix and
|r_i|^2 on it. Inner products G would do in exact arithmetic. But the weights depend on differences, which a Gram matrix
in float32 loses where the vectors are nearly equal: the relative error of the weights is then eps |r|^2 / |d|^2, and
from squares of differences it is eps |r| / |d|, no more than rounding the vectors themselves does.

The ridge is relative: rho = `ridge` times the spectral norm of G, so that it means the same at every scale.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np


def affine_weights(squares: jax.Array, mask: jax.Array, ridge: jax.typing.ArrayLike = 0.0) -> jax.Array:
    r"""Return the minimiser with sum c = 1, which is z / sum z with (G + rho I) z = 1.

    It is solved as r_1 + sum_i c_i a_i with a_i = r_i - r_1: for two vectors without a ridge that is the closed form
    c_2 = -(a_2.r_1) / (a_2.a_2).

    Args:
      squares: (k, k), see above.
      mask: (k,), true for the vectors that count, the first among them; the others get the weight 0.
      ridge: at least 0.

    Returns:
      (k,) weights of sum one. Where there are many minimisers to rounding (no ridge, and vectors that are equal or lie
      in a plane of too few dimensions), or all vectors are zero, the first vector gets all the weight.
    """
    first = jnp.zeros_like(squares, shape=squares.shape[:1]).at[0].set(1.0)
    if squares.shape[0] == 1:
        return first
    squares, counts = _of_the_counted(squares, mask), mask[1:].astype(squares.dtype)
    rho = ridge * _norm(squares)
    length, distance = jnp.diag(squares), squares[0, 1:]
    between = squares[1:, 1:] * (1.0 - jnp.eye(distance.shape[0], dtype=squares.dtype))
    products = 0.5 * (distance[:, None] + distance - between)  # a_i.a_j
    along = 0.5 * (length[1:] - length[0] - distance)  # a_i.r_1

    system = (products + rho) * counts[:, None] * counts + jnp.diag(rho * counts)
    system = system + jnp.diag(jnp.max(jnp.diag(system)) * (1.0 - counts))
    values, vectors = jnp.linalg.eigh(system)
    values = jnp.maximum(values, rho)  # rounding of `products` cannot put them lower
    # Vectors without a unique minimiser leave an eigenvalue of rounding, up to 1.7 eps. A ridge above eps decides.
    eps = jnp.finfo(squares.dtype).eps * values[-1]
    solvable = (values[0] > 8.0 * eps) | (rho > eps)
    rest = jnp.sum(vectors * ((rho - along) * counts)[:, None], axis=0) / jnp.where(solvable, values, 1.0)
    rest = jnp.sum(vectors * rest, axis=1)
    weights = jnp.concatenate([1.0 - jnp.sum(rest, keepdims=True), rest])
    return jnp.where(solvable & jnp.all(jnp.isfinite(weights)), weights, first)


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
    norm = _norm(squares)
    squares, ridge = squares / jnp.where(norm > 0, norm, 1.0), jnp.where(norm > 0, ridge, 0.0)
    identity, length = jnp.eye(number, dtype=squares.dtype), jnp.diag(squares)
    quadratic = ridge * identity - 0.5 * squares * (1.0 - identity)  # value = length.c + c'(quadratic)c
    chosen = [set(s) for n in range(1, number + 1) for s in itertools.combinations(range(number), n)]
    supports = jnp.asarray(np.array([[i in s for i in range(number)] for s in chosen]), squares.dtype)

    # Stationary on the support: 2 (quadratic) c + length = multiplier, sum c = 1.
    systems = jnp.zeros_like(squares, shape=(len(chosen), number + 1, number + 1))
    block = 2.0 * quadratic * supports[:, :, None] * supports[:, None, :] + identity * (1.0 - supports)[:, None, :]
    systems = systems.at[:, :-1, :-1].set(block).at[:, :-1, -1].set(supports).at[:, -1, :-1].set(supports)
    sides = jnp.concatenate([-length * supports, jnp.ones_like(supports[:, :1])], axis=1)
    weights = supports * jnp.linalg.solve(systems, sides[:, :, None])[:, :-1, 0]
    weights = weights / jnp.sum(weights, axis=1, keepdims=True)

    allowed = jnp.all((weights >= 0) & ((supports == 0) | mask), axis=1)  # a singular system gives NaN: not allowed
    value = jnp.sum(weights * length, axis=1)
    value += jnp.sum(weights[:, :, None] * quadratic * weights[:, None, :], axis=(1, 2))
    value = jnp.where(allowed, value, jnp.inf)
    least = jnp.min(value)
    best = weights[jnp.argmax(value <= least + 2 * number * jnp.finfo(squares.dtype).eps)]
    return jnp.where(jnp.isfinite(least), best, identity[0])  # it is infinite where the squares are not finite


def _norm(squares: jax.Array) -> jax.Array:
    """Return the spectral norm of the matrix of inner products."""
    length = jnp.diag(squares)
    between = squares * (1.0 - jnp.eye(squares.shape[0], dtype=squares.dtype))
    return jnp.maximum(jnp.linalg.eigvalsh(0.5 * (length[:, None] + length - between))[-1], 0.0)


def _of_the_counted(squares: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the squares as if the vectors that do not count were zero."""
    length = jnp.diag(squares) * mask
    apart = jnp.where(mask[:, None] & mask, squares, length[:, None] + length)
    return jnp.where(jnp.eye(squares.shape[0], dtype=bool), length, apart)
