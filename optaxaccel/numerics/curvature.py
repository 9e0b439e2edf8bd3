"""The lowest eigenvalue of a Hessian and its vector, from products with the Hessian alone.

Products are forward over reverse, or differences of gradients; sums over parameters are sums of products, so leaves may
be sharded. Every iteration runs inside a compiled program or, with `host_driven`, as a Python loop over compiled parts:
on CPU the kernel gradient of an ordinary convolution is slow inside any compiled loop and fast outside.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics import ring, sums, trees
from optaxaccel.numerics.packing import packing
from optaxaccel.numerics.trees import Tree

Function = Callable[..., jax.Array]  # fn(params, **data) -> scalar
Product = Callable[[Tree], Tree]  # v -> H v
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


# --- Products with the Hessian ----------------------------------------------------------------------------------------


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


def repeat(num_steps: int, body: Callable[[jax.Array, Carry], Carry], carry: Carry, *, host_driven: bool) -> Carry:
    """Return carry after body(0, .), body(1, .), ..., as a compiled loop or as a Python loop."""
    if not host_driven:
        return jax.lax.fori_loop(0, num_steps, body, carry)
    for step in range(num_steps):
        carry = body(jnp.asarray(step, jnp.int32), carry)
    return carry


# --- Lanczos ----------------------------------------------------------------------------------------------------------


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


# --- Power iteration --------------------------------------------------------------------------------------------------


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
