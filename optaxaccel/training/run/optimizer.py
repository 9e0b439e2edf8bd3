"""From a run's names and literals to an optax transformation whose numbers are traced.

Every float hyperparameter becomes an array: a scalar, or, where the run schedules it, the table of its values at all
steps. The compiled step takes them as an argument, so that a grid over numbers and schedules compiles once.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel import methods, registry
from optaxaccel.methods import contract
from optaxaccel.methods._negative_curvature_descent import attempt_cost
from optaxaccel.solvers.minimize_methods import MINIMIZE_METHODS
from optaxaccel.training.run.argument_text import steps_from
from optaxaccel.training.run.baselines import BASELINES
from optaxaccel.training.run.spec import Run

_LARGEST = 100_000  # of an argument that sets how many trees are kept, or the length of a loop
_LONGEST_TABLE = 10**8  # steps of a schedule, whose values are kept as a table
_BASELINE_COSTS = {  # calls of a step beyond the gradient handed in; of optax's searches their states tell the number
    "optax.contrib.momo": methods.Cost(),
    "baseline.parabola_adam": methods.Cost(values=1.0),
    "baseline.parabola_indian": methods.Cost(values=1.0),
}


class Method(NamedTuple):
    """A method as the training loop sees it: a factory with its signature and its cost."""

    name: str
    make: Callable[..., optax.GradientTransformation]
    cost: methods.Cost
    static_args: tuple[str, ...]
    paper: str
    counts_attempts: bool = False

    def arguments(self) -> Mapping[str, inspect.Parameter]:
        """Return the factory's parameters by name."""
        return inspect.signature(self.make).parameters


def find(name: str) -> Method:
    """Return the method of METHODS, optax's for "optax.<name>", or one of BASELINES for "baseline.<name>".

    Raises:
      ValueError: the name is not known; the message suggests the nearest.
    """
    if name.startswith("baseline."):
        make = registry.lookup("baseline", name.removeprefix("baseline."), BASELINES)
        return Method(name, make, _BASELINE_COSTS.get(name, methods.Cost()), ("max_steps",), "optax")
    if not name.startswith("optax."):
        if name in MINIMIZE_METHODS:
            raise ValueError(
                f"method={name!r} needs a loss that is the same function at every step; minibatches change it. Call "
                f"optaxaccel.minimize(loss, params, method={name!r}) on the whole data, or train with one of "
                f"{', '.join(methods.METHODS)}."
            )
        if name not in methods.METHODS and (other := called_otherwise(name, [*methods.METHODS, *MINIMIZE_METHODS])):
            raise ValueError(f"Unknown method {name!r}. Did you mean {other!r}? optaxaccel list shows all.")
        card = registry.lookup("method", name, methods.METHODS)
        return Method(card.name, card.make, card.cost, card.static_args, card.paper, card.counts_attempts)
    make: Any = optax
    for part in name.split(".")[1:]:
        known = [n for n in dir(make) if not n.startswith("_")]
        if part not in known:
            raise registry.unknown(f"method of {make.__name__}", part, known)
        make = getattr(make, part)
    if not callable(make) or "Gradient" not in str(inspect.signature(make).return_annotation):
        raise ValueError(
            f"method={name!r} is no optimiser of optax. Baselines are written like optax.sgd or optax.adam."
        )
    if not any("learning_rate" in argument for argument in inspect.signature(make).parameters):
        raise ValueError(
            f"method={name!r} is a part of an optimiser and has no learning rate: alone it would climb the loss, or "
            "not move. Pass an optimiser of optax, like optax.adam or optax.sgd."
        )
    factory: Any = make
    return Method(name, factory, _BASELINE_COSTS.get(name, methods.Cost()), (), "optax")


