"""Many steps of one run in one call: what Python takes between two of them is more than a step of a small network.

Used by the loop of images and by runs of images that are trained together.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

CHUNK = 64  # steps in one call at most; few enough that a signal is heard soon


def several(step: Callable[..., tuple[Any, jax.Array]]) -> Callable[..., tuple[Any, jax.Array]]:
    """Return (state, numbers, count <= CHUNK, *source) -> (state, metrics [CHUNK, ...]), all steps from one source.

    Args:
      step: (state, numbers, *source) -> (state, metrics).
    """

    def steps(state, numbers, count, *source):
        like = jax.eval_shape(step, state, numbers, *source)[1]

        def body(i, carry):
            state, rows = carry
            state, metrics = step(state, numbers, *source)
            return state, rows.at[i].set(metrics)

        return jax.lax.fori_loop(0, count, body, (state, jnp.zeros((CHUNK, *like.shape), like.dtype)))

    return steps


def convolves(params: Any) -> bool:
    """Return whether a network has kernels, whose gradients are many times slower inside a loop on a CPU."""
    return any(leaf.ndim > 2 for leaf in jax.tree.leaves(params))


class Late:
    """A compiled function, compiled when it is first asked for."""

    def __init__(self, compiling: Callable[[], Any]):
        """Keep how it is compiled."""
        self._compiling, self._compiled = compiling, None

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        return self.compiled(*arguments)

    @property
    def compiled(self) -> Any:
        """What was compiled."""
        if self._compiled is None:
            self._compiled = self._compiling()
        return self._compiled
