"""Who is compared: methods by name, as transformations or as factories with values to tune, each in settings."""

import inspect
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel import methods, registry
from optaxaccel.methods import states
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.argument_text import parse_arguments, steps_from
from optaxaccel.training.run.fields import plain
from optaxaccel.training.run.optimizer import Method, Recipe
from optaxaccel.training.run.spec import Run


class Setting(NamedTuple):
    """A contender with values for all that it is given.

    Attributes:
      label: the contender's name in tables.
      method: the method's name in records.
      arguments: what it is given, literals where records are to name them.
      recipe: how it is built, its numbers apart.
    """

    label: str
    method: str
    arguments: Mapping[str, Any]
    recipe: Recipe


class Contender(NamedTuple):
    """A label and its settings, one where nothing is tuned; and the arguments that were taken from `tune`."""

    label: str
    settings: tuple[Setting, ...]
    tuned: tuple[str, ...]


def contenders(entrants: Any, tune: Mapping[str, Sequence[Any]] | None, steps_per_epoch: int = 1) -> list[Contender]:
    """Return the contenders that `compare` was asked for.

    Args:
      entrants: {label: method}, or a sequence of names. A method is a name ("pal", "optax.adam"), a call as text
        ("optax.adam(learning_rate=0.1)"), a transformation, a factory, or (name or factory, {argument: value or
        sequence of values to try}).
      tune: {argument: values to try} for every method that has the argument and was not given it.
      steps_per_epoch: of the task, what "2epochs" are steps of.

    Raises:
      ValueError: a method, an argument or a value is none.
    """
    if isinstance(entrants, str):
        entrants = [entrants]
    if not isinstance(entrants, Mapping):
        names = list(entrants)
        unnamed = [one for one in names if not isinstance(one, str)]
        if unnamed:
            raise ValueError(f"{unnamed[0]!r} has no label. Pass methods={{'my method': ...}}.")
        entrants = {name: name for name in names}
    if not entrants:
        raise ValueError("There are no methods to compare. Pass methods={'pal': 'pal', 'adam': optax.adam}, say.")
    tune = {name: tuple(v) if isinstance(v, Iterator) else v for name, v in ({} if tune is None else tune).items()}
    for name, values in tune.items():
        if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
            raise ValueError(f"tune[{name!r}]={values!r} holds no values. Pass tune={{{name!r}: (0.01, 0.1)}}.")
    everyone = [_contender(label, method, tune, steps_per_epoch) for label, method in entrants.items()]
    known = {argument for one in everyone for argument in one.settings[0].recipe.method.arguments()}
    for name in tune:
        if any(name in one.tuned for one in everyone):
            continue
        if known and name not in known:
            near = registry.suggestion(name, known)
            raise ValueError(f"No method has an argument {name!r}.{near} Known: {', '.join(sorted(known))}.")
        raise ValueError(
            f"No method has an argument {name!r} left to tune. Give it to one: methods={{'label': (factory, "
            f"{{{name!r}: (0.01, 0.1)}})}}, or leave tune={{{name!r}: ...}} out."
        )
    return everyone


def _contender(label: str, method_or_pair: Any, tune: Mapping[str, Sequence[Any]], steps_per_epoch: int) -> Contender:
    what, arguments = method_or_pair if _with_arguments(method_or_pair) else (method_or_pair, {})
    if isinstance(what, str) and "(" in what:
        what, of_call = _called(what)
        arguments = {**of_call, **arguments}
    if isinstance(what, optax.GradientTransformation):
        if arguments:
            raise ValueError(f"{label}: a transformation takes no arguments. Pass its factory: (optax.adam, {{...}}).")
        method = Method(label, lambda: what, methods.Cost(), (), "", _counts_attempts(what))
    elif isinstance(what, str):
        method = optimizer.find(what)
    elif callable(what):
        method = _of_factory(label, what)
    else:
        raise ValueError(
            f"{label}: {what!r} is no method. Pass a name, a transformation such as optax.adam(1e-3), a factory such "
            "as optax.adam, or (factory, {'learning_rate': (0.01, 0.1)})."
        )
    known = method.arguments()
    choices = {name: _choices(value, method, name) for name, value in arguments.items()}
    tuned = tuple(name for name in tune if name in known and name not in choices)
    choices |= {name: tuple(tune[name]) for name in tuned}
    for name in choices:
        if name not in known:
            raise registry.unknown(f"argument of {label}", name, known)
    literal = isinstance(what, str)  # of functions only a text that is a length is one
    values = {
        name: [steps_from(one, steps_per_epoch) if literal or isinstance(one, str) else one for one in tried]
        for name, tried in choices.items()
    }
    shown = values if literal else {name: _literals(tried) for name, tried in values.items()}
    settings = tuple(
        _setting(label, what, method, arguments, literals)
        for arguments, literals in zip(_combined(values), _combined(shown), strict=True)
    )
    return Contender(label, settings, tuned)


