"""The loss as a method sees it: `value_fn` bound to the data of a step, and whether what it gave is finite."""

import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import arguments, masks
from optaxaccel.numerics import compiler, trees

_OWN = ("updates", "state", "params", "value", "grad", "value_fn")  # what update takes for itself
_WHOLE_LOOPS = ("minimize", "proximal_gradient")  # whose callers know of no value_fn
ValueFn = Callable[..., jax.typing.ArrayLike]


def bind_value_fn(
    method: str, value_fn: ValueFn | None, extra: Mapping[str, Any]
) -> Callable[[optax.Params], jax.Array]:
    """Return the loss as a function of the parameters alone.

    Args:
      method: the method's name, for errors.
      value_fn: the loss, called as `value_fn(params, **data)`.
      extra: further keyword arguments of `update`; those that `value_fn` names (all of them if it takes `**data`) are
        its data, the others are ignored.

    Returns:
      A function of the parameters that returns the loss as a scalar in float32 or better, not differentiated through.

    Raises:
      ValueError: `value_fn` is missing, or names data that `update` was not given.
      TypeError: `value_fn` is not a function or its result is no real number, or a mask hides leaves that it needs.
    """
    arguments.require_extra(method, "value_fn", value_fn)
    warn_of_accumulation(method)
    if not callable(value_fn):
        raise TypeError(f"{method}: value_fn={value_fn!r} is not a function. Pass value_fn=lambda params: loss.")
    parameters = list(inspect.signature(value_fn).parameters.values())[1:]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    own = [p.name for p in named if p.default is p.empty and p.name in _OWN]
    if own:
        raise ValueError(
            f"{method}: value_fn takes its data {', '.join(own)} by name, but update has arguments of that name, which "
            "are not handed on. Rename them, or close over them: value_fn=lambda params: loss_fn(params, ...)."
        )
    missing = [p.name for p in named if p.default is p.empty and p.name not in extra]
    if missing:
        absent = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"{method}: value_fn needs {', '.join(missing)}, which update was not given. Hand the data of this step on "
            f"by name: tx.update(grads, state, params, value=loss, grad=grads, value_fn=value_fn, {absent})."
        )
    data = dict(extra) if takes_all else {p.name: extra[p.name] for p in named if p.name in extra}

    def loss(params: optax.Params) -> jax.Array:
        try:
            value = value_fn(params, **data)
        except Exception as error:  # whatever a loss does with optax.MaskedNode, unless it fills them in
            if masks.hides(params):
                raise masks.refusal(method) from error
            raise
        if not hasattr(value, "dtype") and not arguments.is_number(value):
            if method in _WHOLE_LOOPS:
                raise TypeError(
                    f"{method}: the loss returned a {type(value).__name__}, but it is one number. Pass has_aux=True if "
                    "it returns the pair (loss, aux)."
                )
            raise TypeError(
                f"{method}: value_fn returned a {type(value).__name__}, but a loss is one number: auxiliary outputs "
                "(batch statistics, logits) have no place in it. Pass value_fn=lambda params: loss_fn(params)[0], say, "
                "and keep the auxiliary outputs of jax.value_and_grad(loss_fn, has_aux=True)."
            )
        is_array = not arguments.is_number(value)
        value = jnp.asarray(value)
        if is_array and not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(
                f"{method}: value_fn returned {value.dtype}, but a loss is one real number that has a gradient. Return "
                "a mean of float32, say: a count or a comparison is no loss."
            )
        if value.shape != ():
            raise ValueError(
                f"{method}: value_fn returned an array of shape {value.shape}, but a loss is one number. "
                "Return the mean over the batch, and auxiliary outputs (batch statistics, logits) not at all."
            )
        return jnp.asarray(value, jnp.promote_types(value.dtype, jnp.float32))

    return loss


def warn_of_accumulation(method: str) -> None:
    """Warn inside `optax.MultiSteps`, which tells nobody that it is there: it is looked for among the callers.

    It says nothing when it is made, so its `init` is the earliest moment; a state that was restored meets its `update`.
    """
    frame, codes = sys._getframe(), [getattr(optax.MultiSteps, name).__code__ for name in ("init", "update")]
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back
    if frame is not None:
        warnings.warn(
            f"{method} looks at the loss, and optax.MultiSteps hands it the mean gradient of several micro-batches "
            "with value and value_fn of the last one alone: the slope of one function and the values of another. Sum "
            "up gradients and losses yourself, and give value_fn the mean over all micro-batches: the guide on "
            "gradient accumulation has the step.",
            stacklevel=2,
        )


def step_is_finite(updates: optax.Updates, value: jax.typing.ArrayLike | None) -> jax.Array:
    """Return whether the gradient and, if it is given, the loss of this step are finite."""
    return trees.all_finite(updates) & loss_is_finite(value)


def handed_on(extra: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """Return what a transformation around another hands on to it: its own extra arguments too, where they are given."""
    return {name: argument for name, argument in (own | dict(extra)).items() if argument is not None}


def loss_is_finite(value: jax.typing.ArrayLike | None) -> jax.Array | bool:
    """Return whether the loss of this step is finite, as far as it is known; this needs no pass over a gradient."""
    return True if value is None else jnp.all(compiler.is_finite(value))
