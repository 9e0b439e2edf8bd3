"""What primal averaging, schedule-free learning and running means share: one average beside the sequence of a base.

The base moves z, the average x follows it, and gradients are taken at y between the two, which is what the parameters
hold. Of the three the state keeps one; the parameters are the second and the third follows from them.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import compiler, trees

__all__ = ["AverageState", "PrimalState"]

BASE_AT = ("z", "y")
_CLOSE = 0.98  # of y to x: beyond it z, which is y + mu/(1 - mu) (y - x), would be left to its rounding


class AverageState(NamedTuple):
    """State of an average that is kept itself.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      eval_params: the average x, a tree like the parameters, in float32 at least; see `optaxaccel.eval_params`.
      weights: what the rule of the weights remembers.
      base_state: the base's.
    """

    count: jax.Array
    notfinite_count: jax.Array
    eval_params: optax.Params
    weights: Any
    base_state: optax.OptState

    def restart(self, params: optax.Params) -> "AverageState":
        """Return the state whose average begins at `params`."""
        average = jax.tree.map(lambda x, p: p.astype(x.dtype), self.eval_params, params)
        return self._replace(eval_params=average, base_state=contract.restart(self.base_state, params))


class PrimalState(NamedTuple):
    """State of an average so close to the parameters that the base's sequence is kept instead.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      primal: the base's sequence z, a tree like the parameters, in float32 at least.
      mu_y: the share of x in y.
      weights: what the rule of the weights remembers.
      base_state: the base's.
    """

    count: jax.Array
    notfinite_count: jax.Array
    primal: optax.Params
    mu_y: jax.Array
    weights: Any
    base_state: optax.OptState

    def eval_params(self, params: optax.Params) -> optax.Params:
        """Return the average x that belongs to the parameters y."""
        return jax.tree.map(lambda y, z: (z + trees.difference(y, z) / self.mu_y).astype(y.dtype), params, self.primal)

    def restart(self, params: optax.Params) -> "PrimalState":
        """Return the state whose average begins at `params`."""
        primal = jax.tree.map(lambda z, p: p.astype(z.dtype), self.primal, params)
        return self._replace(primal=primal, base_state=contract.restart(self.base_state, params))


class Rule(NamedTuple):
    """The weight of the newest z in the average.

    Attributes:
      start: `start()` returns what the rule remembers, arrays.
      step: `step(count, memory)` returns the weight c of the newest z, and what it remembers then.
    """

    start: Callable[[], Any]
    step: Callable[[jax.Array, Any], tuple[Any, Any]]


def averaged(
    name: str, base: optax.GradientTransformation, mu_y: float, rule: Rule, base_at: str
) -> optax.GradientTransformationExtraArgs:
    """Return the transformation that moves z by the base and y = mu_y x + (1 - mu_y) z along with it."""
    inner = contract.base_of(name, base)
    keeps_primal = mu_y > _CLOSE
    ahead = mu_y / (1.0 - mu_y) if not keeps_primal else 0.0

    def init(params: optax.Params) -> Any:
        contract.check_params(name, params)
        kept = jax.tree.map(lambda x: x.astype(_wide(x)), trees.fresh_copy(params))
        count, notfinite = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        if not keeps_primal:
            return AverageState(count, notfinite, kept, rule.start(), inner.init(params))
        share = jnp.asarray(mu_y, trees.accumulation_dtype())
        return PrimalState(count, notfinite, kept, share, rule.start(), inner.init(params))

    def update(updates, state, params: Any = None, *, value=None, grad=None, value_fn=None, **extra):
        contract.require_params(name, params)
        finite = contract.loss_is_finite(value)
        share, weights = rule.step(state.count, state.weights)
        if keeps_primal:
            primal = state.primal
        else:
            primal = jax.tree.map(lambda y, x: y + ahead * trees.difference(y, x), params, state.eval_params)
        seen = trees.cast_like(primal, params) if base_at == "z" and mu_y > 0 else params
        if seen is not params:
            value_fn = _seen_from(value_fn, seen, params)
            if "curvature_value_fn" in extra:
                extra["curvature_value_fn"] = _seen_from(extra["curvature_value_fn"], seen, params)
        extras = contract.handed_on(extra, value=value, grad=grad, value_fn=value_fn)
        moves, base_state = inner.update(updates, state.base_state, seen, **extras)
        if keeps_primal:
            updates, moved, kept = _by_primal(moves, primal, params, share, mu_y, finite)
            state = state._replace(primal=kept)
        else:
            updates, moved, kept = _by_average(moves, state.eval_params, params, share, mu_y, finite)
            state = state._replace(eval_params=kept)
        return updates, state._replace(
            count=jnp.where(finite, optax.safe_increment(state.count), state.count),
            notfinite_count=jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count)),
            weights=weights if finite is True else optax.tree.where(finite, weights, state.weights),
            base_state=only_if_finite(finite, base_state, state.base_state, moved),
        )

    return contract.transformation(name, PrimalState if keeps_primal else AverageState, init, update)


def _by_average(moves, average, params, share, mu_y: float, finite):
    """Return the updates of y, the y that has moved, and x, computed from that: so each buffer has one reader."""
    whole = 1.0 - mu_y + mu_y * share
    ahead = mu_y / (1.0 - mu_y)

    def step(d, y, x):
        move = whole * d + ahead * share * trees.difference(y, x) if mu_y > 0 else d
        return jnp.where(finite, move, 0.0).astype(y.dtype)

    updates = jax.tree.map(step, moves, params, average)
    moved = after_updates(params, updates)

    def follow(x, y):
        return compiler.after(
            jnp.where(finite, x + share / whole * trees.difference(y, x), x).astype(x.dtype), jnp.real(y)
        )

    return updates, moved, jax.tree.map(follow, average, moved)


def _by_primal(moves, primal, params, share, mu_y: float, finite):
    """Return the updates of y, the y that has moved, and z."""
    kept = jax.tree.map(lambda z, d: jnp.where(finite, z + d, z).astype(z.dtype), primal, moves)

    def step(d, y, z):
        move = share * trees.difference(z, y) + (1.0 - share) * (1.0 - mu_y) * d
        return jnp.where(finite, move, 0.0).astype(y.dtype)

    updates = jax.tree.map(step, moves, params, kept)
    return updates, after_updates(params, updates), kept


def after_updates(params: optax.Params, updates: optax.Updates) -> optax.Params:
    """Return the sum that optax.apply_updates computes too."""
    return jax.tree.map(lambda p, u: p + u, params, updates)


def _seen_from(value_fn: Any, seen: optax.Params, params: optax.Params) -> Any:
    """Return the loss moved along with the parameters: at `seen` it is what it is at `params`."""
    if not callable(value_fn):
        return value_fn

    @functools.wraps(value_fn)  # shows the same names of data
    def moved(point, *args, **data):
        return value_fn(
            jax.tree.map(lambda p, y, z: (p + trees.difference(y, z)).astype(p.dtype), point, params, seen),
            *args,
            **data,
        )

    return moved


def only_if_finite(finite: Any, new: Any, old: Any, moved: Any) -> Any:
    """Return the new state in the types of the old one, or the old one where the loss was not finite.

    The choice makes XLA compute moments twice, for the updates and to be stored. The first reads the old ones, so these
    may be overwritten only when the parameters have `moved`; otherwise they are copied.
    """
    new = trees.cast_like(new, old)
    if finite is True:
        return new
    structure, shapes = jax.tree.structure(moved), [x.shape for x in jax.tree.leaves(moved)]

    def like_params(node: Any) -> bool:
        if jax.tree.structure(node) != structure:
            return False
        leaves = jax.tree.leaves(node)
        return [x.shape for x in leaves] == shapes and all(jnp.issubdtype(x.dtype, jnp.inexact) for x in leaves)

    def wait(node: Any) -> Any:
        return jax.tree.map(lambda x, m: compiler.after(x, jnp.real(m)), node, moved) if like_params(node) else node

    return jax.tree.map(wait, optax.tree.where(finite, new, old), is_leaf=like_params)


def _wide(leaf: jax.Array) -> Any:
    return jnp.promote_types(leaf.dtype, jnp.float32)
