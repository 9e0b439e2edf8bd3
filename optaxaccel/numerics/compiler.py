"""What the compiler has to be told by the way a formula is written: one function a note, called by its name.

Used by methods, by `trees`, `columns` and `packing`, and by the networks of the zoo.

Each returns what its plain formula would, and is written otherwise for the reason that it gives. All were seen with
jaxlib 0.10.2 on CPU, and with 0.12.0.1 where that is not said to differ. `tests/numerics/test_compiler.py` looks at
the compiled program with and without each of them, and fails as soon as one is not needed any more.

The first three end a chain of scalars. XLA copies cheap operations on scalars (sums, products, comparisons, maxima)
into every loop that uses their result, as many times as there are leaves: of a maximum over 62 leaves that makes 62 x
62 operations to compile, 20 s instead of 7. A root is dear, so it computes one once, and whatever comes before it.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

Tree = TypeVar("Tree")


def is_finite(x: jax.typing.ArrayLike) -> jax.Array:
    """Return whether a scalar is finite, computed once and not in the loop over every leaf."""
    return jnp.sqrt(jnp.abs(jnp.asarray(x))) < jnp.inf


def decided(condition: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Return a scalar condition, computed once and not in the loop over every leaf."""
    return jnp.sqrt(condition.astype(dtype)) > 0


def signed_root(x: jax.Array) -> jax.Array:
    """Return a scalar with the sign of another one, computed once and not in the loop over every leaf."""
    return jnp.cbrt(x)


def unforeseen(condition: jax.typing.ArrayLike, positive: jax.Array) -> jax.Array:
    """Return a scalar condition that the compiler cannot take for true, given a number that is positive in fact.

    What a constant condition chooses is fused into all its users: cheap arithmetic with old buffers is then done once
    more for each, and a buffer that was donated is copied since its old value has several readers.
    """
    return jnp.logical_and(condition, positive > 0.0)


def after(x: jax.Array, moved: jax.Array) -> jax.Array:
    """Return x, not before the array `moved` of its shape was computed.

    XLA overwrites a donated buffer in place only after its last reader; where two new values read each other's old
    ones, it may choose an order that copies one of them. That the lesser of a size and zero is zero it does not know,
    since a float can be NaN; of an infinity it is zero, too.
    """
    return x + jnp.minimum(jnp.abs(moved), 0).astype(x.dtype)


def stored(tree: Tree) -> Tree:
    """Return the tree as it is, written out before anything is computed from it.

    Otherwise a vector that is put together or cut may be put together again inside the loop that reads it. On CPU XLA
    of jaxlib 0.10 drops the barrier before it fuses, so only programs of `rna` differ (4 % less temporary memory with
    it). That of 0.12 keeps it, and needs it: rows that are padded and written into place become a concatenation, see
    `columns`. Accelerators were not measured.
    """
    return lax.optimization_barrier(tree)


def written_out(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Return a function of arrays whose result is written to memory and read from there by whatever comes next.

    XLA's CPU compiler copies cheap operations into every reader. In a chain, as the sums of a residual network are,
    each link then computes all links before it once more: to compile and to run that is quadratic in the depth. A
    barrier is dropped before anything is fused (jaxlib 0.12 keeps it); a call that may not be inlined stands. A step of
    ResNet-98 takes 0.25 of the time to compile with it, ResNet-200 0.13 and DenseNet-40 0.61, whose step runs in 0.77
    of the time. Other devices were not measured, and are left alone.
    """
    called = jax.jit(function)

    def of_arrays(*arrays: jax.Array) -> jax.Array:
        if jax.default_backend() != "cpu":
            return function(*arrays)
        with set_xla_metadata(inlineable="false"):
            return called(*arrays)

    return of_arrays
