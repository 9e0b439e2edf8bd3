"""The contract that every method keeps.

A factory takes hyperparameters and returns an `optax.GradientTransformationExtraArgs` whose update is called

    updates, state = tx.update(grads, state, params, value=loss, grad=grads, value_fn=loss_of_params, **data)

* `value`, `grad` and `value_fn` always have these names; a method uses those it needs and ignores every other
  extra argument, so one training loop serves all methods.
* `value_fn(params, **data)` returns the scalar loss. It is deterministic within a step (same batch, same dropout key,
  same batch statistics) and, on several devices, the mean over all of them. Data reach it by name: every further
  keyword argument of `update` that `value_fn` names is handed on. A closure over the batch needs none.
* A step whose loss is not finite moves nothing and stores nothing but `notfinite_count + 1`. Nor does a gradient that
  is not finite, in methods that look at the loss; others spare themselves the pass, and `optax.apply_if_finite` guards.
* Where `params` is a look-ahead point, `eval_params(opt_state, params)` gives the iterate to evaluate.
* Each method describes itself to tests, documentation, command line and experiments with a `Card`.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import optax

from optaxaccel.numerics import trees

ValueFn = Callable[..., jax.typing.ArrayLike]


class Cost(NamedTuple):
    """Oracle calls of a step beyond the gradient that it is handed, as expected numbers.

    Attributes:
      values: evaluations of the loss.
      grads: gradients of the loss.
      hvps: products of the Hessian of the loss with a vector.
    """

    values: float = 0.0
    grads: float = 0.0
    hvps: float = 0.0


class Card(NamedTuple):
    """What everyone but the method itself knows about a method.

    Attributes:
      name: the key in `METHODS` and on the command line.
      make: factory that takes literals only and returns the transformation.
      paper: the source, as a short citation.
      example: keyword arguments with which `make` works on a well-scaled problem.
      cost: oracle calls of one step beyond the gradient handed in.
      state_copies: buffers as large as the parameters that the state keeps.
      static_args: hyperparameters that set shapes or loops; they are never traced.
      reservations: items of the contract suite that do not apply, each with its reason.
      counts_attempts: whether the state tells how often a finder ran, see `search_attempts`; `cost` is then what is
        spent where every chance is taken.
    """

    name: str
    make: Callable[..., optax.GradientTransformationExtraArgs]
    paper: str
    example: Mapping[str, Any]
    cost: Cost = Cost()
    state_copies: float = 0.0
    static_args: tuple[str, ...] = ()
    reservations: Mapping[str, str] = {}
    counts_attempts: bool = False


# --- Arguments of a factory -------------------------------------------------------------------------------------------


def is_number(value: Any) -> TypeGuard[float]:
    """Tell a Python number, which is checked, from an array, a tracer or a schedule, which are left alone."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_number(
    name: str,
    value: Any,
    why: str,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
) -> None:
    """Raise ValueError unless a Python number lies in the given range; arrays, tracers and schedules pass.

    Args:
      name: the argument's name, as the caller wrote it.
      value: what the caller passed.
      why: what the argument does, so that the error explains the range.
      above: exclusive lower limit.
      at_least: inclusive lower limit.
      below: exclusive upper limit.
      at_most: inclusive upper limit.
    """
    if isinstance(value, (str, bytes, bool)) or value is None:
        raise ValueError(f"{name}={value!r} is not a number: {why}. Pass {name}=<number>.")
    if not is_number(value):
        return
    if above < value < below and at_least <= value <= at_most:
        return
    limits = [f"> {above:g}"] * (above > -math.inf) + [f">= {at_least:g}"] * (at_least > -math.inf)
    limits += [f"< {below:g}"] * (below < math.inf) + [f"<= {at_most:g}"] * (at_most < math.inf)
    wanted = " and ".join(limits) or "finite"
    raise ValueError(f"{name}={value!r} is out of range: {why}. Pass {name} {wanted}.")


