"""Quasi-Newton steps inside a box: some variables rest on their bounds, the others take a step of BFGS or L-BFGS."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods._limited_memory import apply_pairs
from optaxaccel.methods._quasi_newton import refuse_large
from optaxaccel.methods._quasi_newton_update import quasi_newton_update
from optaxaccel.methods._wolfe_search import SearchStatus, WolfeSearchState, fresh_state
from optaxaccel.methods.loss_along_line import loss_with_aux, refuse_integers, value_and_gradient
from optaxaccel.numerics import flat, loops, trees
from optaxaccel.numerics.line_search.arc import arc
from optaxaccel.numerics.line_search.rule import SearchOutcome, Verdict, search

MEMORY, LARGEST = 10, 20_000
TRIALS = 30  # of a search


class DenseMemory(NamedTuple):
    """The inverse Hessian, shape (n, n)."""

    inverse_hessian: jax.Array


class PairMemory(NamedTuple):
    """The last pairs: how many were stored, and rings of shape (m, n)."""

    pairs: jax.Array
    steps: jax.Array
    changes: jax.Array


class BoxState(NamedTuple):
    """State of `scale_in_box`; vectors hold all parameters.

    Attributes:
      lower: lower bounds, shape (n,).
      upper: upper bounds, shape (n,).
      last_params: the parameters of the last update.
      last_gradient: the gradient there.
      last_free: 1 where a variable was free to move then.
      memory: a `DenseMemory` or a `PairMemory`.
      search: the state of the search.
    """

    lower: jax.Array
    upper: jax.Array
    last_params: jax.Array
    last_gradient: jax.Array
    last_free: jax.Array
    memory: Any
    search: WolfeSearchState


def scale_in_box(*, dense: bool) -> optax.GradientTransformationExtraArgs:
    """Step inside a box, which `init` leaves open; `state._replace(lower=..., upper=...)` closes it.

    Variables at a bound whose gradient points outwards rest (Bertsekas, "Projected Newton methods for optimization
    problems with simple constraints", 1982). The others move along the projection of a quasi-Newton direction, and
    learn from changes of the gradient among themselves alone, so that the matrix becomes that of the free ones. The
    search goes along the projected arc, and along that of the gradient where the direction's has no step to accept.
    """
    method = "bfgs" if dense else "lbfgs"

    def init(params: optax.Params) -> BoxState:
        n, dtype = flat.real_size(params), flat.real_dtype(params)
        refuse_complex(params)
        if dense:
            refuse_large(n, dtype.itemsize, LARGEST)
            memory = DenseMemory(jnp.eye(n, dtype=dtype))
        else:
            memory = PairMemory(jnp.zeros((), jnp.int32), *(jnp.zeros((MEMORY, n), dtype) for _ in range(2)))
        return BoxState(
            lower=jnp.full((n,), -jnp.inf, dtype),
            upper=jnp.full((n,), jnp.inf, dtype),
            last_params=jnp.zeros((n,), dtype),
            last_gradient=jnp.zeros((n,), dtype),
            last_free=jnp.zeros((n,), dtype),
            memory=memory,
            search=fresh_state(params, None),
        )

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del grad
        contract.require_params(method, params)
        refuse_integers(params)
        x = flat.flatten(params)
        g = flat.flatten(updates).astype(x.dtype)  # gradients may be summed in a wider dtype than the state has
        value = jnp.asarray(value, state.search.last_value.dtype)
        free = free_variables(x, g, state.lower, state.upper)
        finite = contract.step_is_finite(g, value)
        memory = _learn(state, x, g, finite)
        direction = -_apply(memory, g * free, free)
        slope = jnp.dot(direction, g)
        steepest = ~(slope < 0) | ~jnp.isfinite(slope)
        loss = loss_with_aux(method, value_fn, extra, False)
        rule = arc(dtype=jax.eval_shape(loss, params)[0].dtype)
        here = value, trees.cast_like(updates, state.search.grad)

        def attempt(carry: _Attempt) -> _Attempt:
            """Search along the direction, or, where that failed or is none, along the gradient."""
            d = jnp.where(carry.steepest, -g * free, direction)
            along = jnp.dot(d, g).astype(value.dtype)
            unsure = carry.steepest | (state.search.count == 0)
            first = jnp.where(unsure, jnp.minimum(1.0, 1.0 / jnp.linalg.norm(d)), 1.0).astype(value.dtype)
            start = here[0], jnp.stack([along, along]), here[1]
            evaluate = _along_arc(loss, params, x, g, d, state)
            outcome = search(rule, evaluate, start, first, max_evaluations=TRIALS, needed=along < 0)
            made = outcome.evaluations + carry.outcome.evaluations
            outcome = outcome._replace(verdict=outcome.verdict.astype(jnp.int32))
            better = (outcome.verdict == int(Verdict.ACCEPTED)) | (outcome.value < carry.outcome.value)
            chosen = optax.tree.where(better, (outcome, d), (carry.outcome, carry.direction))
            return _Attempt(jnp.ones_like(steepest), chosen[0]._replace(evaluations=made), chosen[1], carry.steepest)

        none = SearchOutcome(jnp.zeros_like(value), value, here[1], jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        done = loops.while_loop(
            lambda carry: ~carry.over & (carry.outcome.verdict != int(Verdict.ACCEPTED)),
            attempt,
            _Attempt(steepest, none, direction, jnp.zeros_like(steepest)),
        )
        outcome, direction = done.outcome, done.direction
        if isinstance(memory, PairMemory):  # pairs that lead nowhere are of rounding: begin anew
            memory = memory._replace(pairs=jnp.where(done.over & ~steepest & finite, 0, memory.pairs))
        new = state._replace(
            last_params=x,
            last_gradient=g,
            last_free=free.astype(x.dtype),
            memory=None,  # it learns nothing from what is not finite; a choice would be a pass over its matrix
            search=_search_state(state, outcome, value),
        )
        unchanged = state.search._replace(notfinite_count=state.search.notfinite_count + 1)
        new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state._replace(search=unchanged, memory=None))
        moved = jnp.where(finite, project(x + outcome.step.astype(x.dtype) * direction, state) - x, 0.0)
        return flat.unflatten(jnp.where(outcome.step > 0, moved, 0.0), params), new._replace(memory=memory)

    return optax.GradientTransformationExtraArgs(init, update)


class _Attempt(NamedTuple):
    """Whether the gradient's direction is next, the better search, its direction, whether both were made."""

    steepest: jax.Array
    outcome: SearchOutcome
    direction: jax.Array
    over: jax.Array


def project(x: jax.Array, state: BoxState) -> jax.Array:
    """Return the nearest point of the box."""
    return jnp.clip(x, state.lower, state.upper)


def free_variables(x: jax.Array, g: jax.Array, lower: jax.Array, upper: jax.Array) -> jax.Array:
    """Tell the variables that may move from those that rest on a bound towards which the loss falls."""
    return ~(((x <= lower) & (g > 0)) | ((x >= upper) & (g < 0)))


def refuse_complex(params: optax.Params) -> None:
    """Raise TypeError for complex leaves, which have no order and so no bounds."""
    if any(jnp.issubdtype(trees.leaf_dtype(x), jnp.complexfloating) for x in jax.tree.leaves(params)):
        raise TypeError("bounds: complex parameters have no order. Split them into real and imaginary parts.")


def _learn(state: BoxState, x: jax.Array, g: jax.Array, finite: jax.Array) -> Any:
    moved = (state.last_free > 0) & (state.search.count > 0) & finite
    s, y = (jnp.where(moved, change, 0.0) for change in (x - state.last_params, g - state.last_gradient))
    memory = state.memory
    if isinstance(memory, DenseMemory):
        H, first = memory.inverse_hessian, state.search.count == 1  # without a search for the step, scale the identity
        return DenseMemory(quasi_newton_update(H, s, y, state.last_gradient, 1.0, method="bfgs", first=first))
    learn = jnp.dot(s, y) > 0
    slot = memory.pairs % MEMORY
    steps, changes = (
        ring.at[slot].set(jnp.where(learn, new, ring[slot])) for ring, new in ((memory.steps, s), (memory.changes, y))
    )
    return PairMemory(memory.pairs + learn, steps, changes)


def _apply(memory: Any, g: jax.Array, free: jax.Array) -> jax.Array:
    if isinstance(memory, DenseMemory):
        return jnp.dot(memory.inverse_hessian, g, precision=jax.lax.Precision.HIGHEST) * free
    return apply_pairs(g, memory.steps, memory.changes, memory.pairs, free.astype(g.dtype))


def _along_arc(loss, params, x, g, direction, state: BoxState):
    """Return a function of the step a: f(P(x + a d)), what g promises over a with the slope, the gradient."""
    evaluate_loss = value_and_gradient(loss)

    def evaluate(step: jax.Array):
        ahead = x + step.astype(x.dtype) * direction
        point = project(ahead, state)
        (value, _), gradient = evaluate_loss(flat.unflatten(point, params))
        gained = jnp.dot(g, point - x) / step.astype(x.dtype)
        gradient = trees.cast_like(gradient, state.search.grad)
        moving = (ahead >= state.lower) & (ahead <= state.upper)
        slope = jnp.dot(flat.flatten(gradient), direction * moving)
        slopes = jnp.where(trees.all_finite(gradient), jnp.stack([gained, slope]), jnp.nan)
        return value.astype(step.dtype), slopes.astype(step.dtype), gradient

    return evaluate


def _search_state(state: BoxState, outcome: Any, value: jax.Array) -> WolfeSearchState:
    accepted = outcome.verdict == int(Verdict.ACCEPTED)
    return state.search._replace(
        count=state.search.count + 1,
        evaluations=state.search.evaluations + outcome.evaluations,
        step_size=outcome.step,
        status=jnp.where(accepted, int(SearchStatus.RUNNING), int(SearchStatus.PRECISION_LOSS)).astype(jnp.int32),
        value=outcome.value.astype(state.search.value.dtype),
        grad=outcome.payload,
        last_value=value,
    )