def called_otherwise(name: str, known: Collection[str]) -> str:
    """Return what to write for a method of optax, a baseline, or the function of a method.

    Args:
      name: what somebody wrote, as "adam"; it may be misspelt.
      known: the names that would have been right; "" is returned where one of them is at least as near.
    """
    others = {card.make.__name__: card.name for card in methods.METHODS.values()}
    others |= {baseline: f"baseline.{baseline}" for baseline in BASELINES}
    for place, library in (("optax.contrib", optax.contrib), ("optax", optax)):
        for other in dir(library):
            if "learning_rate" in getattr(inspect.unwrap(getattr(library, other)), "__annotations__", {}):
                others[other] = f"{place}.{other}"
    if name in others:
        return others[name]
    near = registry.nearest(name, [*others, *known])
    return "" if near in known else others.get(near, "")


@functools.lru_cache(maxsize=64)  # asked for every row of a record, and a signature takes as long as the row
def _usual_finder(make: Callable[..., Any]) -> Any:
    argument = inspect.signature(make).parameters.get("finder")  # a transformation that was handed in hides it
    return "lanczos" if argument is None else argument.default


class Recipe(NamedTuple):
    """A transformation, split into what shapes the program and what it takes as numbers."""

    method: Method
    static: dict[str, Any]
    numbers: dict[str, np.ndarray]

    def build(self, numbers: Mapping[str, jax.typing.ArrayLike]) -> optax.GradientTransformationExtraArgs:
        """Return the transformation with these numbers; tables become schedules."""
        values = {name: _schedule(value) if jnp.ndim(value) else value for name, value in numbers.items()}
        return optax.with_extra_args_support(self.method.make(**self.static, **values))

    def calls(self, steps: int, attempts: int, line: tuple[int, int] | None = None) -> methods.Cost:
        """Return the oracle calls beyond the gradients handed in: what was really made where that is counted.

        Args:
          steps: the number of updates.
          attempts: how often a finder of negative curvature ran.
          line: losses and gradients that searches along lines took, where the method's state tells them.
        """
        if line is not None:
            return methods.Cost(*map(float, line))
        each, count = self.method.cost, steps
        if self.method.counts_attempts:
            finder = self.static["finder"] if "finder" in self.static else _usual_finder(self.method.make)
            each, count = attempt_cost(finder), attempts
        return methods.Cost(count * each.values, count * each.grads, count * each.hvps)


def recipe(run: Run, *, total_steps: int, steps_per_epoch: int) -> Recipe:
    """Check a run's method, hyperparameters and schedules, and split them into static parts and numbers.

    Raises:
      ValueError: a method, hyperparameter or schedule is unknown, or a value is out of its range.
    """
    method = find(run.method)
    arguments = method.arguments()
    arguments_of_run = {name: _tupled(steps_from(value, steps_per_epoch)) for name, value in run.method_args.items()}
    for name in [*arguments_of_run, *run.schedule]:
        if name not in arguments:
            raise registry.unknown(f"argument of {method.name}", name, arguments)
    for name, value in arguments_of_run.items():
        default = arguments[name].default
        wants = default is inspect.Parameter.empty or type(default) in (int, float)
        if wants and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ValueError(f"{name}={value!r} of {method.name} is not a number. Pass --method-args {name}=0.1, say.")
        if name in method.static_args and isinstance(value, int) and value > _LARGEST:
            raise ValueError(
                f"{name}={value:,} of {method.name} is beyond {_LARGEST:,}, so many trees or steps it sets."
            )
        endless = name.startswith("max_") and value == float("inf")  # a limit that is none
        if "." in method.name and "learning_rate" in name and isinstance(value, (int, float)) and not endless:
            contract.check_learning_rate(value, name)  # optax lets whatever be infinite diverge
    missing = [
        n for n, a in arguments.items() if a.default is a.empty and n not in {**arguments_of_run, **run.schedule}
    ]
    if missing:
        example = ",".join(f"{name}=0.1" for name in missing)
        way = f"Pass --method-args {example}, or to compare {method.name}({example})."
        raise ValueError(f"{method.name} needs {', '.join(missing)}. {way}")
    scheduled = dict.fromkeys(run.schedule, lambda count: 0.0 * count)
    with _refusing(f"{method.name} cannot be made with {_shown(arguments_of_run)}"):
        method.make(**{**arguments_of_run, **scheduled})  # the factory checks Python numbers; tracers, later, it cannot
        numbers: dict[str, Any] = {
            name: np.float32(value)
            for name, value in arguments_of_run.items()
            if _is_number(method, arguments[name], value)
        }
    static = {name: value for name, value in arguments_of_run.items() if name not in numbers}
    if method.name.startswith("optax.") and any(not isinstance(value, (bool, int)) for value in static.values()):
        with _refusing(f"{method.name} cannot be used with {_shown(arguments_of_run)}"):
            _try(method, {**arguments_of_run, **scheduled})
    for name, schedule in run.schedule.items():
        start = arguments_of_run.get(name, arguments[name].default)
        numbers[name] = _table(name, schedule, start, total_steps, steps_per_epoch)
        static.pop(name, None)
    return Recipe(method, static, numbers)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn whatever a function of others raises for a value of the wrong kind into a ValueError that says for which."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{what}: {' '.join(str(error).split())[:200]} ({type(error).__name__}).") from error


