"""The loop around every method: one evaluation a turn, the best point kept, and why it ended."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.numerics import loops, trees
from optaxaccel.solvers import acx, anderson_steps, plain
from optaxaccel.solvers.batched_loops import anybody, awake
from optaxaccel.solvers.domain import Domain
from optaxaccel.solvers.evaluation import Products, evaluate
from optaxaccel.solvers.outcome import FixedPointStatus

METHODS = ("anderson", "acx", "plain")
PROGRESS = 0.5  # a residual below this part of the last one that was progress is progress
PATIENCE = 100  # maps without progress, at the rounding of the unknowns, after which nothing is to come
ROUNDING = 4.0  # that rounding, in units of eps |F(x)|
STALE = 50  # maps without progress, if they are half of all: then the limit is not what is in the way


class Rule(NamedTuple):
    """What does not change from call to call, and a compiled solver can be found by."""

    method: str = "anderson"
    history: int = 10
    domain: Domain = Domain()
    axis_name: Any = None
    callback: Callable[[Any, Any], Any] | None = None


class Limits(NamedTuple):
    """Numbers that may change without a new compilation."""

    rtol: jax.typing.ArrayLike
    atol: jax.typing.ArrayLike
    max_maps: jax.typing.ArrayLike
    box: Any = None


class Solved(NamedTuple):
    """The point found, and what the search says, as floats: `lax.custom_root` takes no integers."""

    status: jax.Array
    residual: jax.Array
    maps: jax.Array
    rejected: jax.Array
    backward: jax.Array


class SearchEnd(NamedTuple):
    """Where a search ended: the point of least residual, and where it would go on, F(point) if it converged."""

    point: Any
    following: Any
    outcome: Solved


class _Carry(NamedTuple):
    candidate: Any
    state: Any
    best: Any
    least: jax.Array
    mark: jax.Array
    stale: jax.Array
    maps: jax.Array


def search(image: Callable[[Any], Any], x0: trees.Tree, rule: Rule, limits: Limits) -> SearchEnd:
    """Return a fixed point of `image` found from x0, and what the search says.

    Args:
      image: F, from a tree of arrays to one of the same structure, shapes and dtypes.
      x0: where to start.
      rule: the method.
      limits: tolerances and the number of maps.
    """
    products, domain = Products(rule.axis_name), rule.domain._replace(box=limits.box)
    coarse = max((float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(x0)), default=0.0)

    def turn(carry: _Carry) -> _Carry:
        alive = awake(unfinished(carry))
        trial = evaluate(image(carry.candidate), carry.candidate, products, limits.rtol, limits.atol)
        trial = trial._replace(finite=trial.finite & alive, converged=trial.converged & alive)
        candidate, state = _step(rule)(trial, carry.state, domain, products)
        better = trial.finite & ((trial.residual < carry.least) | trial.converged)
        progress = trial.finite & (trial.residual < PROGRESS * carry.mark)
        stale = jnp.where(progress, 0, carry.stale + 1)
        over = trial.finite & (stale >= PATIENCE) & (trial.residual <= ROUNDING * coarse * trial.size)
        over = over & (state.status == FixedPointStatus.RUNNING.value)
        state = state._replace(status=jnp.where(over, FixedPointStatus.STALLED.value, state.status))
        maps = carry.maps + 1
        if rule.callback is not None:
            jax.debug.callback(rule.callback, maps, trial.residual)
        best = optax.tree.where(better, trial.point, carry.best)
        least = jnp.where(better, trial.residual, carry.least)
        mark = jnp.where(progress, trial.residual, carry.mark)
        return _held(alive, _Carry(candidate, state, best, least, mark, stale, maps), carry)

    def unfinished(carry: _Carry) -> jax.Array:
        return (carry.state.status == FixedPointStatus.RUNNING.value) & (carry.maps < limits.max_maps)

    none = jnp.zeros((), jnp.int32)
    state = _start(rule)(x0)
    start = _Carry(trees.fresh_copy(x0), state, trees.fresh_copy(x0), state.residual, state.residual, none, none)
    end = loops.while_loop(lambda carry: anybody(unfinished(carry)), turn, start)
    still = (end.stale >= STALE) & (2 * end.stale >= end.maps)
    ran_out = jnp.where(still, FixedPointStatus.STALLED.value, FixedPointStatus.LIMIT.value)
    status = jnp.where(end.state.status == FixedPointStatus.RUNNING.value, ran_out, end.state.status)
    numbers = (status, end.least, end.maps, end.state.rejected, end.state.backward)
    return SearchEnd(end.best, end.candidate, Solved(*(jnp.asarray(number, end.least.dtype) for number in numbers)))


def _held(alive: jax.Array, new: _Carry, old: _Carry) -> _Carry:
    """Return the new carry, or the old one for a member of a batch that has ended; its rings stood still."""
    rings = [name for name in anderson_steps.RINGS if name in new.state._fields]
    none = dict.fromkeys(rings)
    rest = (carry._replace(state=carry.state._replace(**none)) for carry in (new, old))
    chosen = optax.tree.where(alive, *rest)
    return chosen._replace(state=chosen.state._replace(**{name: getattr(new.state, name) for name in rings}))


def _start(rule: Rule) -> Callable[[Any], Any]:
    if rule.method == "anderson":
        return lambda x0: anderson_steps.start(x0, _useful(rule, x0))
    return acx.start if rule.method == "acx" else plain.start


def _useful(rule: Rule, x0: trees.Tree) -> int:
    """Return how many differences are kept: more than there are unknowns would depend on each other."""
    if rule.axis_name is not None:  # the others lie on other devices
        return rule.history
    return min(rule.history, sum(x.size * (2 if jnp.iscomplexobj(x) else 1) for x in jax.tree.leaves(x0)))


def _step(rule: Rule) -> Callable[..., Any]:
    own = functools.partial(anderson_steps.step, in_loop=True)
    return {"anderson": own, "acx": acx.step, "plain": plain.step}[rule.method]
