"""Baselines that choose their own rate and that optax lacks: NGN and PoNoS, written from their formulas.

They are what methods without tuning are compared with, not methods of the package; a run names them like
`baseline.ngn`. All need `value` and `value_fn`, as the training loop passes them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from optaxaccel.methods import contract
from optaxaccel.methods._salsa import salsa
from optaxaccel.numerics import trees

MOST_TRIALS = 100


class SearchInfo(NamedTuple):
    """What a search along a line tells about itself, as optax's backtracking does: the losses of its last step."""

    num_linesearch_steps: jax.Array


def ngn(learning_rate: optax.ScalarOrSchedule = 1.0) -> optax.GradientTransformationExtraArgs:
    r"""Run SGD with the non-negative Gauss-Newton rate :math:`\sigma / (1 + \sigma |g|^2 / (2 f))`.

    Orvieto and Xiao, "An Adaptive Stochastic Gradient Method with Non-negative Gauss-Newton Stepsizes", 2024. The loss
    must not be negative. A step whose loss is not finite moves nothing.

    Args:
      learning_rate: the rate :math:`\sigma` where the gradient is small, > 0, or a schedule of it.
    """

    def update(updates, state, params=None, *, value=None, **extra):
        del params, extra
        contract.require_extra("ngn", "value", value)
        sigma = jnp.asarray(contract.at_step(learning_rate, state), trees.accumulation_dtype())
        twice, square = 2.0 * jnp.asarray(value, sigma.dtype), trees.vdot(updates, updates)
        below = twice + sigma * square
        rate = sigma * twice / jnp.where(below > 0, below, 1.0)
        moves = jnp.isfinite(rate) & (below > 0)
        return _scaled(-jnp.where(moves, rate, 0.0), updates), optax.safe_increment(state)

    return optax.GradientTransformationExtraArgs(lambda params: jnp.zeros((), jnp.int32), update)


class PonosState(NamedTuple):
    """State of `ponos`: the reference loss and its weight, by how much the first trial is cut, and the last search."""

    reference: jax.Array
    weight: jax.Array
    cuts: jax.Array
    info: SearchInfo


def ponos(
    max_learning_rate: float = 10.0,
    *,
    c: float = 0.5,
    c_p: float = 0.1,
    delta: float = 0.5,
    xi: float = 1.0,
    min_learning_rate: float = 1e-6,
) -> optax.GradientTransformationExtraArgs:
    r"""Run SGD with Polyak's step, cut until a loss is low enough beside a mean of past ones (PoNoS).

    Galli, Rauhut and Schmidt, "Don't be so Monotone: Relaxing Stochastic Line Search in Over-Parameterized Models",
    2023. The first trial is :math:`f / (c_p |g|^2)` times `delta` to the number of cuts that the step before needed
    but one; a trial is accepted where :math:`f(x - \eta g) \le \max(C, f) - c\, \eta |g|^2`.

    Args:
      max_learning_rate: the largest trial.
      c: share of the decrease that is asked for.
      c_p: Polyak's constant.
      delta: by what a trial that is refused is multiplied.
      xi: how much old losses count in the mean C.
      min_learning_rate: the smallest first trial, and the step where no trial is accepted.
    """

    def init(params):
        del params
        zeros = [jnp.zeros((), trees.accumulation_dtype()) for _ in range(2)]
        return PonosState(*zeros, jnp.zeros((), jnp.int32), SearchInfo(jnp.zeros((), jnp.int32)))  # pyright: ignore

    def update(updates, state, params=None, *, value=None, value_fn=None, **extra):
        contract.require_extra("ponos", "value", value)
        loss = contract.bind_value_fn("ponos", value_fn, extra)
        here, square = jnp.asarray(value, trees.accumulation_dtype()), trees.vdot(updates, updates)
        weight = xi * state.weight + 1.0
        reference = (xi * state.weight * state.reference + here) / weight
        polyak = here / (c_p * square + 1e-8) * delta ** state.cuts.astype(here.dtype)
        first = jnp.clip(polyak, min_learning_rate, max_learning_rate)
        allowed = jnp.maximum(reference, here)

        def measured(rate):
            return loss(_moved(params, updates, -rate)).astype(here.dtype)

        def accepted(rate, there):
            return there <= allowed - c * rate * square

        searches = (square >= 1e-16) & (here != 0) & jnp.isfinite(here) & jnp.isfinite(square)
        rate, trials, passed, _ = _backtrack(measured, accepted, first, delta, searches)
        rate = jnp.where(searches, jnp.where(passed, rate, 1e-6), 0.0)
        cuts = jnp.where(searches, jnp.maximum(state.cuts + trials - 2, 0), state.cuts)  # of n trials n - 1 cut
        good = jnp.isfinite(here)
        means = [jnp.where(good, new, old) for new, old in ((reference, state.reference), (weight, state.weight))]
        return _scaled(-rate, updates), PonosState(means[0], means[1], cuts, SearchInfo(trials))

    return optax.GradientTransformationExtraArgs(init, update)


def _backtrack(measured: Callable, accepted: Callable, first: jax.Array, factor: float, searches: jax.Array):
    """Return the first rate that is accepted, the number of trials, whether there was one, and what it measured."""

    def again(carry):
        _, trials, passed, _ = carry
        return searches & ~passed & (trials < MOST_TRIALS)

    def trial(carry):
        rate, trials, _, _ = carry
        seen = measured(rate)
        passed = accepted(rate, seen)
        return jnp.where(passed, rate, rate * factor), trials + 1, passed, seen

    start = (first, jnp.zeros((), jnp.int32), jnp.zeros((), bool), jnp.zeros_like(first))
    return lax.while_loop(again, trial, start)


def _moved(params: Any, direction: Any, factor: jax.Array) -> Any:
    return jax.tree.map(lambda p, d: (p + factor * d).astype(p.dtype), params, direction)


def _scaled(factor: jax.Array, tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.where(factor == 0, 0.0, factor * x).astype(x.dtype), tree)


SELF_TUNED = {"ngn": ngn, "ponos": ponos, "salsa": salsa}
