"""Results that later runs of the process share, such as compiled programs: remembered by all that they depend on."""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import numpy as np

MOST = 16  # results
_SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl")  # they change what is compiled
_RESULTS: dict[Hashable, Any] = {}


def remembered(build: Callable[..., Any], *facts: Any) -> Any:
    """Return `build(*facts)`, from an earlier call with equal facts if there was one; the last sixteen are remembered.

    Nothing that a result depends on can be missing from its key: `build` is a module's own function, so it closes over
    nothing, and it is handed nothing but the facts, whose whole contents are the key.

    Raises:
      TypeError: `build` closes over something, or a fact's contents cannot be told.

    Example:
      >>> remembered(sorted, (3, 1)) is remembered(sorted, (3, 1)), remembered(sorted, (3, 2))
      (True, [2, 3])
      >>> number = 3
      >>> def forgetful():
      ...     def build(x):
      ...         return x + number
      ...     number = 4
      ...     return build
      >>> remembered(forgetful(), 1)
      Traceback (most recent call last):
      TypeError: build closes over number, which its key would not know. Pass it as a fact to a module's own function.
    """
    key = _key(build, facts)
    if key not in _RESULTS:
        while len(_RESULTS) >= MOST:
            _RESULTS.pop(next(iter(_RESULTS)))
        _RESULTS[key] = build(*facts)
    return _RESULTS[key]


def is_remembered(build: Callable[..., Any], *facts: Any) -> bool:
    """Return whether `remembered` would not build."""
    return _key(build, facts) in _RESULTS


def forget() -> None:
    """Forget all results."""
    _RESULTS.clear()


def _key(build: Callable[..., Any], facts: tuple) -> Hashable:
    if getattr(build, "__closure__", None) is not None:
        names = ", ".join(build.__code__.co_freevars)
        raise TypeError(
            f"{build.__name__} closes over {names}, which its key would not know. Pass it as a fact to a module's own "
            "function."
        )
    settings = tuple(getattr(jax.config, name) for name in _SETTINGS)
    return (build, *map(contents, facts), settings)


def contents(fact: Any) -> Hashable:
    """Return what is equal for two facts only if their types and all they hold are.

    Arrays of the host count by their values; functions, and whatever else says itself how it compares, by themselves.

    Raises:
      TypeError: an array lives on a device (reading it would be a wait), or the fact cannot be compared.
    """
    if isinstance(fact, jax.Array):
        raise TypeError(f"An array of shape {fact.shape} on a device is no fact. Pass it to the compiled function.")
    if isinstance(fact, (np.ndarray, np.generic)):
        return (type(fact), fact.shape, str(fact.dtype), fact.tobytes())
    if isinstance(fact, Mapping):
        return (dict, *sorted(((repr(k), contents(k), contents(v)) for k, v in fact.items()), key=lambda item: item[0]))
    if isinstance(fact, (tuple, list)):
        return (type(fact), *map(contents, fact))
    if dataclasses.is_dataclass(fact) and not isinstance(fact, type):
        values = (contents(getattr(fact, field.name)) for field in dataclasses.fields(fact))
        return (type(fact), *values)
    if isinstance(fact, float):
        return (float, fact.hex())
    hash(fact)
    return (type(fact), fact)
