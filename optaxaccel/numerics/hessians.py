"""Products with the Hessian of a loss: forward over reverse, or differences of gradients.

Used by searches for negative curvature, by what measures sharpness, and by methods that take the curvature along one
direction. A product runs inside a compiled program or, with `host_driven`, as a compiled call of its own: on CPU the
kernel gradient of an ordinary convolution is slow inside any compiled loop and fast outside.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from optaxaccel.numerics import trees
from optaxaccel.numerics.trees import Tree

Function = Callable[..., jax.Array]  # fn(params, **data) -> scalar
Product = Callable[[Tree], Tree]  # v -> H v


def working_dtype(leaf: Any) -> Any:
    """Return the dtype in which vectors are kept: the leaf's own, but float32 at least."""
    return jnp.promote_types(trees.leaf_dtype(leaf), jnp.float32)


def raised(tree: Tree) -> Tree:
    """Cast every leaf to its working dtype."""
    return jax.tree.map(lambda x: x.astype(working_dtype(x)), tree)


def gradient(fn: Function, params: Tree, data: Mapping[str, Any]) -> Tree:
    """Return the gradient in working dtypes; complex leaves hold the steepest ascent, the conjugate of JAX's."""
    return jax.tree.map(jnp.conj, raised(jax.grad(fn)(params, **data)))


def hvp(fn: Function, params: Tree, vector: Tree, data: Mapping[str, Any]) -> Tree:
    """Return the product of the Hessian of fn at params with a vector, forward over reverse, in working dtypes."""
    tangent = trees.cast_like(vector, params)
    return jax.jvp(lambda p: gradient(fn, p, data), (params,), (tangent,))[1]


def difference(fn: Function, params: Tree, vector: Tree, radius: jax.typing.ArrayLike, base: Tree, data) -> Tree:
    """Return (gradient(params + radius vector) - base)/radius, about H v for a unit vector v."""
    ahead = gradient(fn, trees.add_scaled(params, radius, vector), data)
    return jax.tree.map(lambda a, b: ((a - b) / radius).astype(a.dtype), ahead, base)


# Compiled once for each function, not once for each search.
_gradient_on_device = jax.jit(gradient, static_argnames="fn")
_hvp_on_device = jax.jit(hvp, static_argnames="fn")
_difference_on_device = jax.jit(difference, static_argnames="fn")


def hessian_product(fn: Function, params: Tree, data: Mapping[str, Any], *, host_driven: bool = False) -> Product:
    """Return v -> H v at params.

    In a compiled program the gradient is linearised once and each product runs only the linear part, at the price of
    keeping the intermediate values of one gradient alive.
    """
    if host_driven:
        return lambda vector: _hvp_on_device(fn, params, vector, data)
    _, linear = jax.linearize(lambda p: gradient(fn, p, data), params)
    return lambda vector: linear(trees.cast_like(vector, params))


def difference_product(
    fn: Function, params: Tree, radius: jax.typing.ArrayLike, data: Mapping[str, Any], *, host_driven: bool = False
) -> Product:
    """Return v -> (gradient(params + radius v) - gradient(params))/radius: one gradient a product, and one before.

    Both gradients are taken at parameters in working dtypes: bfloat16 would round the small displacement away.
    """
    params = _raised_if_taken(fn, params, data)
    if host_driven:
        base = _gradient_on_device(fn, params, data)
        return lambda vector: _difference_on_device(fn, params, vector, radius, base, data)
    base = gradient(fn, params, data)
    return lambda vector: difference(fn, params, vector, radius, base, data)


def _raised_if_taken(fn: Function, params: Tree, data: Mapping[str, Any]) -> Tree:
    """Return the parameters in working dtypes, or as they are where fn insists on the dtypes that they have."""
    wide = raised(params)
    if all(w.dtype == p.dtype for w, p in zip(jax.tree.leaves(wide), jax.tree.leaves(params), strict=True)):
        return params
    try:
        jax.eval_shape(lambda p: fn(p, **data), wide)
    except TypeError:
        return params
    return wide
