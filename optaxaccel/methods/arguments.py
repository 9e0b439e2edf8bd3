"""Checks of what a factory and its `update` are given; every error says the value, why it matters, and the remedy.

Only numbers of Python and NumPy are checked: an array, a tracer or a schedule is left alone, so nothing here waits for
a device.
"""

import math
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel import registry

# --- Arguments of a factory -------------------------------------------------------------------------------------------


def is_number(value: Any) -> TypeGuard[float]:
    """Tell a number of Python or NumPy, which is checked, from an array, a tracer or a schedule, which are left
    alone.
    """
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_number(
    name: str,
    value: Any,
    why: str,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
    unlimited: bool = False,
    fixed: str = "",
) -> None:
    """Raise ValueError unless a number lies in the given range; scalar arrays, tracers and schedules pass.

    Args:
      name: the argument's name, as the caller wrote it.
      value: what the caller passed.
      why: what the argument does, so that the error explains the range.
      above: exclusive lower limit.
      at_least: inclusive lower limit.
      below: exclusive upper limit.
      at_most: inclusive upper limit.
      unlimited: whether infinity stands for "no limit" and is in range too.
      fixed: why a schedule makes no sense; empty where one does.
    """
    if callable(value):
        if fixed:
            raise ValueError(f"{name}={value!r} is a schedule, but {fixed}. Pass {name}=<number>.")
        return
    if not (is_number(value) or (hasattr(value, "dtype") and value.dtype != bool)):
        raise ValueError(f"{name}={value!r} is not a number: {why}. Pass {name}=<number>.")
    if not is_number(value):
        shape = getattr(value, "shape", ())
        if shape != ():
            raise ValueError(
                f"{name}={value!r} has shape {shape}, but is one number for all parameters: {why}. "
                f"Pass {name}=<number>."
            )
        return
    if (above < value < below and at_least <= value <= at_most) or (unlimited and value == math.inf):
        return
    limits = [f"> {above:g}"] * (above > -math.inf) + [f">= {at_least:g}"] * (at_least > -math.inf)
    limits += [f"< {below:g}"] * (below < math.inf) + [f"<= {at_most:g}"] * (at_most < math.inf)
    limits += ["finite"] * bool(not limits or (value == math.inf and below == at_most == math.inf))
    raise ValueError(f"{name}={value!r} is out of range: {why}. Pass {name} {' and '.join(limits)}.")


def check_static(**arguments: Any) -> None:
    """Raise ValueError, with the names of all, if one of the arguments that set shapes or loops is an array."""
    traced = [name for name, value in arguments.items() if isinstance(value, jax.Array)]
    if traced:
        names = ", ".join(f"'{name}'" for name in arguments)
        raise ValueError(
            f"{' and '.join(traced)} cannot be an array or traced: such arguments set shapes or loops, so pass plain "
            f"numbers. With optax name all of them: optax.inject_hyperparams(..., static_args=({names}))."
        )


def check_count(name: str, value: Any, why: str, *, at_least: int = 1, at_most: int | None = None) -> None:
    """Raise ValueError unless the value is an integer of Python or NumPy in range: it sets a shape or a loop's
    length.
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if whole and value >= at_least and (at_most is None or value <= at_most):
        return
    limit = f" and <= {at_most}" if at_most is not None else ""
    raise ValueError(
        f"{name}={value!r} is not an integer >= {at_least}{limit}: {why}. It sets shapes or loops, so it cannot be "
        f"traced; with optax.inject_hyperparams name it in static_args=('{name}',)."
    )


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless the value is one of the choices."""
    if value not in choices:
        near = registry.suggestion(value, choices)
        raise ValueError(f"{name}={value!r} is unknown.{near} Pass one of: {', '.join(map(repr, choices))}.")


def check_learning_rate(learning_rate: optax.ScalarOrSchedule, name: str = "learning_rate") -> None:
    """Raise ValueError unless a rate given as a Python number is finite and not negative."""
    check_number(name, learning_rate, "a negative step climbs the loss", at_least=0.0, below=math.inf)


def at_step(hyperparameter: optax.ScalarOrSchedule, count: jax.typing.ArrayLike) -> Any:
    """Return the hyperparameter at the 0-based step `count`: a schedule is called, anything else is constant.

    Raises:
      ValueError: a schedule returns no number, or NaN. What it computes from `count` is not known while a step is
        traced, and is not looked at.
    """
    if not callable(hyperparameter):
        return hyperparameter
    value = hyperparameter(count)
    if (is_number(value) and math.isnan(value)) or not (is_number(value) or getattr(value, "shape", None) == ()):
        shape = getattr(value, "shape", None)
        what = f"an array of shape {shape}" if shape is not None else repr(value)
        raise ValueError(
            f"A schedule returned {what} at step {count}, but a hyperparameter is one number for all parameters. "
            "Return a scalar, and give groups of parameters rates of their own with optaxaccel.partition."
        )
    return value


# --- Arguments of an update -------------------------------------------------------------------------------------------


def check_params(method: str, params: optax.Params) -> None:
    """Raise ValueError when a leaf of the parameters is not an array of floating or complex numbers (or a number)."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype if is_number(leaf) else None
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            what = f"a {getattr(leaf, '__name__', type(leaf).__name__)}" if dtype is None else f"of dtype {dtype}"
            raise ValueError(
                f"{method}: the parameters' leaf {jax.tree_util.keystr(path) or 'itself'} is {what}, which has no "
                "gradient and cannot move. Pass the floating arrays alone: params, rest = "
                "equinox.partition(model, equinox.is_inexact_array), or nnx.split(model, nnx.Param, ...)."
            )


def base_of(method: str, base: Any) -> optax.GradientTransformationExtraArgs:
    """Return the transformation that a method goes around, which takes extra arguments.

    Raises:
      TypeError: it is none; a factory is called first.
    """
    if not (callable(getattr(base, "init", None)) and callable(getattr(base, "update", None))):
        call = f"{base.__name__}(...)" if hasattr(base, "__name__") else "optax.sgd(0.1)"
        raise TypeError(f"{method}: {base!r} is no transformation. Pass what its factory returns, {call}.")
    return optax.with_extra_args_support(base)


def require_params(method: str, params: optax.Params | None) -> None:
    """Raise ValueError when `update` was called without `params`."""
    if params is None:
        raise ValueError(
            f"{method} needs the current params, got params=None: its update depends on where the parameters are. "
            "Call tx.update(grads, state, params, ...)."
        )


def require_extra(method: str, name: str, argument: Any) -> None:
    """Raise ValueError when the extra argument `name` of `update` is missing."""
    if argument is None:
        raise ValueError(
            f"{method} needs {name}, got {name}=None: it looks at the loss itself, not only at the gradient. "
            "Call tx.update(grads, state, params, value=loss, grad=grads, value_fn=loss_of_params), where "
            "loss_of_params(params) returns the scalar loss on the batch of this step. In Flax, "
            "TrainState.apply_gradients does not hand it on: call state.tx.update there."
        )