def _shown(arguments: Mapping[str, Any]) -> str:
    text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return text if len(text) <= 200 else f"{text[:200]}..."


def _try(method: Method, arguments: Mapping[str, Any]) -> None:
    """Trace one update: optax looks at most of its arguments then only."""

    def loss(params):
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(params))

    def update(params):
        tx = optax.with_extra_args_support(method.make(**arguments))
        value, grad = jax.value_and_grad(loss)(params)
        return tx.update(grad, tx.init(params), params, value=value, grad=grad, value_fn=loss)

    jax.eval_shape(update, {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)})


def _is_number(method: Method, argument: inspect.Parameter, value: Any) -> bool:
    if isinstance(value, bool) or argument.name in method.static_args:
        return False
    if method.name.startswith("optax."):  # optax does not say which of its integers set shapes
        return isinstance(value, float)
    return isinstance(value, (int, float))


def _tupled(value: Any) -> Any:
    return tuple(_tupled(v) for v in value) if isinstance(value, (list, tuple)) else value


def _schedule(table: jax.typing.ArrayLike) -> optax.Schedule:
    return lambda count: jnp.asarray(table)[jnp.minimum(count, jnp.size(table) - 1)]


def _table(name: str, schedule: Any, start: Any, total_steps: int, steps_per_epoch: int) -> np.ndarray:
    if isinstance(schedule, str):
        schedule = {"name": schedule}
    if not isinstance(schedule, Mapping):
        raise ValueError(
            f"The schedule of {name} is {schedule!r}, which names none. Pass --schedule "
            f"\"{name}=cosine_decay_schedule(decay_steps='20epochs')\", say."
        )
    if total_steps > _LONGEST_TABLE:
        raise ValueError(
            f"A schedule over {total_steps:,} steps would be a table of as many numbers. Pass at most "
            f"{_LONGEST_TABLE:,} steps with a schedule."
        )
    arguments = dict(schedule)
    make = _find_schedule(arguments.pop("name", ""))
    parameters = inspect.signature(make).parameters
    if "init_value" in parameters and "init_value" not in arguments:
        if not isinstance(start, (int, float)):
            raise ValueError(f"The schedule of {name} has no start. Give {name} in method_args.")
        arguments["init_value"] = start
    for argument in arguments:
        if argument not in parameters:
            raise registry.unknown(f"argument of the schedule {make.__name__}", argument, parameters)
    with _refusing(f"The schedule {make.__name__} of {name} cannot be made with {_shown(arguments)}"):
        function = make(**steps_from(arguments, steps_per_epoch))
        table = np.asarray(jax.vmap(function)(jnp.arange(total_steps + 1)), np.float32)
    if not np.isfinite(table).all() or (table < 0).any():
        raise ValueError(
            f"The schedule of {name} runs from {table.min():g} to {table.max():g} within {total_steps} steps, but it "
            "has to be finite and not negative. Change the schedule's arguments."
        )
    return table


def _find_schedule(name: str) -> Callable[..., optax.Schedule]:
    ours = {n: getattr(methods, n) for n in methods.__all__ if n.endswith("schedule")}
    theirs = {n: getattr(optax, n) for n in dir(optax) if n.endswith(("schedule", "_decay")) and n[0] != "_"}
    return registry.lookup("schedule", name, {**theirs, **ours})
