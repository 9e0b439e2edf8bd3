"""Minimise a deterministic loss: the whole loop in one compiled call, or step by step."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import optax

from optaxaccel.methods import SearchStatus, WolfeSearchState
from optaxaccel.methods.box import BoxState, project
from optaxaccel.methods.loss_along_line import loss_with_aux, refuse_integers, value_and_gradient
from optaxaccel.methods.states import line_calls
from optaxaccel.numerics import flat, loops, trees
from optaxaccel.numerics.closures import Reading
from optaxaccel.solvers import batched_loops, keywords, minimize_methods, minimize_refusals
from optaxaccel.solvers.minimize_methods import box_around
from optaxaccel.solvers.minimize_result import MinimizeResult, MinimizeState
from optaxaccel.solvers.underived import without_reverse


class Problem(NamedTuple):
    """What a compiled loop is compiled for."""

    fun: Callable[..., Any]
    tx: optax.GradientTransformationExtraArgs
    has_aux: bool


@keywords.translated(keywords.OF_MINIMIZE)
def minimize(
    fun: Callable[..., Any],
    params: optax.Params,
    *,
    method: str | optax.GradientTransformation = "bfgs",
    has_aux: bool = False,
    tol: jax.typing.ArrayLike = 1e-5,
    max_steps: jax.typing.ArrayLike = 1000,
    callback: Callable[[MinimizeResult], Any] | None = None,
    data: Mapping[str, Any] | None = None,
    bounds: tuple[Any, Any] | None = None,
    state: MinimizeState | None = None,
) -> MinimizeResult:
    r"""Minimise a deterministic loss until its gradient is small.

    Example:
      The minimum of f(x, y) = (x - 1)^2 + 10 (y + 2)^2 is at (1, -2), where it is 0:

      >>> import jax.numpy as jnp, optaxaccel
      >>> result = optaxaccel.minimize(lambda p: (p["x"] - 1) ** 2 + 10 * (p["y"] + 2) ** 2, {"x": 0.0, "y": 0.0})
      >>> {name: round(float(x), 3) for name, x in result.params.items()}
      {'x': 1.0, 'y': -2.0}
      >>> optaxaccel.SearchStatus(int(result.status)).name
      'CONVERGED'

    The whole loop is one compiled `lax.while_loop`; it is compiled once for a function, a method and the shapes of
    `params` and `data`. It can be called inside `jax.jit` and under `jax.vmap`, over starts or over problems.

    .. math:: \text{find } \theta \text{ with } \max_i |\partial_i f(\theta)| \le \mathrm{tol}

    Args:
      fun: the loss, called as `fun(params, **data)`; one real number, the same function at every step. It is compiled
        anew when a global, a variable around it or an attribute that it reads is bound anew; entries of an array, a
        list or a dictionary that change in place are not seen. Pass what changes in `data`.
      params: the start, a tree of floating or complex arrays. Use float64
        (`jax.config.update("jax_enable_x64", True)`) to come closer to a minimum than about 1e-4: in float32 rounding
        hides the decrease, and the status is then `PRECISION_LOSS`.
      method: "bfgs", "ssbfgs", "ssbroyden" (best for physics-informed networks), their variants "ssbfgs_ol",
        "ssbroyden1", "ssbroyden3", or "lbfgs" (beyond 20,000 parameters); or any transformation,
        `method=optaxaccel.lbfgs(memory_size=50)`, `method=optax.adam(1e-3)`.
      has_aux: whether `fun` returns `(loss, aux)`; the result's `aux` is that of the point that is returned.
      tol: largest absolute entry of the gradient at which to stop, >= 0. SciPy's 1e-5; 0 never stops for it.
      max_steps: steps in this call, >= 0.
      callback: called with a `MinimizeResult` after every step, for progress; the loop then runs step by step, and a
        true answer, or StopIteration, stops it. Not inside `jax.jit`.
      data: further arguments of `fun`, by name. Unlike what `fun` closes over, they may change from call to call
        without compiling anew, and `jax.vmap` can map over them.
      bounds: `(lower, upper)`, each a number or a tree like `params`, infinite where there is none; for the methods
        "bfgs" and "lbfgs". The start is moved into the box, and `error` is then that of the projected gradient.
      state: `state` of an earlier result, to go on from there; `params` is then not looked at. The loss is evaluated
        anew there, so that `data` and `fun` may be others.

    Returns:
      A `MinimizeResult`. A trial that is not finite only shortens a step; where the loss is not finite at the start,
      the start is returned with the status `NOT_FINITE`. A method with a search never returns a point that is worse,
      beyond rounding, than one it was at before (`search="hager_zhang"`: than the last one, by more than 1e-6 of the
      loss); others (`optax.sgd`, `optax.adam`) return the last one.

    Raises:
      ValueError: the loss is not one number, the method is unknown, or there are too many parameters for it.
      TypeError: `params` has integer leaves, or a derivative is taken in reverse mode (the error shows how to get it).

    References:
      Nocedal and Wright, "Numerical optimization", 2006, chapters 3, 6 and 7. Names follow `scipy.optimize.minimize`
      and jaxopt where these agree.

    Costs:
      Those of the method; one more evaluation of the loss at the end for `aux`.

    Deviations:
      From SciPy: parameters are trees; `tol` is always that of the gradient; `callback` gets the result so far.
    """
    minimize_refusals.check_order("minimize", fun, params)
    tx = minimize_methods.of_any(method) if bounds is None else minimize_methods.in_box(method)
    if state is not None:
        kept: Any = getattr(state, "value", None)
        minimize_refusals.check_state(state, lambda params: _keeping_as(kept, tx.init(params)))
        params = state.params
        if bounds is not None:
            minimize_refusals.check_box(state, box_around(params, bounds))
    refuse_integers(params)
    minimize_refusals.check_tolerance(tol)
    max_steps = minimize_refusals.whole("max_steps", max_steps, "it is a number of steps")
    minimize_refusals.check_data("minimize", fun, data)
    minimize_refusals.check_functions(callback=callback)
    if callback is not None:
        minimize_refusals.check_untraced(params, data)
    problem, data = Problem(Reading(fun), tx, has_aux), dict(data or {})
    at = state
    if at is None:
        params = jax.tree.map(jnp.asarray, params)
        at = _init(problem, params, data, None if bounds is None else box_around(params, bounds))
    else:
        at = _seen_anew(problem, at, data)
    status, limit, tol = _outset(at, tol, max_steps)
    at = at._replace(status=status)
    if callback is None:
        return _finish(problem, _loop(problem, at, data, tol, limit), data)
    return _step_by_step(problem, at, data, tol, limit, callback)


# --- The loop ---------------------------------------------------------------------------------------------------------


def _loss(problem: Problem, data: Mapping[str, Any]) -> Callable[[optax.Params], tuple[jax.Array, Any]]:
    return loss_with_aux("minimize", problem.fun, data, problem.has_aux)


def _evaluate(problem: Problem, params: optax.Params, data: Mapping[str, Any]) -> tuple[jax.Array, optax.Updates]:
    (value, _), grad = value_and_gradient(_loss(problem, data))(params)
    return value.astype(trees.accumulation_dtype()), grad


def _error(state: MinimizeState) -> jax.Array:
    """Return the largest entry of the gradient, or of what the box leaves of it."""
    grad = state.grad
    if isinstance(state.opt_state, BoxState):
        x, g = flat.flatten(state.params), flat.flatten(grad)
        lower, upper = state.opt_state.lower, state.opt_state.upper
        left = jnp.where(g < 0, jnp.maximum(x - upper, g), jnp.minimum(x - lower, g))  # x - g could round to x
        grad = jnp.where(jnp.isfinite(g), left, g)
    return trees.largest(grad).astype(trees.accumulation_dtype())


def _status(state: MinimizeState, tol: jax.Array, searched: jax.Array) -> jax.Array:
    """Return how a minimisation stands: what the search says, unless the gradient is small or not finite."""
    error = _error(state)
    status = jnp.where(error <= tol, int(SearchStatus.CONVERGED), searched)
    finite = jnp.isfinite(error) & jnp.isfinite(state.value)
    return jnp.where(finite, status, int(SearchStatus.NOT_FINITE)).astype(jnp.int32)


@jax.jit
def _outset(at: MinimizeState, tol: jax.Array, max_steps: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return how the start stands, the step to end at and the tolerance; compiled one by one it takes half a second."""
    most, tol = jnp.iinfo(jnp.int32).max, jnp.asarray(tol, at.value.dtype)
    limit = at.steps + jnp.minimum(jnp.asarray(max_steps, jnp.int32), most - at.steps)
    return _status(at, tol, jnp.zeros((), jnp.int32)), limit, tol


