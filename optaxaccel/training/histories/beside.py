"""RNA beside training: keep the last iterates, extrapolate a copy of them, evaluate it, and leave training alone."""

import dataclasses
import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel import methods
from optaxaccel.training.run.argument_text import steps_from
from optaxaccel.training.run.spec import EXTRAPOLATE, Run
from optaxaccel.training.steps.feed import Feed
from optaxaccel.training.steps.program import Program
from optaxaccel.training.steps.state import TrainState

Tree = Any
JUDGES = 1024  # at least so many training images, those of the first steps, judge where the loss chooses
REFRESH = 50  # training batches that refreshed statistics are taken from: a decay of 0.9 forgets all but 0.5 %


class Histories(NamedTuple):
    """The last K + 1 iterates, and the networks' states that belong to them."""

    params: methods.History
    net_state: methods.History


class Extrapolation(NamedTuple):
    """What a run's `extrapolate` asks for.

    Attributes:
      interval: updates between two of the trees kept.
      init: (state) -> empty histories.
      push: (histories, state) -> histories with the iterate that the method wants evaluated.
      point: (histories, state) -> a state to evaluate at the extrapolated point.
    """

    interval: int
    init: Callable[[TrainState], Histories]
    push: Callable[[Histories, TrainState], Histories]
    point: Callable[[Histories, TrainState], TrainState]


def extrapolation(run: Run, compiled: Program, feed: Feed, steps_per_epoch: int) -> Extrapolation | None:
    """Return what a run's `extrapolate` asks for, or None.

    Raises:
      ValueError: statistics are to be refreshed, or the loss is to choose, under `pmap`; or the loss is to choose for a
        network whose statistics are combined.
    """
    if not run.extrapolate:
        return None
    asked = {**EXTRAPOLATE, **run.extrapolate}
    refreshed, adaptive = asked["statistics"] == "refreshed", asked["regularization"] == "adaptive"
    if run.parallel == "pmap" and (refreshed or adaptive):
        name = "statistics='refreshed'" if refreshed else "regularization='adaptive'"
        raise ValueError(f"{name} needs whole batches. Pass --parallel jit, or leave it out.")
    options = {"regularization": asked["regularization"], "iterate": asked["iterate"]}
    judges = lru_cache(maxsize=1)(lambda: _first_batches(run, feed))

    def init(state):
        if adaptive and not refreshed and jax.tree.leaves(state.net_state):
            raise ValueError(
                "regularization='adaptive' goes beyond the extrapolated point, where combined statistics no longer "
                "belong. Pass statistics='refreshed' for a network that has statistics."
            )
        keep = {"length": asked["K"] + 1, "offload": asked["host"]}
        histories = Histories(*(methods.history_init(tree, **keep) for tree in (state.params, state.net_state)))
        return Histories(*(h._replace(count=jax.device_put(h.count, state.step.sharding)) for h in histories))

    def push(histories, state):
        return Histories(
            methods.history_push(histories.params, _looked_at(state)),
            methods.history_push(histories.net_state, state.net_state),
        )

    def point(histories, state):
        try:
            return extrapolated(histories, state)
        except ValueError:  # the point is not finite: the iterate itself is looked at, and training goes on
            if all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves((histories.params, histories.net_state))):
                raise
            return dataclasses.replace(state, params=_looked_at(state), opt_state=())

    def extrapolated(histories, state):
        statistics = bool(jax.tree.leaves(state.net_state))
        if adaptive:
            images, labels = judges()
            about = {"net_state": state.net_state, "key": jax.random.key(0), "images": images, "labels": labels}
            params, net_state = methods.extrapolate_adaptive(histories.params, compiled.value, **about), state.net_state
        elif refreshed or not statistics:
            params, net_state = methods.extrapolate(histories.params, **options), state.net_state
        else:
            params, net_state = methods.extrapolate(histories.params, statistics=histories.net_state, **options)
        new = dataclasses.replace(state, params=params, net_state=net_state, opt_state=())
        if refreshed and statistics:
            for step, source in enumerate(itertools.islice(feed.open(0), REFRESH)):
                new = compiled.refresh(dataclasses.replace(new, step=jnp.int32(step)), *source)
        return dataclasses.replace(new, step=state.step)

    return Extrapolation(steps_from(asked["every"], steps_per_epoch), init, push, point)


def _first_batches(run: Run, feed: Feed) -> tuple[jax.Array, ...]:
    """Return images and labels of the first steps of training, each [count, batch, ...]."""
    select = jax.jit(lambda source, step: feed.select(source, step, None, run.batch_size))
    number = min(-(-JUDGES // run.batch_size), feed.examples // run.batch_size)
    batches = [select(source, jnp.int32(step)) for step, source in enumerate(itertools.islice(feed.open(0), number))]
    return tuple(jnp.stack(parts) for parts in zip(*batches, strict=True))


@jax.jit
def _looked_at(state: TrainState) -> Tree:
    return methods.eval_params(state.opt_state, state.params)
