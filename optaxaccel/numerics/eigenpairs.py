"""An approximate eigenpair, unit vectors to start a search from, and power iteration, the simplest search.

Used by the search for negative curvature, by `lanczos` and by what measures sharpness.

The eigenvalue is the Rayleigh quotient of the vector, and the residual says how far it may be off. Sums over parameters
are sums of products, so leaves may be sharded. `repeat` is the loop of all searches: compiled, or in Python over
compiled parts.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics import trees
from optaxaccel.numerics.hessians import Product, working_dtype
from optaxaccel.numerics.trees import Tree

Carry = Any


class EigenPair(NamedTuple):
    """An approximate eigenvalue and its vector.

    Attributes:
      eigenvalue: the Rayleigh quotient v'Hv.
      vector: the unit vector v.
      residual: ||H v - eigenvalue v||, an upper limit of the distance to the nearest eigenvalue.
    """

    eigenvalue: jax.Array
    vector: Tree
    residual: jax.Array


# --- Vectors ----------------------------------------------------------------------------------------------------------


@jax.jit
def unit(tree: Tree) -> Tree:
    """Return the tree divided by its norm; zero stays zero."""
    norm = trees.norm(tree)
    return trees.scale(jnp.where(norm > 0, 1.0 / jnp.where(norm > 0, norm, 1.0), 0.0), tree)


@jax.jit
def random_unit(key: jax.Array, like: Tree) -> Tree:
    """Return a random unit vector with the shapes of `like`, in working dtypes.

    It is one draw cut into leaves: the same numbers however the parameters are cut, and one generator to compile.
    """
    leaves, structure = jax.tree.flatten(like)
    sizes = [leaf.size * (2 if jnp.iscomplexobj(leaf) else 1) for leaf in leaves]
    drawn = jax.random.normal(key, (sum(sizes),), trees.accumulation_dtype())
    length = jnp.linalg.norm(drawn)
    drawn = drawn / jnp.where(length > 0, length, 1.0)
    parts = []
    for leaf, size, end in zip(leaves, sizes, itertools.accumulate(sizes), strict=True):
        part = drawn[end - size : end]
        if jnp.iscomplexobj(leaf):
            part = part[::2] + 1j * part[1::2]
        # Adding to zeros gives the draw the sharding of its leaf.
        zeros = trees.zeros_like(leaf, working_dtype(leaf))
        parts.append(zeros + part.reshape(leaf.shape).astype(zeros.dtype))
    return jax.tree.unflatten(structure, parts)


# --- Power iteration --------------------------------------------------------------------------------------------------


def repeat(num_steps: int, body: Callable[[jax.Array, Carry], Carry], carry: Carry, *, host_driven: bool) -> Carry:
    """Return carry after body(0, .), body(1, .), ..., as a compiled loop or as a Python loop."""
    if not host_driven:
        return jax.lax.fori_loop(0, num_steps, body, carry)
    for step in range(num_steps):
        carry = body(jnp.asarray(step, jnp.int32), carry)
    return carry


def power(
    product: Product, start: Tree, num_steps: int, rate: jax.typing.ArrayLike, *, host_driven: bool = False
) -> EigenPair:
    """Return the lowest eigenpair by v <- unit(v - rate H v): `num_steps` products and one more for the eigenvalue.

    The lowest eigenvalue wins while rate < 2/(highest + lowest eigenvalue); components decay relative to it by
    (1 - rate h)/(1 - rate lowest) a step.
    """

    def body(step, vector):
        del step
        return _power_step(vector, product(vector), rate)

    vector = repeat(num_steps, body, start, host_driven=host_driven)
    return rayleigh(vector, product(vector))


@jax.jit
def _power_step(vector: Tree, image: Tree, rate: jax.typing.ArrayLike) -> Tree:
    return unit(trees.add_scaled(vector, -jnp.asarray(rate), image))


@jax.jit
def rayleigh(vector: Tree, image: Tree) -> EigenPair:
    """Return the eigenpair that a unit vector and its image suggest."""
    eigenvalue = trees.vdot(vector, image)
    return EigenPair(eigenvalue, vector, trees.norm(trees.add_scaled(image, -eigenvalue, vector)))
