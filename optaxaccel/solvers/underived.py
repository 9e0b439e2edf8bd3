"""What a loop leaves, with an error that says the remedy where somebody wants its derivative in reverse mode.

JAX cannot go backwards through a loop of unknown length. It says so in words about `lax.while_loop`, which nobody wrote
who called `minimize`. What is not differentiated compiles to nothing, and `jax.lax.stop_gradient` around the result
keeps working, as do forward derivatives of the iterates, also of a batch.
"""

from typing import Any

from optaxaccel.numerics import branching


def without_reverse(name: str, tree: Any) -> Any:
    """Return a tree as it is.

    Args:
      name: the function that it is the result of, for the error.
      tree: arrays, of which the inexact ones may have tangents.

    Raises:
      TypeError: once a cotangent arrives.
    """
    why = (
        f"{name} has no derivative in reverse mode: its loop is as long as it has to be. Make the solution a fixed "
        "point, whose derivative fixed_point knows: x = fixed_point(lambda x, a: x - rate * jax.grad(loss)(x, a), "
        "result.params, a).value. Or hold it still: jax.lax.stop_gradient(result.params), at which the derivative "
        "of the loss is that of the lowest value."
    )
    return branching.forward_only(tree, why, TypeError)
