r"""Least squares over a ring of differences: min_gamma |r - sum_j gamma_j d_j|.

Used by the fixed-point solver.

The differences d_j are as large as the unknowns; their products are taken once, when one enters the ring, and kept in
a small Gram matrix. Unlike products of residuals, products of differences lose no digits where the residuals are nearly
equal, so float32 sums serve in float32.
"""

import jax
import jax.numpy as jnp
from jax import lax

from optaxaccel.numerics import loops


def enter(gram: jax.Array, slot: jax.typing.ArrayLike, row: jax.Array, *, when: jax.typing.ArrayLike) -> jax.Array:
    """Return the Gram matrix with `row` as the row and the column `slot`, or unchanged where `when` is false."""
    here = jnp.arange(gram.shape[0]) == slot
    replaced = jnp.where(here[:, None], row, jnp.where(here, row[:, None], gram))
    return jnp.where(when, replaced, gram)


def weights(
    gram: jax.Array,
    along: jax.Array,
    filled: jax.Array,
    newest: jax.typing.ArrayLike = 0,
    number_filled: jax.Array | None = None,
) -> jax.Array:
    r"""Return the minimiser gamma of |r - sum_j gamma_j d_j|, from G = <d_i, d_j> and <d_j, r>.

    G is scaled to a unit diagonal and eliminated from the newest difference to the oldest. What is left of a diagonal
    entry is the squared sine between that difference and the newer ones; below its rounding the difference depends on
    them and gets the weight 0. So no ridge has to be chosen. Elimination is a few small operations on whole matrices,
    for a batch as for one, where LAPACK's eigenvalues of a batch would be found one after the other.

    Args:
      gram: G, (m, m).
      along: <d_j, r>, (m,).
      filled: (m,), true for the slots that count; the others get the weight 0.
      newest: slot of the newest difference; the older ones lie below it, and then from the top.
      number_filled: at least how many slots count, so that no more are eliminated; then there is no derivative in
        reverse mode. None: all are.
    """
    number = gram.shape[0]
    length = jnp.sqrt(jnp.where(filled, jnp.diag(gram), 0))
    counts = length > 0
    scale = jnp.where(counts, 1 / jnp.where(counts, length, 1), 0)
    scaled = jnp.where(
        counts[:, None] & counts[None, :], gram * scale[:, None] * scale[None, :], jnp.eye(number, dtype=gram.dtype)
    )
    side = jnp.where(counts, along, 0) * scale
    rounding = 2 * number * jnp.finfo(gram.dtype).eps

    def eliminate(carry):
        age, system = carry
        slot = (newest - age) % number
        here = jnp.arange(number) == slot
        row = lax.dynamic_index_in_dim(system, slot, 0, keepdims=False)
        pivot = lax.dynamic_index_in_dim(row, slot, 0, keepdims=False)
        sound = pivot > rounding
        row = jnp.where(sound, row / jnp.where(sound, pivot, 1), 0)
        column = jnp.where(here, 0, lax.dynamic_index_in_dim(system, slot, 1, keepdims=False))
        return age + 1, jnp.where(here[:, None], row[None, :], system - column[:, None] * row[None, :])

    system = jnp.concatenate([scaled, side[:, None]], axis=1)
    if number_filled is None:
        system = lax.fori_loop(0, number, lambda age, system: eliminate((age, system))[1], system)
    else:
        last = jnp.minimum(number_filled, number)
        _, system = loops.while_loop(lambda carry: carry[0] < last, eliminate, (jnp.zeros_like(last), system))
    return scale * system[:, number]
