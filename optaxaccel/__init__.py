"""Accelerated optimisers for JAX as optax transformations.

Every public name comes from `optaxaccel.methods` or `optaxaccel.solvers` and is imported when it is first used, so that
the command line can answer `--help` without starting JAX. From then on it is an ordinary attribute of this module.
"""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOMES = ("methods", "solvers")

if TYPE_CHECKING:
    from optaxaccel.methods import *  # noqa: F403
    from optaxaccel.solvers import *  # noqa: F403
else:  # a type checker that saw this function would take every misspelt name for one that exists

    def __getattr__(name: str) -> Any:
        if name.startswith("_") and name != "__all__":
            raise AttributeError(f"module 'optaxaccel' has no attribute {name!r}")
        if importlib.util.find_spec(f"optaxaccel.{name}") is not None:  # `from optaxaccel import data` asks here first
            return importlib.import_module(f"optaxaccel.{name}")
        homes = [importlib.import_module(f"optaxaccel.{home}") for home in _HOMES]
        public = {name: home for home in homes for name in home.__all__}
        if name != "__all__" and name not in public:
            if sys._getframe(1).f_code.co_name == "_handle_fromlist":  # Python's own message says "cannot import name"
                raise ImportError(f"cannot import name {name!r} from 'optaxaccel'.{_hint(name, public)}", name=name)
            raise AttributeError(f"module 'optaxaccel' has no attribute {name!r}.{_hint(name, public)}")
        value = list(public) if name == "__all__" else getattr(public[name], name)
        globals()[name] = value  # the next access does not come here
        return value

    def _hint(name: str, public: dict[str, Any]) -> str:
        """Say what a name that is not public may be for."""
        from optaxaccel import registry

        card = public["METHODS"].METHODS.get(name)
        if card is not None:
            return f" It is a name of METHODS and of the command line; its function is {card.make.__name__!r}."
        if hasattr(importlib.import_module("optax"), name):
            return f" It is optax's: optax.{name}."
        return registry.suggestion(name, public) or f" It has: {', '.join(sorted(public))}."

    def __dir__() -> list[str]:
        return sorted([*__getattr__("__all__"), "__version__"])
