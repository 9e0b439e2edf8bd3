"""The methods of `minimize`, by name or as they come, free and inside bounds."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optaxaccel import methods
from optaxaccel.methods.box import scale_in_box
from optaxaccel.numerics import flat
from optaxaccel.solvers import minimize_refusals
from optaxaccel.solvers.domain import as_box

MINIMIZE_METHODS: Mapping[str, Callable[[], optax.GradientTransformationExtraArgs]] = {
    "bfgs": methods.bfgs,
    "lbfgs": methods.lbfgs,
    "ssbfgs": methods.ssbfgs,
    "ssbfgs_ol": functools.partial(methods.ssbfgs, method="ssbfgs_ol"),
    "ssbroyden": methods.ssbroyden,
    "ssbroyden1": functools.partial(methods.ssbroyden, method="ssbroyden1"),
    "ssbroyden3": functools.partial(methods.ssbroyden, method="ssbroyden3"),
}


def of_any(method: str | optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Return the transformation that a name or a transformation stands for."""
    if isinstance(method, str):
        minimize_refusals.check_method(method, tuple(MINIMIZE_METHODS))
        return _named(method)
    if not isinstance(method, optax.GradientTransformation):
        raise TypeError(
            f"method={method!r} is neither a name nor a transformation. Pass one of {', '.join(MINIMIZE_METHODS)}, or "
            "a transformation that was called, optax.adam(1e-3)."
        )
    return _with_extra_args(method)


@functools.lru_cache(typed=True)
def _with_extra_args(method: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Wrap a transformation once, so that the loop compiled for it is found again."""
    return optax.with_extra_args_support(method)


@functools.cache
def _named(method: str) -> optax.GradientTransformationExtraArgs:
    """Make a method once, so that the loop compiled for it is found again."""
    return MINIMIZE_METHODS[method]()


def in_box(method: Any) -> optax.GradientTransformationExtraArgs:
    """Return the transformation that a name stands for inside bounds."""
    if method not in ("bfgs", "lbfgs"):
        raise ValueError(f"bounds work with method='bfgs' and method='lbfgs', not with {method!r}. Pass one of these.")
    return _named_in_box(method)


@functools.cache
def _named_in_box(method: str) -> optax.GradientTransformationExtraArgs:
    return scale_in_box(dense=method == "bfgs")


def box_around(params: optax.Params, bounds: tuple[Any, Any]) -> tuple[jax.Array, jax.Array]:
    """Return both bounds as vectors."""
    whole = (jax.tree.map(lambda p, b: jnp.broadcast_to(b, p.shape), params, side) for side in as_box(bounds, params))
    lower, upper = map(flat.flatten, whole)
    return lower, upper
