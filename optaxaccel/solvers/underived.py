"""What a loop leaves, with an error that says the remedy where somebody wants its derivative in reverse mode.

JAX cannot go backwards through a loop of unknown length. It says so in words about `lax.while_loop`, which nobody wrote
who called `minimize`. What is not differentiated compiles to nothing, and `jax.lax.stop_gradient` around the result
keeps working, as do forward derivatives of the iterates.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import linear_call


def without_reverse(name: str, tree: Any) -> Any:
    """Return a tree as it is.

    Args:
      name: the function that it is the result of, for the error.
      tree: arrays, of which the inexact ones may have tangents.

    Raises:
      TypeError: once a cotangent arrives.
    """

    @jax.custom_jvp
    def identity(leaves):
        return leaves

    def refuse(_, cotangents):
        raise TypeError(
            f"{name} has no derivative in reverse mode: its loop is as long as it has to be. Make the solution a fixed "
            "point, whose derivative fixed_point knows: x = fixed_point(lambda x, a: x - rate * jax.grad(loss)(x, a), "
            "result.params, a).value. Or hold it still: jax.lax.stop_gradient(result.params), at which the derivative "
            "of the loss is that of the lowest value."
        )

    @identity.defjvp
    def rule(primals, tangents):
        return primals[0], linear_call(lambda _, moved: moved, refuse, (), tangents[0])

    leaves, structure = jax.tree.flatten(tree)
    inexact = [jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves]
    kept = iter(identity([leaf for leaf, moves in zip(leaves, inexact, strict=True) if moves]))
    return jax.tree.unflatten(
        structure, [next(kept) if moves else leaf for leaf, moves in zip(leaves, inexact, strict=True)]
    )
