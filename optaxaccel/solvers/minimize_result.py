"""What a minimisation returns, and what it takes to go on."""

from typing import Any, NamedTuple

import jax
import optax

__all__ = ["MinimizeResult", "MinimizeState"]


class MinimizeState(NamedTuple):
    """Where a minimisation stands, with all that it takes to go on.

    Attributes:
      params: the point at which it stands, a tree like the parameters.
      value: the loss there.
      grad: the gradient there.
      opt_state: the method's state.
      steps: steps made, int32.
      evaluations: losses with gradients so far, int32.
      status: a `SearchStatus`, int32.
    """

    params: optax.Params
    value: jax.Array
    grad: optax.Updates
    opt_state: optax.OptState
    steps: jax.Array
    evaluations: jax.Array
    status: jax.Array


class MinimizeResult(NamedTuple):
    """What `minimize` returns.

    Attributes:
      params: the last point, a tree like the parameters; of a method with a search, or in bounds, that is the best
        one up to rounding. Methods without a search (`optax.sgd`, `optax.adam`) may have been at a better one.
      value: the loss there.
      aux: the auxiliary output there, or None.
      status: a `SearchStatus`, int32; `SearchStatus(int(status)).name` is its word.
      steps: steps made, int32.
      evaluations: losses with gradients, int32; with those of a method's own search along lines, and without what else
        it evaluates (the measurements of `pal`: see its costs).
      error: the largest absolute entry of the gradient.
      state: a `MinimizeState` (of `proximal_gradient` its own), with which `state=state` goes on.
    """

    params: optax.Params
    value: jax.Array
    aux: Any
    status: jax.Array
    steps: jax.Array
    evaluations: jax.Array
    error: jax.Array
    state: Any