@functools.partial(jax.jit, static_argnums=0)
def _init(problem: Problem, params: optax.Params, data: Mapping[str, Any], box: Any) -> MinimizeState:
    opt_state = problem.tx.init(params)
    if isinstance(opt_state, BoxState):
        opt_state = opt_state._replace(lower=box[0], upper=box[1])
        params = _inside(params, opt_state)
    value, grad = _evaluate(problem, params, data)
    opt_state = _keeping_as(value, opt_state)
    steps, evaluations = jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32)
    return MinimizeState(params, value, grad, opt_state, steps, evaluations, jnp.zeros((), jnp.int32))


@functools.partial(jax.jit, static_argnums=0)
def _seen_anew(problem: Problem, state: MinimizeState, data: Mapping[str, Any]) -> MinimizeState:
    """Return a state with the loss and the gradient as they are now: `fun` and `data` may be others."""
    value, grad = _evaluate(problem, state.params, data)
    grad = trees.cast_like(grad, state.grad)
    return state._replace(value=value, grad=grad, evaluations=state.evaluations + 1)


def _inside(params: optax.Params, opt_state: optax.OptState) -> optax.Params:
    """Return the parameters in the box, if there is one: sums round, and a bound is exact."""
    if not isinstance(opt_state, BoxState):
        return params
    return flat.unflatten(project(flat.flatten(params), opt_state), params)


