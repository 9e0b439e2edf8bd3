r"""Proximal operators: the point that trades closeness against a penalty.

Each gives :math:`\arg\min_z \tfrac12 \lVert z - x \rVert^2 + \eta\, h(z)` over a tree x, with :math:`\eta` = `scaling`.
Parikh and Boyd, "Proximal algorithms", 2014, section 6.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = [
    "make_prox_from_projection",
    "prox_elastic_net",
    "prox_group_lasso",
    "prox_lasso",
    "prox_non_negative_lasso",
    "prox_non_negative_ridge",
    "prox_none",
    "prox_ridge",
]

Tree = Any
Real = jax.typing.ArrayLike


def prox_none(x: Tree, *, scaling: Real = 1.0) -> Tree:
    """Return x: no penalty, h = 0.

    Example:
      >>> prox_none(3.0)
      3.0

    Args:
      x: a tree of arrays.
      scaling: not used.

    Returns:
      A tree like x.
    """
    del scaling
    return x


def make_prox_from_projection(projection: Callable[[Tree], Tree]) -> Callable[..., Tree]:
    """Return the proximal operator of a set: its projection, h = 0 inside and infinite outside.

    Example:
      >>> import jax.numpy as jnp
      >>> box = make_prox_from_projection(lambda x: jnp.clip(x, 0.0, 1.0))
      >>> float(box(jnp.array(3.0), scaling=0.1))
      1.0

    Args:
      projection: maps a tree to the nearest point of the set.

    Returns:
      A function of `x` and `scaling`, which is not used.
    """

    def prox(x: Tree, *, scaling: Real = 1.0) -> Tree:
        del scaling
        return projection(x)

    return prox


def prox_lasso(x: Tree, *, l1reg: Tree = 1.0, scaling: Real = 1.0) -> Tree:
    r"""Shrink every entry towards zero: :math:`h = \lambda \lVert x \rVert_1`.

    Example:
      >>> import jax.numpy as jnp
      >>> prox_lasso(jnp.array([3.0, -0.5, -2.0]), l1reg=1.0).tolist()
      [2.0, -0.0, -1.0]

    Args:
      x: a tree of real or complex arrays.
      l1reg: :math:`\lambda`, a number or a tree like x, >= 0.
      scaling: :math:`\eta`, >= 0.

    Returns:
      A tree like x.
    """
    return _leafwise(lambda u, l1: _shrink(u, scaling * l1), x, l1reg)


def prox_non_negative_lasso(x: Tree, *, l1reg: Tree = 1.0, scaling: Real = 1.0) -> Tree:
    r"""Lower every entry, not below zero: :math:`h = \lambda \lVert x \rVert_1` for x >= 0.

    Example:
      >>> import jax.numpy as jnp
      >>> prox_non_negative_lasso(jnp.array([3.0, 0.5, -2.0]), l1reg=1.0).tolist()
      [2.0, 0.0, 0.0]

    Args:
      x: a tree of real arrays.
      l1reg: :math:`\lambda`, a number or a tree like x, >= 0.
      scaling: :math:`\eta`, >= 0.

    Returns:
      A tree like x.
    """
    return _leafwise(lambda u, l1: jnp.maximum(u - scaling * l1, 0), x, l1reg)


def prox_elastic_net(x: Tree, *, l1reg: Tree = 1.0, gamma: Real = 1.0, scaling: Real = 1.0) -> Tree:
    r"""Shrink, then scale: :math:`h = \lambda (\lVert x \rVert_1 + \tfrac{\gamma}{2} \lVert x \rVert_2^2)`.

    Example:
      >>> import jax.numpy as jnp
      >>> prox_elastic_net(jnp.array([3.0, -0.5]), l1reg=1.0, gamma=1.0).tolist()
      [1.0, -0.0]

    Args:
      x: a tree of real or complex arrays.
      l1reg: :math:`\lambda`, a number or a tree like x, >= 0.
      gamma: weight of the square, >= 0.
      scaling: :math:`\eta`, >= 0.

    Returns:
      A tree like x.
    """
    return _leafwise(lambda u, l1: _shrink(u, scaling * l1) / (1 + scaling * l1 * gamma), x, l1reg)


def prox_group_lasso(x: Tree, *, l2reg: Tree = 1.0, scaling: Real = 1.0) -> Tree:
    r"""Shrink the norm of every leaf: :math:`h = \lambda \lVert x \rVert_2`, summed over leaves.

    Example:
      >>> import jax.numpy as jnp
      >>> [round(v, 3) for v in prox_group_lasso(jnp.array([3.0, 4.0]), l2reg=2.5).tolist()]
      [1.5, 2.0]

    A leaf is one group; rows of a matrix are groups under `jax.vmap`.

    Args:
      x: a tree of real or complex arrays.
      l2reg: :math:`\lambda`, a number or a tree like x, >= 0.
      scaling: :math:`\eta`, >= 0.

    Returns:
      A tree like x.
    """

    def shorten(u: jax.Array, l2: Real) -> jax.Array:
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(u), initial=0))  # squares of other units over- and underflow
        v = u / jnp.where(largest > 0, largest, 1)
        square = jnp.sum(jnp.real(v * jnp.conj(v)))
        norm = largest * jnp.sqrt(jnp.where(square > 0, square, 1.0))
        return jnp.where(square > 0, jnp.maximum(1 - scaling * l2 / jnp.where(square > 0, norm, 1.0), 0), 0) * u

    return _leafwise(shorten, x, l2reg)


def prox_ridge(x: Tree, *, l2reg: Tree = 1.0, scaling: Real = 1.0) -> Tree:
    r"""Scale towards zero: :math:`h = \tfrac{\lambda}{2} \lVert x \rVert_2^2`.

    Example:
      >>> import jax.numpy as jnp
      >>> float(prox_ridge(jnp.array(3.0), l2reg=2.0))
      1.0

    Args:
      x: a tree of arrays.
      l2reg: :math:`\lambda`, a number or a tree like x, >= 0.
      scaling: :math:`\eta`, >= 0.

    Returns:
      A tree like x.
    """
    return _leafwise(lambda u, l2: u / (1 + scaling * l2), x, l2reg)


def prox_non_negative_ridge(x: Tree, *, l2reg: Tree = 1.0, scaling: Real = 1.0) -> Tree:
    r"""Scale towards zero, not below it: :math:`h = \tfrac{\lambda}{2} \lVert x \rVert_2^2` for x >= 0.

    Example:
      >>> import jax.numpy as jnp
      >>> prox_non_negative_ridge(jnp.array([3.0, -3.0]), l2reg=2.0).tolist()
      [1.0, 0.0]

    Args:
      x: a tree of real arrays.
      l2reg: :math:`\lambda`, a number or a tree like x, >= 0.
      scaling: :math:`\eta`, >= 0.

    Returns:
      A tree like x.
    """
    return _leafwise(lambda u, l2: jnp.maximum(u, 0) / (1 + scaling * l2), x, l2reg)


def _leafwise(function: Callable[[jax.Array, Real], jax.Array], x: Tree, weight: Tree) -> Tree:
    """Apply to every leaf with its weight, in the leaf's dtype; to integers as floating numbers."""

    def apply(u: Any, w: Any) -> jax.Array:
        u = jnp.asarray(u)
        u = u if jnp.issubdtype(u.dtype, jnp.inexact) else u.astype(float)
        return function(u, w).astype(u.dtype)

    if jax.tree.structure(weight) == jax.tree.structure(x):
        return jax.tree.map(apply, x, weight)
    return jax.tree.map(lambda u: apply(u, weight), x)


def _shrink(u: jax.Array, by: Real) -> jax.Array:
    """Return u with its modulus lowered, not below zero."""
    if jnp.iscomplexobj(u):
        size = jnp.abs(u)
        return jnp.maximum(1 - by / jnp.where(size > 0, size, 1.0), 0) * u
    return jnp.sign(u) * jnp.maximum(jnp.abs(u) - by, 0)
