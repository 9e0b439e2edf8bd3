"""What the state of a method may tell to everyone else, and how it is found.

A state is a NamedTuple of arrays. It tells something by having a member of that name; nothing is registered. States are
found at any depth of a pytree: in `optax.chain`, `masked`, `MultiSteps`, `inject_hyperparams` and so on.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import masks

__all__ = ["diagnostics"]


class HoldsIterate(Protocol):
    """The iterate to evaluate is not the point at which gradients are taken; see `optaxaccel.eval_params`.

    A state that keeps the iterate has it as a field of this name instead of a method.
    """

    def eval_params(self, params: optax.Params) -> optax.Params:
        """Return the iterate to evaluate, a tree like `params`."""
        ...


class HandsOn(Protocol):
    """The method goes around another one and hands on its updates as they are, or restarts it where it does not."""

    @property
    def hands_on(self) -> bool:
        """Whether it does; it is asked for the member alone."""
        ...


class Restarts(Protocol):
    """The state belongs to a sequence of points, which can begin anew somewhere else."""

    def restart(self, params: optax.Params) -> Any:
        """Return the state whose sequence begins at `params`; counts and schedules go on."""
        ...


class Measures(Protocol):
    """The method evaluates the loss beyond what it is handed."""

    @property
    def measurement_failed(self) -> jax.Array:
        """Whether such a loss was not finite in the last step."""
        ...


class Searches(Protocol):
    """The method searches a direction of negative curvature when it needs to."""

    @property
    def search_attempts(self) -> jax.Array:
        """How often it has, int32; each attempt takes what the finder takes, a gradient and a loss."""
        ...


class SearchesLine(Protocol):
    """The method searches along a line, with as many trials as it takes."""

    @property
    def evaluations(self) -> jax.Array:
        """How many losses with their gradients the searches took so far, int32."""
        ...


class TriesLosses(Protocol):
    """The method searches along a line by losses alone, with as many trials as it takes."""

    @property
    def trial_losses(self) -> jax.Array:
        """How many losses the searches took so far, int32."""
        ...


class Diagnoses(Protocol):
    """The method tells what it did: how long a step was, which of its cases applied, how often it jumped."""

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """Return scalars or vectors by name; the card says what they mean.

        Integers count from the start. Other numbers describe the last step, booleans whether it was of some kind: a
        record holds their means, which are shares.
        """
        ...


Kind = TypeVar("Kind")


def find(opt_state: optax.OptState, kind: type[Kind]) -> list[Kind]:
    """Return the states in `opt_state` that tell what a protocol of this module asks for, outermost only."""
    return [state for state in jax.tree.leaves(opt_state, is_leaf=_telling(kind)) if _telling(kind)(state)]


def _telling(kind: type) -> Any:
    names = [name for name in vars(kind) if not name.startswith("_")]
    return lambda node: hasattr(type(node), "_fields") and all(hasattr(type(node), name) for name in names)


def tells(node: Any, kind: type) -> bool:
    """Tell whether a node is a state that tells what a protocol of this module asks for."""
    return _telling(kind)(node)


def restart(opt_state: optax.OptState, params: optax.Params) -> optax.OptState:
    """Return the state with its sequences begun anew at `params`, where a state in it knows how (`Restarts`)."""
    knows_how = _telling(Restarts)
    return jax.tree.map(
        lambda node: node.restart(masks.as_seen_by(node, params)) if knows_how(node) else node,
        opt_state,
        is_leaf=knows_how,
    )


def measurement_failed(opt_state: optax.OptState) -> jax.Array:
    """Return whether a loss that a method measured in its last step, beyond the one handed in, was not finite."""
    return jnp.any(jnp.array([state.measurement_failed for state in find(opt_state, Measures)], bool))


def search_attempts(opt_state: optax.OptState) -> jax.Array:
    """Return how often a finder of negative curvature has run, int32; methods that search when they need to tell it."""
    return sum([state.search_attempts for state in find(opt_state, Searches)], start=jnp.zeros((), jnp.int32))


def line_calls(opt_state: optax.OptState, before: optax.OptState) -> tuple[jax.Array, jax.Array] | None:
    """Return the losses, and the gradients with them, that line searches took in the last step; None without any.

    Beside our own searches those of optax (0.2.8) are known, by the information that they leave in their states: a
    trial of `scale_by_zoom_linesearch` is a gradient (with its loss), one of `scale_by_backtracking_linesearch` a loss.

    Args:
      opt_state: the state after the step.
      before: the state before it.
    """
    none = jnp.zeros((), jnp.int32)
    counts = [
        (none, after.evaluations - start.evaluations)
        for after, start in zip(find(opt_state, SearchesLine), find(before, SearchesLine), strict=True)
    ]
    counts += [
        (after.trial_losses - start.trial_losses, none)
        for after, start in zip(find(opt_state, TriesLosses), find(before, TriesLosses), strict=True)
    ]
    for node in jax.tree.leaves(opt_state, is_leaf=_optax_search):
        if _optax_search(node):
            trials = jnp.asarray(node.info.num_linesearch_steps)
            counts.append((none, trials) if hasattr(node.info, "curvature_error") else (trials, none))
    if not counts:
        return None
    values, grads = (sum(each, start=none) for each in zip(*counts, strict=True))
    return values, grads


def diagnostics(opt_state: optax.OptState) -> dict[str, jax.Array]:
    """Return what the methods in a state tell of themselves, such as step sizes; {} where there is nothing to tell.

    Example:
      From w = 3 on `f(w) = w^2` the minimum of the parabola is 3 away, and the slope along the way is -6:

      >>> import optaxaccel
      >>> tx = optaxaccel.pal(loose_approximation=1.0, measuring_step_size=1.0, max_step_size=10.0)
      >>> loss = lambda w: w**2
      >>> w = jnp.array(3.0)
      >>> _, state = tx.update(2 * w, tx.init(w), w, value=loss(w), value_fn=loss)
      >>> readings = optaxaccel.diagnostics(state)
      >>> float(readings["step_size"]), float(readings["slope"]), bool(readings["share_minimum"])
      (3.0, -6.0, True)

    Integers count from the start; other numbers describe the last step, booleans whether it was of some kind. A method
    says in its card, `METHODS[name].diagnostics`, what it tells and what that means. States within states are asked,
    too. Call it inside the compiled step and return what is wanted with the loss.

    Args:
      opt_state: a method's state, alone or in `optax.chain`, `masked`, `MultiSteps` and so on. Of optax's line searches
        the step size and the trials are known.

    Returns:
      Scalars by name. Entries of a vector are NAME_0, NAME_1 and so on; where two states tell the same name, that of
      the outer or earlier one has it, and the other is NAME.2.

    Raises:
      ValueError: something told has more than one axis; it is raised when the step is traced.
    """
    readings: dict[str, jax.Array] = {}
    for tells_of in _diagnoses(opt_state):
        for name, value in tells_of.items():
            if jnp.ndim(value) > 1:
                raise ValueError(f"diagnostics[{name!r}] has shape {jnp.shape(value)}. Tell scalars or vectors.")
            entries = {name: value} if jnp.ndim(value) == 0 else {f"{name}_{k}": v for k, v in enumerate(value)}
            for entry, scalar in entries.items():
                again = 1 + sum(known.split(".")[0] == entry for known in readings)
                readings[entry if again == 1 else f"{entry}.{again}"] = jnp.asarray(scalar)
    return readings


def _diagnoses(tree: Any) -> Iterator[Mapping[str, jax.Array]]:
    def tells_something(node: Any) -> bool:
        return tells(node, Diagnoses) or _optax_search(node)

    for node in jax.tree.leaves(tree, is_leaf=tells_something):
        if tells(node, Diagnoses):
            yield node.diagnostics
            yield from _diagnoses(tuple(node))
        elif _optax_search(node):
            trials = node.info.num_linesearch_steps
            yield {"step_size": node.learning_rate, "trials": jnp.asarray(trials, jnp.float32)}  # of one step: no count


def _optax_search(node: Any) -> bool:
    return hasattr(type(node), "_fields") and hasattr(getattr(node, "info", None), "num_linesearch_steps")
