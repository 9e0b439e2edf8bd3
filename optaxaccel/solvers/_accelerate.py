"""Anderson's acceleration around whatever maps parameters to parameters: an epoch, a few optax steps, a sweep."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from optaxaccel.solvers._fixed_point import anderson_init, anderson_update
from optaxaccel.solvers.anderson_steps import AndersonSteps


class Accelerated(NamedTuple):
    """A pair of functions, as an optax transformation is one.

    Attributes:
      init: `init(params)` returns the state.
      step: `step(params, state, *args)` calls the map at the parameters and returns the parameters to call it at next,
        the state, and with `has_aux` the map's auxiliary output.
    """

    init: Callable[[Any], AndersonSteps]
    step: Callable[..., Any]


def accelerate(
    step_fn: Callable[..., Any],
    *,
    history: int = 10,
    rtol: jax.typing.ArrayLike = 1e-6,
    atol: jax.typing.ArrayLike = 0.0,
    has_aux: bool = False,
    project: Callable[[Any], Any] | None = None,
    valid: Callable[[Any], Any] | None = None,
    bounds: tuple[Any, Any] | None = None,
) -> Accelerated:
    """Accelerate the repetition of a step, `params = step_fn(params, *args)`, by safeguarded Anderson steps.

    Example:
      Gradient descent on a quadratic of condition 100, minimum at 1: ten steps leave an error of 0.9, and here none:

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> curvature, tx = jnp.array([1.0, 0.1, 0.01]), optax.sgd(1.0)
      >>> def descend(x):
      ...     return optax.apply_updates(x, tx.update(curvature * (x - 1), tx.init(x))[0])
      >>> fast = optaxaccel.accelerate(descend)
      >>> x, state = jnp.zeros(3), fast.init(jnp.zeros(3))
      >>> for _ in range(10):
      ...     x, state = fast.step(x, state)
      >>> [round(float(v), 3) for v in state.image]
      [1.0, 1.0, 1.0]

    The step is taken for a map with a fixed point: full-batch gradient descent, a whole epoch in a fixed order, a sweep
    of coordinate descent. Every second call is an extrapolation as in `fixed_point`; where the next residual
    `|step_fn(params) - params|` soars, it is taken back. Steps with fresh noise have no fixed point: there `rejected`
    grows and nothing is won. An optimiser's state may be handed through `args` and `aux`; plain gradient descent, whose
    step depends on the parameters alone, gains most.

    Args:
      step_fn: called as `step_fn(params, *args)`; returns parameters, with `has_aux` the pair of them and anything.
      history: differences kept, >= 1. 5 takes 6 % more evaluations and half the memory (measured on 29 maps).
      rtol: converged is `|F(x) - x| <= atol + rtol |F(x)|`, over all leaves, >= 0. Below 1e-7 float32 has no digits.
      atol: the part of the tolerance (see `rtol`) in units of x, >= 0.
      has_aux: whether `step_fn` returns (params, aux).
      project: the nearest point of a domain, applied to extrapolated points: `lambda x: x / jnp.sum(x)`.
      valid: whether an extrapolated point, as a whole, may be evaluated; else it is halved towards the last one.
      bounds: (lower, upper) for x, numbers or trees like x: extrapolated points are clipped.

    Returns:
      A pair of pure functions. `state.status` is a `FixedPointStatus`, `state.residual` the length of the last step
      taken, and `state.image` the parameters to use in the end: the map's own output, no extrapolation.

    Raises:
      ValueError: the step returns another structure or shape than it was given.

    References:
      As of `fixed_point`.
    """

    def init(params: Any) -> AndersonSteps:
        return anderson_init(params, history=history)

    def step(params: Any, state: AndersonSteps, *args: Any) -> Any:
        got = step_fn(params, *args)
        if has_aux and not (isinstance(got, tuple) and len(got) == 2):
            raise ValueError(
                f"accelerate: with has_aux=True the step must return the pair (params, aux), it returned a "
                f"{type(got).__name__}. Return two things, or leave has_aux out."
            )
        image, *aux = got if has_aux else (got,)
        params, state = anderson_update(
            image, params, state, rtol=rtol, atol=atol, project=project, valid=valid, bounds=bounds
        )
        return (params, state, *aux)

    return Accelerated(init, step)
