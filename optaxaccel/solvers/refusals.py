"""What `minimize` refuses, and in which words."""

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.solvers.minimize_result import MinimizeState


def check_limits(tol: Any, max_steps: Any) -> None:
    """Raise ValueError unless both are numbers in range."""
    contract.check_number("tol", tol, "it is the size of the gradient at which to stop", at_least=0.0)
    contract.check_number("max_steps", max_steps, "it is a number of steps", at_least=0)
    if jnp.ndim(tol) or jnp.ndim(max_steps):
        raise ValueError("tol and max_steps belong to all parameters. Pass one number each.")


def check_state(state: Any, tx: optax.GradientTransformation) -> None:
    """Raise TypeError or ValueError for a state with which `tx` cannot go on."""
    if not isinstance(state, MinimizeState):
        raise TypeError(f"state is a {type(state).__name__}. Pass that of an earlier result, state=result.state.")
    if jax.tree.structure(jax.eval_shape(tx.init, state.params)) != jax.tree.structure(state.opt_state):
        raise ValueError("state was made by another method. Pass the same method and bounds, or params=state.params.")


def check_data(name: str, fun: Any, data: Any) -> None:
    """Raise TypeError for data without names or a loss that is no function, ValueError for data that do not fit it."""
    if not isinstance(data, Mapping | None):
        raise TypeError(f"data={data!r} has no names. Pass a dict of arguments of the loss, data={{'batch': batch}}.")
    if not callable(fun):
        raise TypeError(f"{name}: fun={fun!r} is not a function. Pass fun=lambda params: loss.")
    named = list(inspect.signature(fun).parameters.values())[1:]
    named = [p for p in named if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.default is p.empty]
    missing = [p.name for p in named if p.name not in (data or {})]
    if missing:
        entries = ", ".join(f"'{name}': ..." for name in missing)
        raise ValueError(
            f"{name}: the loss takes {', '.join(missing)}, which data does not hold. Pass data={{{entries}}}, or give "
            "the argument a default."
        )


def check_untraced(*trees: Any) -> None:
    """Raise TypeError where a callback could not be called."""
    if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(trees)):
        raise TypeError("callback is called from Python after every step, which no transformation of JAX can trace.")
