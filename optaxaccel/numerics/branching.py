"""A part of a program that runs now and then.

Used by methods that do something now and then: extrapolate, search for negative curvature, take an outer step.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def when(due: jax.Array, function: Callable[..., Any], carry: Any, *operands: Any) -> Any:
    """Return `function(carry, *operands)` where the scalar `due` holds, else `carry`.

    It is a loop of no or one round: unlike a branch that costs nothing where it is not due under `jax.vmap` either.
    A loop has no derivative in reverse mode, so the derivative is that of the branch.

    Args:
      due: whether the function runs.
      function: returns what is like `carry`; it closes over nothing that is traced. What it makes of the operands
        alone, XLA computes before the loop, due or not: work has to hang on the carry.
      carry: what the function replaces.
      operands: what else it needs.
    """

    @jax.custom_jvp
    def run(due, carry, operands):
        def once(state):
            return ~state[0], function(state[1], *operands)

        return lax.while_loop(lambda state: state[0], once, (due, carry))[1]

    @run.defjvp
    def tangent(primals, tangents):
        (due, *inputs), (_, *moved) = primals, tangents

        def branch(carry, operands):
            return lax.cond(due, lambda: function(carry, *operands), lambda: carry)

        return jax.jvp(branch, tuple(inputs), tuple(moved))

    return run(due, carry, operands)


def forward_only(tree: Any, why: str, error: type[Exception] = NotImplementedError) -> Any:
    """Return the tree as it is, with a derivative in forward mode; in reverse mode an `error` says why not."""

    @jax.custom_jvp
    def same(leaves):
        return leaves

    @same.defjvp
    def tangent(primals, tangents):
        return same(primals[0]), [_only_forwards.bind(leaf, why=why, error=error) for leaf in tangents[0]]

    leaves, structure = jax.tree.flatten(tree)
    inexact = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
    copies = iter(same([leaf for leaf, real in zip(leaves, inexact, strict=True) if real]))
    return jax.tree.unflatten(structure, [next(copies) if real else x for x, real in zip(leaves, inexact, strict=True)])


def _refuse_to_transpose(cotangent: Any, leaf: Any, *, why: str, error: type[Exception]) -> Any:
    raise error(why)


_only_forwards = Primitive("only_forwards")  # the identity, as a linear map without a transpose
_only_forwards.def_impl(lambda leaf, **_: leaf)
_only_forwards.def_abstract_eval(lambda leaf, **_: leaf)
ad.deflinear2(_only_forwards, _refuse_to_transpose)
batching.defvectorized(_only_forwards)
mlir.register_lowering(_only_forwards, lambda ctx, leaf, **_: [leaf])
