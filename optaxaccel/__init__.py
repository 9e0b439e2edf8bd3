"""Accelerated optimisers for JAX as optax transformations.

Every public name comes from `optaxaccel.methods` or `optaxaccel.solvers` and is imported when it is first used, so that
the command line can answer `--help` without starting JAX.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from optaxaccel.methods import *  # noqa: F403
    from optaxaccel.solvers import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module 'optaxaccel' has no attribute {name!r}")
    if importlib.util.find_spec(f"optaxaccel.{name}") is not None:  # `from optaxaccel import data` asks here first
        return importlib.import_module(f"optaxaccel.{name}")
    homes = [importlib.import_module(f"optaxaccel.{home}") for home in ("methods", "solvers")]
    names = [public for home in homes for public in home.__all__]
    if name == "__all__":
        return names
    for home in homes:
        if name in home.__all__:
            return getattr(home, name)
    known = ", ".join(sorted(names))
    raise AttributeError(f"module 'optaxaccel' has no attribute {name!r}. It has: {known}.")


def __dir__() -> list[str]:
    return sorted([*__getattr__("__all__"), "__version__"])
