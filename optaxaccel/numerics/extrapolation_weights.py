r"""The weights c of a history with their derivative: min_c |R c|^2 + lambda s |c|^2 subject to sum c = 1.

Used by extrapolation, of a given history and while training.

`least_squares` finds them by loops that no derivative goes through. But c is an implicit function of R and lambda: with
A = R'R + lambda s I it is A c = mu 1, so a change of A, of which b = (dA) c, changes it by

    dc = c (1'A^(-1) b) - A^(-1) b,   b = dR'(R c) + R'(dR c) + d(lambda s) c,

which is one more solution of the small system. s = |R'R| changes by 2 (R v).(dR v) with v its eigenvector; or s is 1.
Everything of RNA that can hold its history in memory gets its weights here; files that it cannot hold go to
`least_squares` themselves, from products that are summed block by block.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from optaxaccel.numerics import columns, least_squares
from optaxaccel.numerics.columns import Leaf


def weights(
    leaves: Sequence[Leaf], mask: jax.Array, regularization: jax.typing.ArrayLike, relative: bool = True
) -> jax.Array:
    """Return the weights of all columns, zero where the mask is. They have first derivatives, forwards and backwards.

    Args:
      leaves: the leaves of R, which has K columns.
      mask: (K,), 1 for the columns that count and 0 for the others.
      regularization: lambda, at least 0.
      relative: whether s = |R'R| or s = 1.
    """
    return weights_and_care(leaves, mask, regularization, relative)[0]


def weights_and_care(
    leaves: Sequence[Leaf], mask: jax.Array, regularization: jax.typing.ArrayLike, relative: bool = True
) -> tuple[jax.Array, jax.Array | bool]:
    """Return the weights of `weights`, and whether there may be infinite entries, as `least_squares.reduce` tells."""
    small, care = _reduced(leaves, mask)
    return solve(leaves, mask, small, regularization, relative), care


def reduced(leaves: Sequence[Leaf], mask: jax.Array) -> jax.Array:
    """Return the small matrix of `least_squares.reduce`, a constant to differentiation."""
    return _reduced(leaves, mask)[0]


def solve(
    leaves: Sequence[Leaf],
    mask: jax.Array,
    small: jax.Array,
    regularization: jax.typing.ArrayLike,
    relative: bool = True,
) -> jax.Array:
    """Return the weights of `weights`, given the small matrix, which serves every regularisation."""
    # The rule outlives this call, in the program that is traced: it may hold what is static of the leaves alone.
    arrays, leaves = _arrays(leaves), [leaf._replace(rows=(), minus=None) for leaf in leaves]

    @jax.custom_jvp
    def solved(arrays: Any, ridge: jax.Array, mask: jax.Array, small: jax.Array) -> jax.Array:
        del arrays
        return least_squares.solve(small, mask, ridge, relative)

    @solved.defjvp
    def tangent(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        (arrays, ridge, mask, small), (moved, ridge_moved, *_) = primals, tangents
        arrays, ridge = _only_once((arrays, ridge))
        c = least_squares.solve(small, mask, ridge, relative)
        spectrum = least_squares.spectrum(small, mask)
        s, s_moved = jnp.ones_like(ridge), jnp.zeros_like(ridge)
        if relative:
            s, top = spectrum.singular[0] ** 2, spectrum.right[0] * mask
            s_moved = 2.0 * _both(leaves, arrays, moved, top)[1]
        b = _both(leaves, arrays, moved, c)[0] * mask + (ridge_moved * s + ridge * s_moved) * c
        bent = least_squares.divide(spectrum, ridge * s, b) * mask
        return c, c * jnp.sum(bent) - bent

    return solved(arrays, jnp.asarray(regularization, mask.dtype), mask, small)


def _reduced(leaves: Sequence[Leaf], mask: jax.Array) -> tuple[jax.Array, jax.Array | bool]:
    return least_squares.reduce(_with(leaves, jax.lax.stop_gradient(_arrays(leaves))), mask)


def _arrays(leaves: Sequence[Leaf]) -> Any:
    return [(leaf.rows, leaf.minus) for leaf in leaves]


def _with(leaves: Sequence[Leaf], arrays: Any) -> list[Leaf]:
    return [leaf._replace(rows=rows, minus=minus) for leaf, (rows, minus) in zip(leaves, arrays, strict=True)]


def _both(leaves: Sequence[Leaf], arrays: Any, moved: Any, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return dR'(R c) + R'(dR c), which is linear in dR, and (R c).(dR c)."""
    products, half = jnp.zeros_like(c), jnp.zeros_like(c, shape=())
    for leaf, leaf_moved in zip(_with(leaves, arrays), _with(leaves, moved), strict=True):
        here, change = columns.whole(leaf, c.dtype), columns.whole(leaf_moved, c.dtype, linear=True)
        mean, mean_change = (jnp.tensordot(c, x, 1, precision=jax.lax.Precision.HIGHEST) for x in (here, change))
        products += jnp.sum(change * mean[None] + here * mean_change[None], axis=tuple(range(1, here.ndim)))
        half += jnp.sum(mean * mean_change)
    return products, half


@jax.custom_jvp
def _only_once(inputs: Any) -> Any:
    return inputs


@_only_once.defjvp
def _refuse(primals: Any, tangents: Any) -> tuple[Any, Any]:
    raise NotImplementedError(
        "An extrapolation has first derivatives only: its weights come from loops through which no derivative goes, "
        "and the rule for them is written for one. Differentiate once, or put jax.lax.stop_gradient around the history."
    )