def check_count(name: str, value: Any, why: str, *, at_least: int = 1, at_most: int | None = None) -> None:
    """Raise ValueError unless the value is a Python integer in range: it sets a shape or the length of a loop."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and value >= at_least and (at_most is None or value <= at_most):
        return
    limit = f" and <= {at_most}" if at_most is not None else ""
    raise ValueError(
        f"{name}={value!r} is not an integer >= {at_least}{limit}: {why}. It sets shapes or loops, so it cannot be "
        f"traced; with optax.inject_hyperparams name it in static_args=('{name}',)."
    )


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown. Pass one of: {', '.join(map(repr, choices))}.")


def check_learning_rate(learning_rate: optax.ScalarOrSchedule, name: str = "learning_rate") -> None:
    """Raise ValueError unless a rate given as a Python number is finite and not negative."""
    check_number(name, learning_rate, "a negative step climbs the loss", at_least=0.0, below=math.inf)


def at_step(hyperparameter: optax.ScalarOrSchedule, count: jax.typing.ArrayLike) -> Any:
    """Return the hyperparameter at the 0-based step `count`: a schedule is called, anything else is constant."""
    return hyperparameter(count) if callable(hyperparameter) else hyperparameter


# --- Arguments of an update -------------------------------------------------------------------------------------------


def require_params(method: str, params: optax.Params | None) -> None:
    """Raise ValueError when `update` was called without `params`."""
    if params is None:
        raise ValueError(
            f"{method} needs the current params, got params=None: its update depends on where the parameters are. "
            "Call tx.update(grads, state, params, ...)."
        )


def require_extra(method: str, name: str, argument: Any) -> None:
    """Raise ValueError when the extra argument `name` of `update` is missing."""
    if argument is None:
        raise ValueError(
            f"{method} needs {name}, got {name}=None: it looks at the loss itself, not only at the gradient. "
            "Call tx.update(grads, state, params, value=loss, grad=grads, value_fn=loss_of_params), where "
            "loss_of_params(params) returns the scalar loss on the batch of this step. In Flax, "
            "TrainState.apply_gradients does not hand it on: call state.tx.update there."
        )


def bind_value_fn(
    method: str, value_fn: ValueFn | None, extra: Mapping[str, Any]
) -> Callable[[optax.Params], jax.Array]:
    """Return the loss as a function of the parameters alone.

    Args:
      method: the method's name, for errors.
      value_fn: the loss, called as `value_fn(params, **data)`.
      extra: further keyword arguments of `update`; those that `value_fn` names (all of them if it takes `**data`) are
        its data, the others are ignored.

    Returns:
      A function of the parameters that returns the loss as a scalar in float32 or better, not differentiated through.

    Raises:
      ValueError: `value_fn` is missing, or names data that `update` was not given.
      TypeError: `value_fn` is not a function, or the parameters hold masked leaves that it cannot know.
    """
    require_extra(method, "value_fn", value_fn)
    if not callable(value_fn):
        raise TypeError(f"{method}: value_fn={value_fn!r} is not a function. Pass value_fn=lambda params: loss.")
    parameters = list(inspect.signature(value_fn).parameters.values())[1:]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [p.name for p in named if p.default is p.empty and p.name not in extra]
    if missing:
        given = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"{method}: value_fn needs {', '.join(missing)}, which update was not given. Hand the data of this step on "
            f"by name: tx.update(grads, state, params, value=loss, grad=grads, value_fn=value_fn, {given})."
        )
    data = dict(extra) if takes_all else {p.name: extra[p.name] for p in named if p.name in extra}

    def loss(params: optax.Params) -> jax.Array:
        refuse_masked(method, params)
        value = jnp.asarray(value_fn(params, **data))
        if value.shape != ():
            raise ValueError(
                f"{method}: value_fn returned an array of shape {value.shape}, but a loss is one number. "
                "Return the mean over the batch, and auxiliary outputs (batch statistics, logits) not at all."
            )
        return jnp.asarray(value, jnp.promote_types(value.dtype, jnp.float32))

    return loss


def refuse_masked(method: str, params: optax.Params) -> None:
    """Raise TypeError when some leaves are hidden by `optax.masked`, `optax.partition` or `optax.multi_transform`."""
    if any(is_masked(leaf) for leaf in jax.tree.leaves(params, is_leaf=is_masked)):
        raise TypeError(
            f"{method} evaluates the loss, which needs all parameters, but a mask hides some of them from it "
            "(optax.masked, optax.partition or optax.multi_transform). To freeze some, put them into the loss and hand "
            f"{method} the others alone: tx.init(moving), and value_fn=lambda moving: loss(moving, frozen)."
        )


def is_masked(leaf: Any) -> bool:
    """Tell the placeholder that optax puts where a mask hides a leaf."""
    return isinstance(leaf, optax.MaskedNode)


# --- The iterate to evaluate ------------------------------------------------------------------------------------------


def eval_params(opt_state: optax.OptState, params: optax.Params) -> optax.Params:
    r"""Return the parameters to evaluate or to export.

    Accelerated methods take gradients at a look-ahead point; the sequence that converges, and for which rates are
    proved, is another one. Where a state in `opt_state` says so, its iterate replaces `params` leaf by leaf; everywhere
    else `params` is returned as it is. States are found at any depth: in `optax.chain`, `masked`, `partition`
    (`multi_transform`), `MultiSteps`, `inject_hyperparams`, `apply_if_finite` and whatever else is a pytree. Of
    `flax.nnx` pass both arguments through `nnx.as_pure`.

    Args:
      opt_state: the state returned by `tx.init` or `tx.update`.
      params: the parameters that belong to it.

    Returns:
      A tree like `params`.

    Example:
      Gradient descent evaluates where it stands, so this is the identity:

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> params = {"w": jnp.ones(2)}
      >>> optaxaccel.eval_params(optax.sgd(0.1).init(params), params)["w"].tolist()
      [1.0, 1.0]
    """
    for state in jax.tree.leaves(opt_state, is_leaf=_holds_iterate):
        if _holds_iterate(state):
            params = _fill_in(params, _own_iterate(state, params))
    return params


def _holds_iterate(node: Any) -> bool:
    return hasattr(type(node), "_fields") and hasattr(type(node), "eval_params")


def _own_iterate(state: Any, params: optax.Params) -> optax.Params:
    if "eval_params" in type(state)._fields:
        return state.eval_params
    return state.eval_params(as_seen_by(state, params))


def measurement_failed(opt_state: optax.OptState) -> jax.Array:
    """Return whether a loss that a method measured in its last step, beyond the one handed in, was not finite.

    States of methods that measure say so by a property `measurement_failed`; they are found at any depth.
    """
    return jnp.any(jnp.array(_told(opt_state, "measurement_failed"), bool))


def search_attempts(opt_state: optax.OptState) -> jax.Array:
    """Return how often a finder of negative curvature has run, int32; methods that search when they need to tell it.

    Each attempt takes what the finder takes, a gradient and a loss. States of such methods have a property
    `search_attempts`; they are found at any depth.
    """
    return sum(_told(opt_state, "search_attempts"), start=jnp.zeros((), jnp.int32))


def _told(opt_state: optax.OptState, name: str) -> list[jax.Array]:
    """Return what states of methods say by a property of this name."""

    def tells(node: Any) -> bool:
        return hasattr(type(node), "_fields") and hasattr(type(node), name)

    return [getattr(state, name) for state in jax.tree.leaves(opt_state, is_leaf=tells) if tells(state)]


def as_seen_by(state: Any, params: optax.Params) -> optax.Params:
    """Hide what a mask hid when `state` was made, as one of its trees shows: leaves, or whole subtrees."""
    for field in state:
        if any(map(is_masked, jax.tree.leaves(field, is_leaf=is_masked))):
            try:
                return jax.tree.map(lambda seen, p: seen if is_masked(seen) else p, field, params, is_leaf=is_masked)
            except ValueError:  # not a tree like params: the state of another method inside this one
                continue
    return params


def _fill_in(params: optax.Params, iterate: optax.Params) -> optax.Params:
    def fill(new, old):
        if is_masked(new):
            return old
        if jax.tree.structure(old) != jax.tree.structure(new):
            raise ValueError("one array where params has several")
        return new

    try:
        return jax.tree.map(fill, iterate, params, is_leaf=is_masked)
    except ValueError as error:
        raise ValueError(
            f"eval_params: the state holds an iterate of structure {jax.tree.structure(iterate)}, params has structure "
            f"{jax.tree.structure(params)}. Pass the params that the state was made for: "
            "eval_params(opt_state, params)."
        ) from error


def step_is_finite(updates: optax.Updates, value: jax.typing.ArrayLike | None) -> jax.Array:
    """Return whether the gradient and, if it is given, the loss of this step are finite."""
    return trees.all_finite(updates) & loss_is_finite(value)


def loss_is_finite(value: jax.typing.ArrayLike | None) -> jax.Array | bool:
    """Return whether the loss of this step is finite, as far as it is known; this needs no pass over a gradient."""
    # The root ends the loss's last chain of scalars, which XLA would copy into the loop over every leaf.
    return True if value is None else jnp.all(jnp.sqrt(jnp.abs(jnp.asarray(value))) < jnp.inf)
