"""What `minimize` refuses, and in which words."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel import methods
from optaxaccel.methods import contract
from optaxaccel.methods.box import BoxState
from optaxaccel.numerics import trees
from optaxaccel.solvers.minimize_result import MinimizeState


def check_order(name: str, fun: Any, params: Any) -> None:
    """Raise TypeError for the first two arguments the wrong way round, or of the wrong kind."""
    if callable(params) and not callable(fun):
        raise TypeError(f"{name}: the function comes first and the start second. Call {name}(fun, params).")
    if not callable(fun):
        raise TypeError(f"{name}: fun={fun!r} is not a function. Pass fun=lambda x: ..., a function of the unknowns.")
    check_arrays(f"{name}: the start", params, "unknowns are arrays and numbers")


def check_unmasked(seen: Any, grad: Any) -> None:
    """Raise TypeError where the search of a method sees a part of the parameters only."""
    if jax.tree.structure(seen) != jax.tree.structure(grad):
        raise TypeError(
            "minimize: the method is masked or a partition, and its search sees a part of the parameters only. Keep "
            "what does not move out of params, in data: minimize(loss, moving, data={'frozen': ...})."
        )


def check_tolerance(tol: Any, why: str = "it is the size of the gradient at which to stop") -> None:
    """Raise ValueError unless it is one number in range."""
    if jnp.ndim(tol):
        raise ValueError("tol and max_steps belong to all parameters. Pass one number each.")
    contract.check_number("tol", tol, why, at_least=0.0)


def whole(name: str, steps: Any, why: str, at_least: int = 0) -> Any:
    """Return a limit that counts in 32 bits: an int, or an array that may be traced.

    Raises:
      ValueError: it is no whole number, or out of range.
    """
    contract.check_number(name, steps, why, at_least=at_least, unlimited=True)
    if hasattr(steps, "dtype") and jnp.issubdtype(steps.dtype, jnp.integer):
        return steps
    if contract.is_number(steps) and (steps == math.inf or float(steps).is_integer()):
        return int(min(steps, jnp.iinfo(jnp.int32).max))
    raise ValueError(f"{name}={steps!r} is not a whole number: {why}. Pass {name}=1000, say.")


def check_method(method: str, names: tuple[str, ...]) -> None:
    """Raise ValueError unless a name is one of `names`; a transformation of this or that library is called instead."""
    if method in names:
        return
    if method.lower() in names:
        raise ValueError(f"method={method!r} is unknown. Did you mean {method.lower()!r}?")
    if method.upper() in _SCIPY:
        raise ValueError(f"method={method!r} is SciPy's. {_SCIPY[method.upper()]} Pass one of {', '.join(names)}.")
    for place, library in (("optaxaccel", methods), ("optax", optax)):
        card = methods.METHODS.get(method) if library is methods else None
        name = card.make.__name__ if card else method
        if "Gradient" in str(getattr(inspect.unwrap(getattr(library, name, str)), "__annotations__", {}).get("return")):
            raise ValueError(
                f"method={method!r} is the name of a transformation, which has arguments of its own. Pass "
                f"method={place}.{name}(...), the transformation itself, or one of {', '.join(names)}."
            )
    contract.check_choice("method", method, names)


_SCIPY = {
    "L-BFGS-B": "Its counterpart is method='lbfgs', with bounds=(lower, upper).",
    "CG": "Its counterpart for many parameters is method='lbfgs'.",
    "NEWTON-CG": "Its counterpart for many parameters is method='lbfgs'.",
    "TNC": "Its counterpart is method='lbfgs', with bounds=(lower, upper).",
    "NELDER-MEAD": "There is none without derivatives here: JAX takes them.",
    "POWELL": "There is none without derivatives here: JAX takes them.",
    "COBYLA": "There is none with general constraints here.",
    "SLSQP": "There is none with general constraints here.",
}


def check_state(state: Any, init: Callable[[Any], Any]) -> None:
    """Raise TypeError or ValueError for a state that goes on from none that `init` of the parameters gives."""
    if not isinstance(state, MinimizeState):
        raise TypeError(f"state is a {type(state).__name__}. Pass that of an earlier result, state=result.state.")
    if _shapes(jax.eval_shape(init, state.params)) != _shapes(state.opt_state):
        raise ValueError(
            "state was made by another method, or with other settings of it. Pass the same method and bounds, or "
            "params=state.params to begin anew."
        )


def check_kind(state: Any, kind: type) -> None:
    """Raise TypeError for a state that another function made."""
    if not isinstance(state, kind):
        raise TypeError(
            f"state is a {type(state).__name__}, and proximal_gradient goes on from a {kind.__name__}. Pass that of an "
            "earlier result of it, state=result.state."
        )


def _shapes(tree: Any) -> Any:
    """Return the types of a tree's nodes, and the shape and the dtype of its leaves."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(getattr(leaf, "shape", ()), trees.leaf_dtype(leaf)) for leaf in leaves]


def check_box(state: MinimizeState, box: Any) -> None:
    """Raise ValueError for a state whose bounds are others than (lower, upper), as far as values are known."""
    kept = state.opt_state
    if not isinstance(kept, BoxState) or any(isinstance(x, jax.core.Tracer) for x in (*box, kept.lower, kept.upper)):
        return
    if not (np.array_equal(box[0], kept.lower) and np.array_equal(box[1], kept.upper)):
        raise ValueError("state was made with other bounds. Pass the same ones, or params=state.params to begin anew.")


def check_data(name: str, fun: Any, data: Any) -> None:
    """Raise TypeError for data without names or that are no arrays, ValueError for data that do not fit the loss."""
    if not isinstance(data, Mapping | None):
        raise TypeError(f"data={data!r} has no names. Pass a dict of arguments of the loss, data={{'batch': batch}}.")
    check_arrays(f"{name}: data", data, "data are arrays and numbers")
    named = list(inspect.signature(fun).parameters.values())[1:]
    known = {p.name for p in named if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    other = [name for name in data or {} if name not in known]
    if other and not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(fun).parameters.values()):
        raise ValueError(
            f"{name}: data holds {', '.join(map(str, other))}, which the loss does not take. It takes "
            f"{', '.join(sorted(known)) or 'nothing but the parameters'}: leave the entry out, or name it as the "
            "argument is named."
        )
    named = [p for p in named if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.default is p.empty]
    missing = [p.name for p in named if p.name not in (data or {})]
    if missing:
        entries = ", ".join(f"'{name}': ..." for name in missing)
        raise ValueError(
            f"{name}: the loss takes {', '.join(missing)}, which data does not hold. Pass data={{{entries}}}, or give "
            "the argument a default."
        )


def check_arrays(what: str, tree: Any, rule: str) -> None:
    """Raise TypeError for a leaf that is neither an array nor a number."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not (contract.is_number(leaf) or hasattr(leaf, "dtype") or isinstance(leaf, (bool, complex))):
            raise TypeError(
                f"{what}{jax.tree_util.keystr(path)} is a {type(leaf).__name__}; {rule}. Close over what is none: "
                "fun=lambda x: loss(x, ...)."
            )


def check_functions(**functions: Any) -> None:
    """Raise TypeError for an argument that is given and no function."""
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise TypeError(f"{name}={function!r} is not a function. Pass a function, or leave {name} out.")


def check_untraced(*trees: Any) -> None:
    """Raise TypeError where a callback could not be called."""
    if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(trees)):
        raise TypeError("callback is called from Python after every step, which no transformation of JAX can trace.")
