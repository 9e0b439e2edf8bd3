"""Fields of a run of the wrong kind are refused. Standard library only."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args


def check(name: str, value: Any, valid: bool, wanted: str) -> None:
    """Refuse the value of a field that is not valid."""
    if not valid:
        raise ValueError(f"{name}={value!r} is not {wanted}. Pass {name}={wanted}.")


def _admitted(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)


_KINDS: Mapping[Any, tuple[Any, str]] = {
    int: (int, "an integer"),
    float: ((int, float), "a number"),
    str: (str, "a word"),
    bool: (bool, "True or False"),
}


def plain(value: Any) -> Any:
    """Return a value with every number of NumPy or JAX in it as Python's, which is what a record can hold.

    Example:
      >>> import numpy as np
      >>> plain({"hidden": (np.int64(4), 8), "rate": np.float32(0.5)})
      {'hidden': (4, 8), 'rate': 0.5}
    """
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        with contextlib.suppress(NotImplementedError):  # a random key is no number
            return value.item()
    return value


def check_kinds(run: Any) -> None:
    """Refuse words for numbers and numbers for words, in the fields of a run; numbers of NumPy become Python's."""
    for field in dataclasses.fields(run):
        value, admitted = plain(getattr(run, field.name)), _admitted(field.type)
        if admitted[0] not in _KINDS or (value is None and type(None) in admitted):
            continue
        object.__setattr__(run, field.name, value)
        kind, wanted = _KINDS[admitted[0]]
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        check(field.name, value, right, wanted)


def literals(name: str, value: Any) -> dict[str, Any]:
    """Return a field that is a mapping of literals as a dictionary."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}={value!r} is not a mapping. Pass {name}={{'argument': value}}.")
    value = plain(value)
    try:
        json.dumps(value)
    except TypeError as error:
        raise ValueError(f"{name}={value!r} holds more than literals ({error}), so no record could name it.") from error
    return value