def _keeping_as(value: jax.Array, opt_state: optax.OptState) -> optax.OptState:
    """Return a new state whose search keeps losses in the dtype of `value`, not in that of the parameters."""

    def kept(node: Any) -> Any:
        return node._replace(value=node.value.astype(value.dtype)) if isinstance(node, WolfeSearchState) else node

    return jax.tree.map(kept, opt_state, is_leaf=lambda node: isinstance(node, WolfeSearchState))


def _search_state(opt_state: optax.OptState) -> WolfeSearchState | None:
    """Return the state of the search, if the method has one."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, WolfeSearchState))
    nodes = [node for node in nodes if isinstance(node, WolfeSearchState)]
    return nodes[0] if len(nodes) == 1 else None


def _advance(problem: Problem, state: MinimizeState, data: Mapping[str, Any], tol: jax.Array) -> MinimizeState:
    """Make one step."""

    def value_fn(params: optax.Params) -> jax.Array:
        return _loss(problem, data)(params)[0]

    updates, opt_state = problem.tx.update(
        state.grad, state.opt_state, state.params, value=state.value, grad=state.grad, value_fn=value_fn
    )
    params = _inside(optax.apply_updates(state.params, updates), opt_state)
    before, after = _search_state(state.opt_state), _search_state(opt_state)
    if after is not None:
        minimize_refusals.check_unmasked(after.grad, state.grad)
    if after is None or before is None:
        value, grad = _evaluate(problem, params, data)
        trials = line_calls(opt_state, state.opt_state) or ()  # those of optax's searches, say
        calls = jnp.asarray(sum(trials, start=jnp.ones((), jnp.int32)), jnp.int32)
        searched = jnp.zeros((), jnp.int32)
    else:
        value, grad = after.value.astype(state.value.dtype), after.grad
        calls, searched = after.evaluations - before.evaluations, after.status
    new = MinimizeState(params, value, grad, opt_state, state.steps + 1, state.evaluations + calls, state.status)
    new = new._replace(status=_status(new, tol, searched))
    # The last good point is kept; not the method's state, whose old matrix would then take another pass and a copy.
    lost = new.status == int(SearchStatus.NOT_FINITE)
    params, value, grad = jax.tree.map(lambda a, b: jnp.where(lost, a, b), state[:3], new[:3])
    return new._replace(params=params, value=value, grad=grad)


@functools.partial(jax.jit, static_argnums=0)
def _loop(problem: Problem, state: MinimizeState, data, tol: jax.Array, limit: jax.Array) -> MinimizeState:
    def unfinished(state: MinimizeState) -> jax.Array:
        return (state.status == int(SearchStatus.RUNNING)) & (state.steps < limit)

    def turn(state: MinimizeState) -> MinimizeState:
        return _advance(problem, state, data, tol)

    def turn_of_batch(state: MinimizeState) -> MinimizeState:
        goes_on = unfinished(state)
        return batched_loops.frozen(goes_on, turn(batched_loops.halted(goes_on, state)), state)

    if batched_loops.has_dense(state.opt_state) and _search_state(state.opt_state) is not None:
        state = loops.while_loop(lambda state: batched_loops.anybody(unfinished(state)), turn_of_batch, state)
    else:
        state = loops.while_loop(unfinished, turn, state)
    return _at_limit(state)


def _at_limit(state: MinimizeState) -> MinimizeState:
    running = state.status == int(SearchStatus.RUNNING)
    return state._replace(status=jnp.where(running, int(SearchStatus.LIMIT), state.status).astype(jnp.int32))


_one_step = jax.jit(_advance, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def _finish(problem: Problem, state: MinimizeState, data: Mapping[str, Any]) -> MinimizeResult:
    state = without_reverse("minimize", state)
    aux = _loss(problem, data)(state.params)[1] if problem.has_aux else None
    counts = state.status, state.steps, state.evaluations
    return MinimizeResult(state.params, state.value, aux, *counts, _error(state), state)


def _step_by_step(problem, state, data, tol, limit, callback: Callable[[MinimizeResult], Any]) -> MinimizeResult:
    while int(state.status) == int(SearchStatus.RUNNING) and int(state.steps) < int(limit):
        state = _one_step(problem, state, data, tol)
        try:
            stop = callback(_finish(problem, state, data))
        except StopIteration:
            stop = True
        if stop and int(state.status) == int(SearchStatus.RUNNING):
            state = state._replace(status=jnp.asarray(int(SearchStatus.STOPPED), jnp.int32))
    return _finish(problem, _at_limit(state), data)
