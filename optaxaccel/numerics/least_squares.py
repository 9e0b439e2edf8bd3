r"""Least squares over the columns of a history: min_c |R c|^2 + lambda |c|^2 subject to sum c = 1.

Used by `extrapolation_weights`, and by the extrapolation of files that memory cannot hold.

The columns are as large as the model, so only sums of products of them are taken. Their Gram matrix alone is not enough
in float32: its rounding, 1e-7 |R'R|, hides a lambda of 1e-8. So the columns are whitened by a matrix W, roughly
(R'R)^(-1/2) and taken from a sample of their entries, and the Gram matrix G of R W, which has moderate eigenvalues,
gives the small matrix T = G^(1/2) W^(-1) with |T c| = |R c|. (This is Cholesky QR in two passes, Yamamoto et al. 2015,
shifted as in Fukaya et al. 2020, with eigenvectors in place of triangles.) The singular values of T serve every
lambda at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from optaxaccel.numerics import columns

SAMPLE = 8  # the first pass, for W, looks at one block of entries in SAMPLE
PASSES = 4  # at most; a third one is needed only if the sample missed a direction
TRUSTED = 32.0  # mean eigenvalue of G; its rounding in float32 is 1e-7 times as much, far below the eigenvalues near 1


class _Whitened(NamedTuple):
    transform: jax.Array  # W
    inverse: jax.Array  # W^(-1)
    gram: jax.Array  # G = W'R'RW
    length: jax.Array  # mean |column|^2, as the first pass sees it
    passes: jax.Array
    careful: jax.Array  # whether equal infinities are looked for; only once the sums of a pass were not finite


def reduce(leaves: Sequence[columns.Leaf], mask: jax.Array) -> tuple[jax.Array, jax.Array | bool]:
    """Return a (K, K) matrix T with |T c| = |R c| for every c that vanishes where `mask` does, and what was met.

    The second result is whether there may be infinite entries; False where all of them were seen to be finite.

    Args:
      leaves: the leaves of R, which has K columns.
      mask: (K,), 1 for the columns that count and 0 for slots of a history that are not filled yet. Its dtype, float32
        or better, is that of the arithmetic.
    """
    number = mask.shape[0]
    # A branch costs more than it saves where few entries are read, and saves nothing on successive differences.
    pairs = any(leaf.minus is not None for leaf in leaves)
    quick_first = pairs and sum(leaf.size for leaf in leaves) >= 2 * columns.SMALL
    leaves = columns.prepare(leaves, mask.dtype)
    identity = jnp.eye(number, dtype=mask.dtype)

    def whiten(state):
        root, inverse_root = _roots(state.gram)
        transform, inverse = state.transform @ inverse_root, root @ state.inverse
        sampling = state.passes == 0
        careful = state.careful if quick_first else True
        gram = columns.gram(leaves, mask[:, None] * transform, jnp.where(sampling, SAMPLE, 1), careful)
        again = ~state.careful & ~jnp.isfinite(jnp.sum(gram))
        length = jnp.where(sampling, jnp.trace(gram) / jnp.maximum(jnp.sum(mask), 1), state.length)
        # Columns that do not count are taken for orthogonal ones of that length, so that nothing degenerates.
        absent = jnp.where(length > 0, length, 1) * (1 - mask)[None, :] * identity
        gram = gram + transform.T @ absent @ transform
        made = _Whitened(transform, inverse, gram, length, state.passes + 1, state.careful)
        return jax.tree.map(lambda old, new: jnp.where(again, old, new), state._replace(careful=again), made)

    def unfinished(state):
        return (state.passes < 2) | ((state.passes < PASSES) & (jnp.trace(state.gram) > TRUSTED * number))

    start = identity + columns.no_products(leaves, mask[:, None] * identity)
    none = (0 * start[0, 0]).astype(jnp.int32)  # inside `jax.shard_map` it varies as the sums do
    last = lax.while_loop(unfinished, whiten, _Whitened(start, start, start, start[0, 0], none, none > 0))
    values, vectors = jnp.linalg.eigh(last.gram)
    root = (vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :]) @ vectors.T
    return (root @ last.inverse) * mask[None, :], last.careful if quick_first else True


def _roots(gram: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return A and A^(-1) with A'A = G, with no eigenvalue below the rounding of G.

    Each column of A^(-1) belongs to one eigenvalue, and so has digits of its own: in the symmetric root the entries of
    the smallest eigenvalues, 10^8 times as large in float64, would round those of the largest ones away.
    """
    values, vectors = jnp.linalg.eigh(gram)
    floor = 2 * gram.shape[0] * jnp.finfo(gram.dtype).eps * values[-1]
    roots = jnp.sqrt(jnp.maximum(values, jnp.where(floor > 0, floor, 1)))
    return roots[:, None] * vectors.T, vectors / roots[None, :]


def solve(
    reduced: jax.Array, mask: jax.Array, regularization: jax.typing.ArrayLike, relative: bool = True
) -> jax.Array:
    r"""Return c = z / sum z with (T'T + lambda I) z = 1, the minimiser of |T c|^2 + lambda |c|^2 with sum c = 1.

    Args:
      reduced: T, of `reduce`.
      mask: the mask that it was made with; c vanishes where it does.
      regularization: lambda, at least 0.
      relative: whether lambda is in units of the largest eigenvalue of T'T, by which T'T is divided first.
    """
    singular, _ = decomposition = spectrum(reduced, mask)
    # Always in units of the largest one, or what the sum of z is compared with would depend on the scale of R.
    largest = jnp.where(singular[0] > 0, singular[0], 1)
    ridge = jnp.asarray(regularization, reduced.dtype)
    if not relative:
        ridge = ridge / largest / largest
    z = mask * divide(decomposition._replace(singular=singular / largest), ridge, mask)
    total = jnp.sum(z)
    mean = mask / jnp.maximum(jnp.sum(mask), 1)
    return jnp.where(jnp.abs(total) < 1e-10, mean, z / total)


class Spectrum(NamedTuple):
    """Singular values of T, largest first, and its right singular vectors as rows."""

    singular: jax.Array
    right: jax.Array


def spectrum(reduced: jax.Array, mask: jax.Array) -> Spectrum:
    """Return the singular values and right vectors of T, in which columns that do not count stand by themselves."""
    # Columns that do not count would be null vectors, and rounding along those is divided by next to nothing where
    # lambda is 0. So they get a length of their own, no larger than the largest singular value.
    length = jnp.linalg.norm(reduced) / jnp.sqrt(jnp.maximum(jnp.sum(mask), 1))
    absent = (1 - mask)[None, :] * jnp.where(length > 0, length, 1) * jnp.eye(mask.shape[0], dtype=reduced.dtype)
    _, singular, right = jnp.linalg.svd(jnp.concatenate([reduced, absent]), full_matrices=False)
    return Spectrum(singular, right)


def divide(decomposition: Spectrum, ridge: jax.typing.ArrayLike, side: jax.Array) -> jax.Array:
    """Return (T'T + ridge I)^(-1) side."""
    eps = jnp.finfo(side.dtype).eps
    # The floor only matters without a ridge: a singular value of exactly 0 would give 0 / 0.
    floor = (eps * decomposition.singular[0]) ** 2
    damped = jnp.maximum(decomposition.singular**2 + ridge, jnp.where(floor > 0, floor, jnp.finfo(side.dtype).tiny))
    return ((decomposition.right @ side) / damped) @ decomposition.right
