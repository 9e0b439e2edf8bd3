"""One evaluation of the map: its checks, its residual, and what that says."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optaxaccel.numerics import sums, trees
from optaxaccel.solvers.outcome import FixedPointStatus


class Products(NamedTuple):
    """Inner products over all leaves, and over all devices of a mesh axis where one is named (inside `shard_map`)."""

    axis_name: Any = None

    def sum(self, values: Any) -> Any:
        """Return sums of this device as sums of all."""
        return values if self.axis_name is None else lax.psum(values, self.axis_name)

    def dot(self, a: trees.Tree, b: trees.Tree) -> jax.Array:
        """Return Re <a, b>."""
        return self.sum(trees.vdot(a, b))

    def stack(self, stack: trees.Tree, tree: trees.Tree) -> jax.Array:
        """Return Re <s, t> of a tree t and every tree s in a stack."""
        return self.sum(sums.inner_products(stack, tree))


class Evaluation(NamedTuple):
    """A point c, y = F(c), q = y - c, the lengths |q| and |y|, and what they say."""

    point: Any
    image: Any
    move: Any
    residual: jax.Array
    size: jax.Array
    finite: jax.Array
    converged: jax.Array

    def status(self, *, plain: jax.typing.ArrayLike) -> jax.Array:
        """Return the status after this evaluation; only at a plain step NaN ends the search."""
        code = jnp.where(self.converged, FixedPointStatus.CONVERGED.value, FixedPointStatus.RUNNING.value)
        return jnp.where(~self.finite & plain, FixedPointStatus.NOT_FINITE.value, code).astype(jnp.int32)


def evaluate(
    image: trees.Tree,
    point: trees.Tree,
    products: Products,
    rtol: jax.typing.ArrayLike,
    atol: jax.typing.ArrayLike,
) -> Evaluation:
    """Return what F(point) = `image` says; |y| is looked at, too, since it may overflow where y - c does not."""
    move = jax.tree.map(jnp.subtract, image, point)
    squares = products.sum(jnp.stack([trees.vdot(move, move), trees.vdot(image, image)]))
    residual, size = jnp.sqrt(squares[0]), jnp.sqrt(squares[1])
    finite = jnp.isfinite(residual) & jnp.isfinite(size)
    return Evaluation(point, image, move, residual, size, finite, finite & (residual <= atol + rtol * size))


def underflows(image: trees.Tree, point: trees.Tree, products: Products, rtol: Any, atol: Any) -> jax.Array:
    """Return whether a point that counts as converged is none: the squares of so small a residual are zero."""
    move = jax.tree.map(jnp.subtract, image, point)
    largest = sum(jnp.max(jnp.abs(leaf), initial=0.0) for leaf in jax.tree.leaves(image))
    unit = products.sum(jnp.asarray(largest, trees.accumulation_dtype()))
    unit = jnp.where(unit > 0, unit, 1.0)
    residual, size = (trees.scale(1.0 / unit, tree) for tree in (move, image))
    residual, size = (jnp.sqrt(products.dot(tree, tree)) for tree in (residual, size))
    return residual > 2.0 * (atol / unit + rtol * size)  # twice, since this evaluation may round in another way


def as_unknowns(name: str, x0: Any) -> Any:
    """Return x0 with strongly typed arrays as leaves.

    Raises:
      ValueError: there are no leaves.
      TypeError: a leaf is not a number of floating point, real or complex.
    """
    if not any(map(np.size, jax.tree.leaves(x0))):
        raise ValueError(f"{name}: x0={x0!r} holds no numbers, so there is nothing to find. Pass where to start.")

    def leaf(path, x):
        dtype = trees.leaf_dtype(x)
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"{name}: x0{jax.tree_util.keystr(path)} has the dtype {dtype}, in which nothing can converge. Pass "
                f"floating numbers, jax.tree.map(lambda x: jnp.asarray(x, float), x0), and close over what is no "
                "unknown."
            )
        return jnp.asarray(x, dtype)

    return jax.tree_util.tree_map_with_path(leaf, x0)


def as_image(name: str, got: Any, point: Any) -> Any:
    """Return what the map returned, in the dtypes of the point.

    Raises:
      ValueError: it has another structure or other shapes.
      TypeError: a leaf is not real where the unknown is, or is an integer.
    """
    if jax.tree.structure(got) != jax.tree.structure(point):
        raise ValueError(
            f"{name}: the map returned the structure {jax.tree.structure(got)} for unknowns of the structure "
            f"{jax.tree.structure(point)}. Return F(x) alone, built as x0 is; with has_aux=True the pair (F(x), aux)."
        )

    def leaf(path, y, x):
        where = jax.tree_util.keystr(path)
        shape, dtype = jnp.shape(y), trees.leaf_dtype(y)
        if shape != x.shape:
            raise ValueError(
                f"{name}: the map returned the shape {shape} for the unknown x{where} of shape {x.shape}; broadcasting "
                "would hide the mistake. Return F(x) with the shapes of x0."
            )
        lossy = jnp.issubdtype(dtype, jnp.complexfloating) and not jnp.iscomplexobj(x)
        if lossy or not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"{name}: the map returned {dtype} for the unknown x{where} of dtype {x.dtype}, which loses part of "
                f"the answer. Start from x0 of dtype {jnp.result_type(dtype, x.dtype)}, or return {x.dtype}."
            )
        return jnp.asarray(y).astype(x.dtype)

    return jax.tree_util.tree_map_with_path(leaf, got, point)
