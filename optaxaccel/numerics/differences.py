r"""Least squares over a ring of differences: min_gamma |r - sum_j gamma_j d_j|.

The differences d_j are as large as the unknowns; their products are taken once, when one enters the ring, and kept in
a small Gram matrix. Unlike products of residuals, products of differences lose no digits where the residuals are nearly
equal, so float32 sums serve in float32.
"""

import jax
import jax.numpy as jnp

from optaxaccel.numerics.trees import Tree, accumulation_dtype


def products(stack: Tree, tree: Tree, length: int) -> jax.Array:
    """Return the real inner products of a tree with every tree in a stack, Re sum conj(s) t, shape (length,)."""
    dtype = accumulation_dtype()

    def leaf(s, x):
        if jnp.iscomplexobj(s):
            return leaf(jnp.real(s), jnp.real(x)) + leaf(jnp.imag(s), jnp.imag(x))
        return jnp.sum(s.astype(dtype) * x.astype(dtype)[None], axis=tuple(range(1, s.ndim)))

    each = jax.tree.leaves(jax.tree.map(leaf, stack, tree))
    return sum(each, start=jnp.zeros(length, dtype))


def enter(gram: jax.Array, slot: jax.typing.ArrayLike, row: jax.Array, *, when: jax.typing.ArrayLike) -> jax.Array:
    """Return the Gram matrix with `row` as the row and the column `slot`, or unchanged where `when` is false."""
    here = jnp.arange(gram.shape[0]) == slot
    replaced = jnp.where(here[:, None], row, jnp.where(here, row[:, None], gram))
    return jnp.where(when, replaced, gram)


def weights(gram: jax.Array, along: jax.Array, filled: jax.Array) -> jax.Array:
    r"""Return the minimiser gamma of |r - sum_j gamma_j d_j|, from G = <d_i, d_j> and <d_j, r>.

    G is scaled to a unit diagonal. Eigenvalues below its rounding, 2 eps of the largest, are lifted to that, so that
    differences that depend on each other get weights of moderate size: no ridge has to be chosen.

    Args:
      gram: G, (m, m).
      along: <d_j, r>, (m,).
      filled: (m,), true for the slots that count; the others get the weight 0.
    """
    length = jnp.sqrt(jnp.where(filled, jnp.diag(gram), 0))
    counts = length > 0
    scale = jnp.where(counts, 1 / jnp.where(counts, length, 1), 0)
    scaled = gram * scale[:, None] * scale
    scaled = jnp.where(counts[:, None] & counts, scaled, jnp.eye(gram.shape[0], dtype=gram.dtype))
    values, vectors = jnp.linalg.eigh(scaled)
    values = jnp.maximum(values, 2 * jnp.finfo(gram.dtype).eps * values[-1])
    side = jnp.where(counts, along, 0) * scale
    return scale * (vectors @ ((side @ vectors) / values))
