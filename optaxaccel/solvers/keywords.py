"""Names of arguments that other libraries have for the same thing, and an error that translates them."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from optaxaccel import registry

Function = TypeVar("Function", bound=Callable[..., Any])


def translated(**remedies: str) -> Callable[[Function], Function]:
    """Refuse keywords that a function does not have, with what to pass instead.

    Args:
      **remedies: what to do in place of passing a keyword of this name.

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