def _called(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of a method that is written as a call, "pal(measuring_step_size=0.1)"."""
    parsed = parse_arguments(f"method={text}")["method"]
    if not isinstance(parsed, Mapping):
        raise ValueError(f"{text!r} is no method. Write pal, or pal(measuring_step_size=0.1).")
    arguments = dict(parsed)
    return str(arguments.pop("name")), {name: [value] for name, value in arguments.items()}


def _combined(values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield every combination of the values of arguments."""
    return (dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values()))


def _with_arguments(method_or_pair: Any) -> bool:
    named = isinstance(method_or_pair, tuple) and len(method_or_pair) == 2 and isinstance(method_or_pair[1], Mapping)
    return named and not isinstance(method_or_pair, optax.GradientTransformation)


def _of_factory(label: str, factory: Callable[..., Any]) -> Method:
    """Return a factory as a method: with its card's cost where it has a card."""
    for card in methods.METHODS.values():
        if factory is card.make:
            return optimizer.find(card.name)
    return Method(label, factory, methods.Cost(), (), "")


def _counts_attempts(tx: optax.GradientTransformation) -> bool:
    """Return whether a transformation tells how often it searched: its losses are those of the searches then."""
    try:
        state = jax.eval_shape(tx.init, {"any": jnp.zeros(1)})
    except Exception:  # made for parameters of another form
        return False
    return bool(states.find(state, states.Searches))


def _choices(value: Any, method: Method, name: str) -> tuple[Any, ...]:
    """Return the values to try: a list is one, a tuple too, unless the argument's own values are tuples."""
    default = method.arguments()[name].default if name in method.arguments() else None
    if isinstance(value, list) or (isinstance(value, tuple) and not isinstance(default, tuple)):
        return tuple(value) if value else (value,)
    return (value,)


def _setting(label: str, what: Any, method: Method, arguments: dict[str, Any], literals: Mapping[str, Any]) -> Setting:
    if isinstance(what, str):
        recipe = optimizer.recipe(Run(method=what, method_args=arguments), total_steps=1, steps_per_epoch=1)
        return Setting(label, what, arguments, recipe)
    missing = [n for n, a in method.arguments().items() if _needed(a) and n not in arguments]
    if missing:
        raise ValueError(
            f"{label} needs {', '.join(missing)}. Pass (factory, {{{missing[0]!r}: 0.1}}), or values to try: "
            f"{{{missing[0]!r}: (0.01, 0.1)}}, or tune={{{missing[0]!r}: (0.01, 0.1)}}."
        )
    try:
        tx = method.make(**arguments)
    except Exception as error:
        raise ValueError(f"{label} cannot be made with {arguments}: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(tx, optax.GradientTransformation):
        raise ValueError(f"{label}: the factory returned a {type(tx).__name__}, and no optax transformation.")
    numbers: dict[str, Any] = {
        name: np.float32(v) for name, v in arguments.items() if isinstance(v, float) and name not in method.static_args
    }
    if not _takes_tracers(method, arguments, numbers):
        numbers = {}
    static = {name: value for name, value in arguments.items() if name not in numbers}
    name = method.name if method.name in methods.METHODS else _name_of(what, label)
    return Setting(label, name, literals, Recipe(method, static, numbers))


def _needed(argument: inspect.Parameter) -> bool:
    return argument.default is argument.empty and argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL)


def _takes_tracers(method: Method, arguments: Mapping[str, Any], numbers: Mapping[str, Any]) -> bool:
    """Return whether a factory of others can be built from traced numbers: one that looks at them cannot."""

    def built(numbers):
        return method.make(**{**arguments, **numbers}).init({"w": jnp.zeros(2)})

    try:
        jax.eval_shape(built, numbers)
    except Exception:
        return False
    return True


def _name_of(what: Any, label: str) -> str:
    """Return what records call a method of others: optax's own by their names."""
    name = getattr(what, "__name__", "")
    return f"optax.{name}" if name and getattr(optax, name, None) is what else label


def _literals(values: Iterable[Any]) -> list[Any]:
    """Return what records call values; those that are called alike, as functions are, get numbers."""
    called: list[Any] = []
    for value in values:
        literal = name = _literal(value)
        for count in itertools.count(2):
            if literal == value or literal not in called:
                break
            literal = f"{name} #{count}"
        called.append(literal)
    return called


def _literal(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_literal(one) for one in value]
    value = plain(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else _nameless(repr(value))


def _nameless(text: str) -> str:
    """Return a text without addresses, which are others in every process."""
    return re.sub(" at 0x[0-9a-f]+", "", text)


def file_name(label: str) -> str:
    """Return a label as a part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", label)


def check_file_names(labels: Iterable[str]) -> None:
    """Refuse labels whose records would lie in the same files."""
    by_name: dict[str, str] = {}
    for label in labels:
        other = by_name.setdefault(file_name(label), label)
        if other != label:
            raise ValueError(
                f"The labels {other!r} and {label!r} give files one name, {file_name(label)}-... Pass labels that "
                "differ in letters or digits, or leave folder= out."
            )
