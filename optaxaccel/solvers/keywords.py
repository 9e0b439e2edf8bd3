"""Names of arguments that other libraries have for the same thing, and an error that translates them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from optaxaccel import registry

Function = TypeVar("Function", bound=Callable[..., Any])

OF_MINIMIZE = {
    "maxiter": "Pass max_steps=1000.",
    "max_iter": "Pass max_steps=1000.",
    "steps": "Pass max_steps=1000.",
    "options": "Pass max_steps=1000 and tol=1e-5, or a method with its arguments, method=optaxaccel.bfgs(...).",
    "gtol": "It is tol=1e-5, the largest entry of the gradient.",
    "jac": "JAX takes the gradient of the loss: leave it out.",
    "hess": "The methods learn the curvature from gradients: leave it out.",
    "args": "Pass data={'name': ...}, the further arguments of the loss by name.",
    "x0": "The start is the second argument: minimize(loss, params).",
    "learning_rate": "Pass method=optax.adam(1e-3), say; methods with a search need none.",
}
OF_FIXED_POINT = {
    "tol": "Pass rtol=1e-6, relative to |F(x)|, or atol=1e-6 with rtol=0, in units of x.",
    "xtol": "Pass rtol=1e-6, relative to |F(x)|, or atol=1e-6 with rtol=0, in units of x.",
    "maxiter": "Pass max_maps=1000, evaluations of the map.",
    "max_iter": "Pass max_maps=1000, evaluations of the map.",
    "max_steps": "Pass max_maps=1000, evaluations of the map.",
    "history_size": "Pass history=10.",
    "m": "Pass history=10.",
    "args": "Further arguments of the map follow the start: fixed_point(fun, x0, a, b).",
}
OF_PROXIMAL_GRADIENT = {
    "maxiter": "Pass max_steps=1000.",
    "max_iter": "Pass max_steps=1000.",
    "l1reg": "It belongs to the penalty: prox=functools.partial(prox_lasso, l1reg=0.1).",
    "stepsize": "The step is found by a search: leave it out.",
    "learning_rate": "The step is found by a search: leave it out.",
    "args": "Pass data={'name': ...}, the further arguments of the loss by name.",
}


def translated(remedies: Mapping[str, str]) -> Callable[[Function], Function]:
    """Refuse keywords that a function does not have, with what to pass instead.

    Args:
      remedies: what to do in place of passing a keyword of this name.

    Raises:
      TypeError: of the decorated function, for a keyword that it does not have.
    """

    def around(fun: Function) -> Function:
        parameters = inspect.signature(fun).parameters
        names = [name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_POSITIONAL]

        @functools.wraps(fun)
        def called(*args: Any, **kwargs: Any) -> Any:
            for name in kwargs.keys() - names:
                remedy = remedies.get(name)
                hint = f" {remedy}" if remedy else registry.suggestion(name, names)
                known = "" if hint else f" It has {', '.join(names)}."
                raise TypeError(f"{fun.__name__} has no argument {name!r}.{hint}{known}")
            return fun(*args, **kwargs)

        return cast(Function, called)

    return around
