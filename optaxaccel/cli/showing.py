"""`optaxaccel list NAME`: what one name stands for, its arguments, defaults, cost and page."""

import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from optaxaccel import registry
from optaxaccel.cli.formulas import plain
from optaxaccel.cli.terminal import console, say
from optaxaccel.cli.terminal_tables import table


def show(name: str) -> None:
    """Print all that a name stands for: a method, a model, a data set or a task.

    Raises:
      ValueError: it is none of them; the message suggests the nearest.
    """
    from optaxaccel import METHODS
    from optaxaccel.data import DATASETS
    from optaxaccel.models import MODELS
    from optaxaccel.solvers.minimize_methods import MINIMIZE_METHODS
    from optaxaccel.tasks import TASKS

    shown = False
    kinds: tuple[tuple[Mapping[str, Any], Callable[[str], None]], ...] = (
        (METHODS, _method),
        (MINIMIZE_METHODS, _whole_loss),
        (MODELS, _model),
        (DATASETS, _data_set),
        (TASKS, _task),
    )
    if name.startswith(("optax.", "baseline.")):
        _method(name)
        return
    for names, tell in kinds:
        if name in names:
            tell(name)
            shown = True
    if not shown:
        from optaxaccel.training.run import optimizer

        known = [other for names, _ in kinds for other in names]
        other = optimizer.called_otherwise(name, known)
        hint = f" Did you mean {other!r}?" if other else registry.suggestion(name, known)
        raise ValueError(f"{name!r} is no method, model, data set or task.{hint} optaxaccel list shows all.")


def arguments(make: Callable[..., Any], given: Mapping[str, Any] = {}) -> list[list[str]]:
    """Return name, default and meaning of every argument of a factory.

    Args:
      make: the factory, whose docstring says in "Args:" what they mean.
      given: defaults that go over those of the signature.

    Example:
      >>> def make(learning_rate, *, momentum=0.9):
      ...     '''Make.
      ...
      ...     Args:
      ...       learning_rate: length of a step,
      ...         above 0.
      ...       momentum: what stays.
      ...     '''
      >>> arguments(make)
      [['learning_rate', '(required)', 'length of a step, above 0.'], ['momentum', '0.9', 'what stays.']]
    """
    texts, rows = dict(_texts(inspect.getdoc(make) or "")), []
    for name, parameter in inspect.signature(make).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = given.get(name, parameter.default)
        rows.append([name, "(required)" if default is parameter.empty else _written(default), texts.get(name, "")])
    return rows


def _texts(doc: str) -> Iterator[tuple[str, str]]:
    part = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", doc, re.MULTILINE)
    lines = inspect.cleandoc(part[1]) if part else ""
    for entry in re.split(r"\n(?=\S)", lines):
        names, colon, text = entry.partition(":")
        for name in names.split(",") if colon else ():
            yield name.strip().lstrip("*"), " ".join(plain(text).split())


def _written(default: Any) -> str:
    name = getattr(default, "__name__", None)
    return name if callable(default) and name else repr(default)


def _facts(title: str, facts: Mapping[str, str]) -> None:
    screen = console().width
    say(textwrap.fill(title, screen))
    width = max(map(len, facts), default=0)
    for name, text in facts.items():
        lines = textwrap.wrap(text, max(20, screen - width - 4)) if name != "try" else [text]  # to be copied
        for place, line in enumerate(lines):
            say(f"  {('' if place else name).ljust(width)}  {line}")


def _headline(make: Callable[..., Any]) -> str:
    return plain((inspect.getdoc(make) or "").partition("\n")[0])


def _method(name: str) -> None:
    from optaxaccel import METHODS
    from optaxaccel.training.run import optimizer

    method, card = optimizer.find(name), METHODS.get(name)
    cost = method.cost
    facts = {
        "paper": method.paper,
        "calls a step beyond the gradient": f"losses {cost.values:g}, gradients {cost.grads:g}, Hessian products "
        f"{cost.hvps:g}",
    }
    if card is not None:
        example = ",".join(f"{k}={v}" for k, v in card.example.items())
        facts["in Python"] = f"optaxaccel.{card.make.__name__}"
        facts["copies of the parameters in its state"] = card.copies()
        if card.diagnostics:
            facts["tells while it runs"] = ", ".join(card.diagnostics)
        facts["try"] = f"optaxaccel train --method {name}" + (f" --method-args '{example}'" if example else "")
        facts["page"] = f"docs/methods/{name}.md"
    _facts(f"{name}: {_headline(method.make)}", facts)
    table(f"Arguments of {name}", ["argument", "default", "what it is"], arguments(method.make))


def _whole_loss(name: str) -> None:
    from optaxaccel.solvers.minimize_methods import MINIMIZE_METHODS

    make: Any = MINIMIZE_METHODS[name]
    factory = getattr(make, "func", make)
    facts = {"use": f"optaxaccel.minimize(loss, params, method={name!r})", "page": "docs/minimize.md"}
    _facts(f"{name}: {_headline(factory)}", facts)
    table(
        f"Arguments of {name}", ["argument", "default", "what it is"], arguments(factory, getattr(make, "keywords", {}))
    )


def _model(name: str) -> None:
    from optaxaccel.models import MODELS

    card = MODELS[name]
    facts = {
        "paper": card.paper,
        "designed for": f"{'x'.join(map(str, card.input_shape))} images of {card.classes} classes",
        "parameters": f"{card.parameters:,}",
        "note": card.note,
        "try": f"optaxaccel train --model {name} --data NAME",
        "page": "docs/models.md",
    }
    _facts(f"{name}: a model", facts)
    table(
        f"Overrides of {name}, --model-args", ["argument", "default", "what it is"], _made_by(card.maker, card.defaults)
    )


def _data_set(name: str) -> None:
    from optaxaccel.data import catalogue

    facts = {name: text for name, text in catalogue.info(name).items() if name != "name"}
    _facts(f"{name}: a data set", {**facts, "try": f"optaxaccel train --data {name}", "page": "docs/data.md"})


def _task(name: str) -> None:
    from optaxaccel.tasks import TASKS

    card = TASKS[name]
    facts = {
        "score": card.score,
        "extra": card.needs,
        "try": f"optaxaccel compare --task {name} --methods pal '{card.first_try}'",
        "page": "docs/tasks.md",
    }
    _facts(f"{name}: {card.about}", facts)
    rows = _made_by(card.maker, card.small)
    table(f"Arguments of {name}, --task-args", ["argument", "default", "what it is"], rows)


def _made_by(maker: str, defaults: Mapping[str, Any]) -> list[list[str]]:
    rows = arguments(pkgutil.resolve_name(maker), defaults)
    return [row for row in rows if row[0] not in ("classes", "input_shape")]
