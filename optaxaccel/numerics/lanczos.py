"""Lanczos: the lowest eigenpair of a symmetric operator from its products with vectors alone.

All vectors so far are kept, and what rounding leaves along them is removed at once. Used by the search for negative
curvature and, on the operator times minus one, by the measurement of sharpness.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics import ring, sums, trees
from optaxaccel.numerics.eigenpairs import EigenPair, repeat
from optaxaccel.numerics.hessians import Product
from optaxaccel.numerics.packing import packing
from optaxaccel.numerics.trees import Tree


class Krylov(NamedTuple):
    """A Lanczos factorisation H Q = Q T + (last vector left over), with T symmetric and tridiagonal.

    Attributes:
      basis: stack of the orthonormal vectors q_0, q_1, ..., one more than steps; those not reached are zero.
      diagonal: q_j'H q_j.
      coupling: q_{j+1}'H q_j; zero where the space is exhausted.
    """

    basis: Tree
    diagonal: jax.Array
    coupling: jax.Array


def lanczos(product: Product, start: Tree, num_steps: int, *, host_driven: bool = False) -> EigenPair:
    """Return the lowest eigenpair of the Hessian in the Krylov space of a unit vector: `num_steps` products."""
    if host_driven:
        return _lanczos(product, start, num_steps, host_driven=True)
    pack, unpack = packing(start)
    lowest = _lanczos(lambda vector: pack(product(unpack(vector))), pack(start), num_steps, host_driven=False)
    return lowest._replace(vector=unpack(lowest.vector))


def _lanczos(product: Product, start: Tree, num_steps: int, *, host_driven: bool) -> EigenPair:
    zeros = jnp.zeros(num_steps, trees.accumulation_dtype())
    krylov = Krylov(ring.write(ring.stack_zeros(start, num_steps + 1), 0, start), zeros, zeros)

    def body(step, krylov):
        return _extend(krylov, step, product(_vector(krylov.basis, step)))

    return _lowest(repeat(num_steps, body, krylov, host_driven=host_driven))


_vector = jax.jit(ring.read)


@jax.jit
def _extend(krylov: Krylov, step: jax.Array, image: Tree) -> Krylov:
    """Orthogonalise the image of vector `step` against all vectors so far; what is left is the next one."""
    last = jnp.maximum(step - 1, 0)
    current, previous = ring.read(krylov.basis, step), ring.read(krylov.basis, last)
    before = jnp.where(step > 0, krylov.coupling[last], 0.0)
    diagonal = trees.vdot(current, image)
    # In exact arithmetic these three terms are all. What rounding leaves along older vectors grows with every step
    # unless it is removed at once, and after this it is small enough for one removal.
    rest = jax.tree.map(lambda r, q, p: (r - diagonal * q - before * p).astype(r.dtype), image, current, previous)
    rounding = sums.combine(krylov.basis, sums.inner_products(krylov.basis, rest), len(krylov.diagonal) + 1)
    rest = jax.tree.map(lambda r, c: r - c, rest, rounding)
    coupling = trees.norm(rest)
    # Of an image inside the space so far, the two removals leave far less than its own rounding.
    goes_on = ~(coupling <= _epsilon(rest) * (jnp.abs(diagonal) + before))  # NaN goes on, to be seen at the end
    coupling = jnp.where(goes_on, coupling, 0.0)
    following = trees.scale(jnp.where(goes_on, 1.0 / jnp.where(goes_on, coupling, 1.0), 0.0), rest)
    # The stack is read first and written with what the reading gave: so it is never copied.
    return Krylov(
        ring.write(krylov.basis, step + 1, following),
        krylov.diagonal.at[step].set(diagonal),
        krylov.coupling.at[step].set(coupling),
    )


@jax.jit
def _lowest(krylov: Krylov) -> EigenPair:
    """Return the lowest eigenpair of T, carried back to the space of the parameters."""
    diagonal, coupling = krylov.diagonal, krylov.coupling
    reached = jnp.concatenate([jnp.ones(1, bool), jnp.cumprod(coupling[:-1] > 0).astype(bool)])
    # Rows behind a breakdown are empty: lift them over the spectrum, or their zeros would pass for eigenvalues.
    above = 1.0 + jnp.max(jnp.abs(diagonal)) + 2.0 * jnp.max(coupling)
    tridiagonal = jnp.diag(jnp.where(reached, diagonal, above))
    tridiagonal += jnp.diag(coupling[:-1], 1) + jnp.diag(coupling[:-1], -1)
    eigenvalues, vectors = jnp.linalg.eigh(tridiagonal)
    vector = sums.combine(krylov.basis, vectors[:, 0], len(diagonal))
    return EigenPair(eigenvalues[0], vector, jnp.abs(coupling[-1] * vectors[-1, 0]))


def _epsilon(tree: Tree) -> float:
    return max((float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(tree)), default=0.0)
