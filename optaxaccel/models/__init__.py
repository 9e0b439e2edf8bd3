"""The model zoo: one family a file, and the registry MODELS that describes it to everything else.

Names say what a net was made for: `resnet18` is the one for ImageNet, `resnet18_cifar` the same with a stem for
32x32 images, `resnet20_cifar` one of the 6 n + 2 layers that were designed for CIFAR; `_v2` has pre-activated blocks,
`_bn` batch normalisation.

Importing this package loads neither JAX nor Flax; `make` imports the family that it is asked for.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from optaxaccel.models import overrides as _overrides
from optaxaccel.models import own as _own
from optaxaccel.models.model import Model, ModelCard
from optaxaccel.models.zoo import CARDS
from optaxaccel.registry import lookup, unknown

__all__ = ["MODELS", "Model", "ModelCard", "card_of", "check", "make", "overrides_of", "register"]

_CARDS = {card.name: card for card in CARDS}
_OWN: dict[str, Callable[..., Any]] = {}
MODELS: Mapping[str, ModelCard] = MappingProxyType(_CARDS)


def register(name: str, maker: Callable[..., Any], *, paper: str = "", note: str = "", **defaults: Any) -> None:
    """Make a network of your own known by name, in this process.

    Args:
      name: the new key of MODELS.
      maker: a class of Linen, NNX or Equinox modules, or a function that returns one or a `Model`; it may take
        `classes`, `input_shape` and overrides.
      paper: its source, for tables.
      note: what a reader should know.
      **defaults: arguments that it is given, unless they are overridden.

    Raises:
      ValueError: the name is taken by another network.
    """
    if name in _CARDS and _OWN.get(name) is not maker:
        raise ValueError(f"a model {name!r} is there already. Choose another name: models.register('my_{name}', ...).")
    _OWN[name] = maker
    _CARDS[name] = ModelCard(name, "", paper, (1, 1, 1), 1, 0, note=note, defaults=defaults)


def card_of(name: str) -> ModelCard:
    """Return the card of a model, also of one that is named by its place, "my_module:Network" or "my_file.py:Network".

    Raises:
      ValueError: the name is unknown, or nothing is at that place; FileNotFoundError: there is no such file.
    """
    if ":" in str(name):
        if name not in _OWN:
            _OWN[name] = _own.network_at(name)
        return ModelCard(name, name, "", (1, 1, 1), 1, 0)
    return lookup("model", name, MODELS)


def make(name: str, *, classes: int, input_shape: Sequence[int] | None = None, **overrides: Any) -> Model:
    """Build a model of the zoo.

    Args:
      name: a key of MODELS.
      classes: number of classes, at least 1.
      input_shape: (height, width, channels) of the images, if known: an image too small for the net is then refused
        here instead of at `init`.
      **overrides: arguments of the family's factory, such as `width`, `dtype` or `dropout`; `overrides_of(name)`
        lists them with their defaults.

    Returns:
      The model as two pure functions.

    Raises:
      ValueError: unknown name or override (the nearest one is suggested), a value of another kind, images too small.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = make("mlp", classes=10, hidden=(4,))
      >>> params, net_state = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
      >>> sum(p.size for p in jax.tree.leaves(params))  # 64 * 4 + 4 + 4 * 10 + 10
      310
    """
    check(name, overrides)
    card = card_of(name)
    if not _overrides.natural(classes):
        raise ValueError(f"classes={classes!r} is no number of outputs; pass an integer, classes=1 or more.")
    if input_shape is not None:
        _check_images(card, input_shape)
    if name in _OWN:
        arguments = {**card.defaults, **overrides}
        return _own.model_of(_OWN[name], classes=classes, input_shape=input_shape, **arguments)
    model = _maker(card)(classes=classes, **{**card.defaults, **overrides})

    def init(key, x):
        _check_images(card, x.shape[1:])
        return model.init(key, x)

    return Model(init, model.apply)


def check(name: str, overrides: Mapping[str, Any]) -> None:
    """Raise ValueError unless `make(name, ...)` knows the model and takes these overrides; no array is made.

    Example:
      >>> check("mlp", {"hidden": 8})
      Traceback (most recent call last):
      ValueError: hidden=8 of model 'mlp' is not a tuple of integers >= 1. Pass hidden=(128,), say.
    """
    card = card_of(name)
    if name in _OWN:
        return
    known = overrides_of(name)
    for override in overrides:
        if override not in known:
            raise unknown(f"override of model {name!r}:", override, known)
    _overrides.check(name, overrides, inspect.signature(_maker(card)).parameters, known)
    _maker(card)(classes=1, **{**card.defaults, **overrides})  # the family's own checks


def overrides_of(name: str) -> dict[str, Any]:
    """Return the overrides that `make(name, ...)` takes, with their defaults for this model."""
    card = card_of(name)
    if name in _OWN:
        return dict(card.defaults)
    parameters = inspect.signature(_maker(card)).parameters
    return {**{key: p.default for key, p in parameters.items() if key != "classes"}, **card.defaults}


def _maker(card: ModelCard) -> Any:
    module, function = card.maker.split(":")
    return getattr(importlib.import_module(module), function)


def _check_images(card: ModelCard, shape: Sequence[int]) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            f"Model {card.name!r} takes images of shape (height, width, channels), all at least 1, "
            f"got {tuple(shape)}; reshape to [batch, height, width, channels]."
        )
    if min(shape[:2]) < card.min_size:
        smaller = ", ".join(repr(c.name) for c in MODELS.values() if c.min_size <= min(shape[:2]))
        raise ValueError(
            f"Model {card.name!r} needs images of {card.min_size}x{card.min_size} pixels at least, got "
            f"{shape[0]}x{shape[1]}: too little is left after its last pooling. Pad or resize the images, or choose "
            f"one of {smaller}."
        )
