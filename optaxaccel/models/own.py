"""Networks of your own: a class of Linen, NNX or Equinox, by the place where Python finds it. Loads no JAX."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from optaxaccel.models.model import Model
from optaxaccel.neighbours import neighbours

_LINES = (
    "import flax.linen as nn; class Network(nn.Module): classes: int; @nn.compact def __call__(self, x, *, "
    "train=False): return nn.Dense(self.classes)(x.reshape(len(x), -1))"
)


def network_at(place: str) -> Callable[..., Any]:
    """Return what "my_module:Network" or "my_file.py:Network" names.

    Raises:
      ValueError: there is no such module or name in it; FileNotFoundError: no such file.
    """
    where, _, name = place.rpartition(":")
    if where.endswith(".py"):
        module = _from_file(Path(where))
    else:
        try:
            module = importlib.import_module(where)
        except ImportError as error:
            raise ValueError(
                f"model={place!r}: the module {where!r} could not be imported ({error}). Pass MODULE:NAME of one that "
                "Python finds, or FILE.py:NAME."
            ) from error
    network = getattr(module, name, None)
    if not callable(network):
        raise ValueError(
            f"model={place!r}: {where} has no {name!r}. Looked for a class or a function; this would do: {_LINES}"
        )
    return network


def model_of(make: Callable[..., Any], *, classes: int, input_shape: Sequence[int] | None, **overrides: Any) -> Model:
    """Return a network of your own as two pure functions.

    Args:
      make: a class of Linen, NNX or Equinox modules, or a function that returns one, or a `Model`. Of `classes` and
        `input_shape` it is given what it takes.
      classes: number of classes.
      input_shape: (height, width, channels) of an image.
      **overrides: further arguments of it.

    Raises:
      ValueError: it is none of these.
    """
    names = inspect.signature(make.__init__ if inspect.isclass(make) else make).parameters  # NNX hides a class's own
    names = {name: parameter for name, parameter in names.items() if name != "self"}
    all_names = any(p.kind is p.VAR_KEYWORD for p in names.values())
    arguments: dict[str, Any] = {"classes": classes, "input_shape": None if input_shape is None else tuple(input_shape)}
    arguments = {name: value for name, value in arguments.items() if name in names or (all_names and name == "classes")}
    bound: Any = partial(make, **{**arguments, **overrides})
    for name in overrides:
        if name not in names and not all_names:
            raise ValueError(f"{name}={overrides[name]!r}: the network takes {', '.join(names) or 'nothing'}.")
    if "rngs" in names:
        from optaxaccel.models.nnx import from_nnx

        return from_nnx(bound)
    if "key" in names:
        from optaxaccel.models.equinox import from_equinox

        return from_equinox(bound)
    network = bound()
    if isinstance(network, Model):
        return network
    from flax import linen as nn

    if isinstance(network, nn.Module):
        from optaxaccel.models.linen import from_linen

        return from_linen(network)
    raise ValueError(
        f"{getattr(make, '__name__', make)} made a {type(network).__name__}, and no network. Return a Linen module, an "
        f"NNX module (with an argument rngs), an Equinox module (with an argument key) or a Model, say: {_LINES}"
    )


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"No file {path} in {Path.cwd()}, of which a model was asked.")
    name = f"model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file. Pass FILE.py:NAME.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # data classes, which Linen makes of modules, look themselves up there
    try:
        with neighbours(path):
            spec.loader.exec_module(module)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} could not be run ({type(error).__name__}: {error}).") from error
    return module
