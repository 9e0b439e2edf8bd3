"""Tasks: any problem as data and two functions, those that ship, and your own.

    task      what a task is, `Task`, and `from_loss` for a plain loss
    batches   the batch of a step, and the measurement of a data set
    refusals  of bad tasks, before any work; data_refusals of bad data, metric_refusals of bad names
    cards     the tasks that ship, one line each; their makers are one file a family
    table_files  .csv and .parquet files as numbers, for the family of tables

Importing this package loads no JAX; `make` imports the family that it is asked for.
"""

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from optaxaccel.neighbours import neighbours
from optaxaccel.registry import lookup, unknown
from optaxaccel.tasks.cards import CARDS, TaskCard
from optaxaccel.tasks.task import Task, from_loss

__all__ = ["TASKS", "Task", "TaskCard", "check", "from_loss", "make", "register"]

Size = Literal["smoke", "small"]
TASKS: dict[str, TaskCard] = {card.name: card for card in CARDS}
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_OWN: dict[str, Callable[..., Task]] = {}


def make(name: str, *, size: Size = "small", **arguments: Any) -> Task:
    """Return a task by name: one that ships, one that was registered, or your own from a file or a module.

    Args:
      name: a key of TASKS; or "my_file.py:make_task", or "my_package.my_module:make_task": a function of keyword
        arguments that returns a `Task`. A file finds the modules beside it.
      size: "smoke" for tests, "small" for two cores; of your own tasks it is handed on if they take it.
      **arguments: of the task's maker; they go over those of the size.

    Raises:
      ValueError: the name or an argument is unknown, or what was found makes no task; FileNotFoundError: no such file.

    Example:
      >>> task = make("rosenbrock", size="smoke")
      >>> params, net_state = task.init(None)
      >>> params.shape
      (2,)
    """
    maker, defaults = _maker(name, size)
    parameters = inspect.signature(maker).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for argument in arguments:
            if argument not in parameters:
                raise unknown(f"argument of task {name!r}:", argument, parameters)
    if name not in TASKS and "size" in parameters:
        defaults = {"size": size}
    given = {**defaults, **arguments}
    required = [p.name for p in parameters.values() if p.default is p.empty and p.kind not in _VARIADIC]
    if missing := [parameter for parameter in required if parameter not in given]:
        words = ",".join(f"{parameter}=..." for parameter in missing)
        raise ValueError(f"task {name} needs {' and '.join(missing)}. Pass --task-args {words}, or a default value.")
    task = maker(**given)
    if not isinstance(task, Task):
        raise ValueError(
            f"task {name}: {getattr(maker, '__name__', 'it')} returned a {type(task).__name__}. Return "
            "optaxaccel.tasks.Task(init, loss, train=data), or optaxaccel.tasks.from_loss(loss, params)."
        )
    return task if task.name != "task" else task.replace(name=_short(name))


def register(name: str, maker: Callable[..., Task], *, about: str = "", score: str = "loss", **sizes: Any) -> None:
    """Make a task known by name, in this process.

    Args:
      name: the new key of TASKS.
      maker: a function of keyword arguments that returns a `Task`.
      about: one line for `optaxaccel list tasks`.
      score: its metric that counts, likewise.
      **sizes: `smoke={...}` and `small={...}`, arguments of the two sizes.

    Raises:
      ValueError: the name is taken by another task.
    """
    if name in TASKS and _OWN.get(name) is not maker:
        raise ValueError(f"a task {name!r} is there already. Choose another name: tasks.register('my_{name}', ...).")
    _OWN[name] = maker
    TASKS[name] = TaskCard(name, "", about, score, **sizes)


def check(task: Task) -> None:
    """Raise ValueError, with the remedy, unless a task can be trained; see `optaxaccel.tasks.refusals`."""
    importlib.import_module("optaxaccel.tasks.refusals").check(task)


def _maker(name: str, size: str) -> tuple[Callable[..., Task], Mapping[str, Any]]:
    if name in TASKS:
        card = TASKS[name]
        defaults = lookup("size", size, {"smoke": card.smoke, "small": card.small})
        if name in _OWN:
            return _OWN[name], defaults
        module, function = card.maker.split(":")
        return getattr(importlib.import_module(module), function), defaults
    place, colon, function = str(name).rpartition(":")
    if not colon:
        if str(name).endswith(".py"):
            raise ValueError(f"--task {name} names no function. Pass {name}:make_task, a function that returns a Task.")
        raise unknown("task", name, TASKS)
    module = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    named: Any = getattr(module, function, None)
    if not callable(named):
        raise ValueError(
            f"{place} has no function {function!r}. Three lines would do: from optaxaccel.tasks import from_loss; "
            f"def {function}(): return from_loss(loss, params)."
        )
    maker: Any = named
    return (_among_neighbours(maker, Path(place)) if place.endswith(".py") else maker), {}


def _among_neighbours(maker: Callable[..., Task], path: Path) -> Callable[..., Task]:
    """Return a function of a file that finds the modules beside it also when it is called."""

    @functools.wraps(maker)
    def make_there(**arguments: Any) -> Task:
        with neighbours(path):
            return maker(**arguments)

    return make_there


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"No file {path} in {Path.cwd()}, of which a task was asked.")
    spec = importlib.util.spec_from_file_location(f"task_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file. Pass FILE.py:make_task.")
    module = importlib.util.module_from_spec(spec)
    try:
        with neighbours(path):
            spec.loader.exec_module(module)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} could not be run ({type(error).__name__}: {error}).") from error
    return module


def _from_module(place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ImportError as error:
        raise ValueError(
            f"The module {place!r} could not be imported ({error}). Pass MODULE:FUNCTION of one that Python finds, or "
            "FILE.py:FUNCTION."
        ) from error


def _short(name: str) -> str:
    place, _, function = str(name).rpartition(":")
    return f"{Path(place).stem}:{function}" if place else function
