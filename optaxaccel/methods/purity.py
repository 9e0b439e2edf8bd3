"""Whether `value_fn` is the function that `value` is of: a check for the time in which a training step is written."""

import math
from typing import Any

import jax
import numpy as np
import optax

from optaxaccel.methods import arguments, losses

__all__ = ["check_purity"]


def check_purity(
    inner: optax.GradientTransformation, *, tolerance: float = 1e-3
) -> optax.GradientTransformationExtraArgs:
    r"""Check at every step that `value_fn` at the current parameters is `value`, and update as `inner` does.

    Example:
      The loss is evaluated on another batch than its gradient:

      >>> import jax.numpy as jnp, optaxaccel
      >>> loss = lambda x, batch: (x - batch) ** 2
      >>> tx, x = optaxaccel.check_purity(optaxaccel.pal()), jnp.array(3.0)
      >>> for batch in (1.0, 2.0):
      ...     try:
      ...         _ = tx.update(4.0, tx.init(x), x, value=4.0, value_fn=loss, batch=batch)
      ...         print("pure")
      ...     except ValueError as error:
      ...         print(str(error)[:76])
      pure
      value_fn at the parameters of this step is 1, but value is 4: these are not

    A method that looks at the loss compares losses at several points, which means something only where they are of one
    function. Another dropout mask, batch statistics that have moved, or another batch shift the loss by as much as a
    step gains, and nothing else tells. So put this around a method while you write a training step, and take it away
    when a few steps have passed: each checks

    .. math::

        |f(x_t) - v_t| \le \tau\,\max(|v_t|, \tau)

    where :math:`f` is `value_fn`, :math:`v_t` the `value` of the step, :math:`x_t` its `params`, and :math:`\tau` the
    `tolerance`. Outside of `jax.jit` the error is a ValueError; a compiled step ends in a `jax.errors.JaxRuntimeError`
    that says the same, when its results are waited for. A `value` that is not finite is left to the method.

    Args:
      inner: any transformation.
      tolerance: largest difference, relative to the loss, above 0: rounding stays below 1e-5 in float32. The default
        is ours, and far below what a mask changes.

    Returns:
      A transformation with the state of `inner`.

    Costs:
      One evaluation of the loss, and a call of Python, at every step.

    Raises:
      ValueError: `update` is not given `params`, `value` or `value_fn`, or they do not belong together.
    """
    arguments.check_number("tolerance", tolerance, "it is the largest difference of two losses", above=0.0)
    inner = optax.with_extra_args_support(inner)

    def compare(value: np.ndarray, again: np.ndarray) -> None:
        allowed = tolerance * max(abs(float(value)), tolerance)
        if math.isfinite(value) and not abs(float(again) - float(value)) <= allowed:
            raise ValueError(_message(float(value), float(again)))

    def update(updates, state, params: Any = None, *, value=None, value_fn=None, **extra):
        arguments.require_params("check_purity", params)
        arguments.require_extra("check_purity", "value", value)
        jax.debug.callback(compare, value, losses.bind_value_fn("check_purity", value_fn, extra)(params))
        return inner.update(updates, state, params, value=value, value_fn=value_fn, **extra)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _message(value: float, again: float) -> str:
    return (
        f"value_fn at the parameters of this step is {again:.7g}, but value is {value:.7g}: these are not one "
        "function. Most likely value_fn draws another dropout mask, starts from batch statistics that have moved, or "
        "sees another batch; or value was taken at other parameters. Close over the key of this step and over the "
        "statistics from before it: value_fn=lambda params: loss_fn(params, old_statistics, batch, key)."
    )
