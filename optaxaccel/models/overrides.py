"""What may override an argument of a model's factory: judged by the factory's own annotations. Loads no JAX."""

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from numbers import Integral, Real
from typing import Any

_LARGEST = 1_000_000  # of any size of a model: a layer of so many units has 4 TB of weights


def natural(value: Any) -> bool:
    """Return whether a value is an integer >= 1."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


# What an annotation admits, and a test for it; an argument with another one is checked by the factory itself.
_KINDS: Mapping[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("True or False", lambda v: isinstance(v, bool)),
    int: ("an integer >= 1", natural),
    float: ("a finite number", lambda v: isinstance(v, Real) and not isinstance(v, bool) and math.isfinite(v)),
    str: ("a word", lambda v: isinstance(v, str)),
    str | None: ("a word or None", lambda v: v is None or isinstance(v, str)),
    Sequence[int]: ("a tuple of integers >= 1", lambda v: isinstance(v, (tuple, list)) and all(map(natural, v))),
}


def check(
    model: str, overrides: Mapping[str, Any], parameters: Mapping[str, Parameter], like: Mapping[str, Any]
) -> None:
    """Raise unless every override is of the kind that its annotation says.

    Args:
      model: the model's name.
      overrides: the values to judge; all of their names are in `parameters`.
      parameters: of the factory's signature.
      like: a value that is right, for each argument.

    Raises:
      ValueError: one of them is of another kind; the message shows what is right.
    """
    for name, value in overrides.items():
        wanted, fits = _KINDS.get(parameters[name].annotation, ("", lambda v: True))
        if not fits(value):
            raise ValueError(f"{name}={value!r} of model {model!r} is not {wanted}. Pass {name}={like[name]!r}, say.")
        sizes = value if isinstance(value, (tuple, list)) else [value]
        if any(isinstance(size, Integral) and int(size) > _LARGEST for size in sizes):
            raise ValueError(
                f"{name}={value!r} of model {model!r} is beyond {_LARGEST:,}, and no machine has the memory for that. "
                f"Pass {name}={like[name]!r}, say."
            )
