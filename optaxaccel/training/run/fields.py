"""Fields of a run of the wrong kind are refused. Standard library only."""

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


def check_kinds(run: Any) -> None:
    """Refuse words for numbers and numbers for words, in the fields of a run."""
    for field in dataclasses.fields(run):
        value, admitted = getattr(run, field.name), _admitted(field.type)
        if admitted[0] not in _KINDS or (value is None and type(None) in admitted):
            continue
        kind, wanted = _KINDS[admitted[0]]
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        check(field.name, value, right, wanted)


def literals(name: str, value: Any) -> dict[str, Any]:
    """Return a field that is a mapping of literals as a dictionary."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}={value!r} is not a mapping. Pass {name}={{'argument': value}}.")
    try:
        json.dumps(value)
    except TypeError as error:
        raise ValueError(f"{name}={value!r} holds more than literals ({error}), so no record could name it.") from error
    return dict(value)
