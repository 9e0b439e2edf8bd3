"""Runs trained together: those that differ in seeds and numbers only share one program over its members.

It makes many steps in one call. On accelerators the members are one batch more (`vmap`). On a CPU each device trains
its members one after the other: mapped products are no faster there, and a mapped `cond` pays for both of its branches.
Either way the calls from Python, which cost more than the steps of a small network, are few, and every run leaves the
record that it would have left alone.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

from optaxaccel import data
from optaxaccel.training.keeping.journal import Journal
from optaxaccel.training.keeping.writer import Writer
from optaxaccel.training.many.trained_member import Member
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.optimizer import Recipe
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import diagnosing, feed, parallel, program
from optaxaccel.training.steps.feed import Feed
from optaxaccel.training.steps.parallel import AXIS, Layout
from optaxaccel.training.steps.remember import is_remembered, remembered
from optaxaccel.training.steps.several import CHUNK, convolves, several
from optaxaccel.training.steps.state import TrainState, counts

Tree = Any
MEMBERS = 64  # most members at once
AT_STAKE = 20_000  # most steps of one CPU device for members at once: what is lost if they are interrupted
ROOM = 2**28  # most bytes of their states there, since only small networks gain


class Job(NamedTuple):
    """One of many runs: its index among them, the record that it writes, and what that says of it."""

    index: int
    run: Run
    path: Path
    label: str
    phase: str


class _Compiled(NamedTuple):
    """Functions of (what members have in common, *what each has, cut along the first axis over the devices).

    Attributes:
      init: ((), seeds, numbers) -> states.
      order: ((epoch, labels, indices that train), seeds) -> the order of the epoch, as long as the labels.
      advance: ((images, labels, steps an epoch, steps <= CHUNK), states, numbers, orders) -> (states, metrics
        [members, CHUNK, ...]); the states are donated.
      evaluate: ((images, labels, weight), states) -> sums over one batch.
    """

    init: Callable[..., Tree]
    order: Callable[..., jax.Array]
    advance: Callable[..., tuple[Tree, jax.Array]]
    evaluate: Callable[..., Mapping[str, jax.Array]]


class Group:
    """Runs that share one program: `width` of them are trained at once."""

    def __init__(self, run: Run, count: int):
        """Load the data of a group of `count` runs of which `run` is one."""
        devices = jax.devices()
        self.layout = Layout("jit", Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,)))
        self.feed, _ = feed.feed(run, None, whole=self.layout)
        self.steps_per_epoch = self.feed.examples // run.batch_size
        self.total = run.total_steps(self.steps_per_epoch)
        state = _shapes(run, self.feed, self.layout)
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        self.width = len(devices) * _members_of_a_device(count, len(devices), self.total, size)
        self._convolves = convolves(state.params)

    @property
    def pays(self) -> bool:
        """Return whether training together is faster: not with convolutions on a CPU, where a step is long anyway."""
        return not (_one_at_a_time() and self._convolves)

    def parts(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """Cut jobs into those trained at once."""
        for start in range(0, len(jobs), self.width):
            yield jobs[start : start + self.width]

    def train(self, jobs: Sequence[Job]) -> list[str]:
        """Train up to `width` runs at once and return their statuses."""
        recipes = [self._recipe(job.run) for job in jobs]
        started = time.perf_counter()
        facts = self._facts(jobs[0].run, recipes[0])
        new = not is_remembered(_compile, *facts)
        compiled = remembered(_compile, *facts)
        training = _Training(self, compiled, jobs, recipes)
        seconds = time.perf_counter() - started if new else 0.0
        data_hash = feed.data_hash(jobs[0].run)
        with ExitStack() as closing:  # not before: a record without a row would be none of a run
            for job, recipe in zip(jobs, recipes, strict=True):
                member = self._member(job.run, recipe, closing.enter_context(Writer(job.path)))
                about = {"label": job.label, "phase": job.phase, "note": self.feed.note, "devices": self.layout.count}
                member.journal.start(**about, compile_seconds=seconds, members=len(jobs), data_hash=data_hash)
                member.journal.readings = training.readings
                training.members.append(member)
            training.to_end()
            return [member.status for member in training.members]

    def _member(self, run: Run, recipe: Recipe, writer: Writer) -> Member:
        return Member(Journal(run, recipe, writer, None, self.total, self.steps_per_epoch))

    def _recipe(self, run: Run) -> Recipe:
        return optimizer.recipe(run, total_steps=self.total, steps_per_epoch=self.steps_per_epoch)

    def _facts(self, run: Run, recipe: Recipe) -> tuple[program.Blueprint, bool]:
        """Return all that the compiled functions depend on: a member's batch is whole on its device."""
        plan = program.blueprint(run, recipe, self.feed, self.layout)
        return plan._replace(select=feed.Resident(run.batch_size, None)), _one_at_a_time()


def _one_at_a_time() -> bool:
    """Return whether a device trains one member at a time."""
    return jax.default_backend() == "cpu"


def _members_of_a_device(count: int, devices: int, total: int, size: int) -> int:
    """Return how many of `count` members each device has at once: even shares of few parts.

    Args:
      count: all members.
      devices: number of devices.
      total: steps of a member.
      size: bytes of its state.
    """
    most = MEMBERS // devices
    if _one_at_a_time():
        most = min(most, AT_STAKE // max(1, total), ROOM // max(1, size))
    return math.ceil(count / math.ceil(count / (max(1, most) * devices)) / devices)


def _shapes(run: Run, images: Feed, layout: Layout) -> TrainState:
    """Return the state of a run as shapes."""
    recipe = optimizer.recipe(run, total_steps=1, steps_per_epoch=1)
    init, *_ = program.functions(program.blueprint(run, recipe, images, layout))
    return jax.eval_shape(init, jax.ShapeDtypeStruct((), np.uint32), program.numbers_of(run, recipe))


def _over_members(function: Callable, one_at_a_time: bool) -> Callable:
    """Return a function of (what is common, what each member has) over the members of one device."""
    if one_at_a_time:
        return lambda common, own: jax.lax.map(partial(function, common), own)
    return jax.vmap(function, in_axes=(None, 0))


def _compile(plan: program.Blueprint, one_at_a_time: bool) -> _Compiled:
    """Return the functions of a group; they are compiled when they are called first, for the shapes of its data."""
    init, step, evaluate, *_ = program.functions(plan)

    def order(common, own):
        epoch, labels, indices = common
        (seed,) = own
        return jnp.pad(indices[data.epoch_order(seed, epoch, indices.size)], (0, labels.size - indices.size))

    def advance(common, own):
        images, labels, period, steps = common
        state, numbers, order = own
        return several(step)(state, numbers, steps, images, labels, order, period)

    def cut(function, **options):
        whole, part = PartitionSpec(), PartitionSpec(AXIS)
        specs = {"mesh": plan.layout.mesh, "in_specs": (whole, part), "out_specs": part, "check_vma": False}
        over = jax.shard_map(_over_members(function, one_at_a_time), **specs)
        return jax.jit(lambda common, *own: over(common, own), **options)

    return _Compiled(
        init=cut(lambda common, own: init(*own)),
        order=cut(order),
        advance=cut(advance, donate_argnums=1),  # the states alone: numbers and orders are needed again
        evaluate=cut(lambda common, own: evaluate(*own, *common)),
    )


class _Training:
    """Some runs of a group in progress; places beyond their number are filled with the last one again."""

    def __init__(self, group: Group, compiled: _Compiled, jobs: Sequence[Job], recipes: Sequence[Recipe]):
        self.group, self.compiled = group, compiled
        self.members: list[Member] = []
        places = [min(place, len(jobs) - 1) for place in range(group.width)]
        numbers = [program.numbers_of(job.run, recipe) for job, recipe in zip(jobs, recipes, strict=True)]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *[numbers[place] for place in places])
        self.numbers = group.layout.put(stacked, cut=True)
        self.seeds = group.layout.put(np.array([jobs[place].run.seed for place in places], np.uint32), cut=True)
        self.states = compiled.init((), self.seeds, self.numbers)
        self.readings = diagnosing.kinds(self.states.opt_state, members=True)
        held_out, trained = group.feed.held_out(), group.feed.trained()
        self.held_out = [jax.device_put(batch, group.layout.replicated) for batch in held_out]
        self.trained = [jax.device_put(batch, group.layout.replicated) for batch in trained]
        self.period = group.layout.put(np.int32(group.steps_per_epoch))
        self.run = jobs[0].run
        assert group.feed.resident is not None  # streams were left out
        self.images, self.labels, self.indices = group.feed.resident
        self.drawn: tuple[int, Any] = (-1, None)
        self.call(self.order(0), 0)  # compiles

    def order(self, epoch: int) -> jax.Array:
        """Return the members' orders of an epoch; they are kept for whoever asks again."""
        if epoch != self.drawn[0]:
            self.drawn = epoch, self.compiled.order((np.uint32(epoch), self.labels, self.indices), self.seeds)
        return self.drawn[1]

    def call(self, order: jax.Array, steps: int) -> jax.Array:
        """Make at most CHUNK steps within an epoch and return their metrics [members, CHUNK, ...]."""
        common = (self.images, self.labels, self.period, np.int32(steps))
        self.states, metrics = self.compiled.advance(common, self.states, self.numbers, order)
        return metrics

    def to_end(self) -> None:
        """Train from one evaluation to the next."""
        step, total = 0, self.group.total
        self.evaluate(0, self.measure())
        while step < total and any(not member.status for member in self.members):
            until = min(total, self.run.next_evaluation(step, self.group.steps_per_epoch))
            metrics, seconds = self.advance(step, until)
            evaluation = self.measure()  # goes on while the rows are written, and so does what comes next
            self.order(min(until, total - 1) // self.group.steps_per_epoch)
            for place, member in enumerate(self.members):
                if not member.status:
                    member.take(metrics[place], seconds)
            step = until
            self.evaluate(step, evaluation)
        for place, member in enumerate(self.members):
            if not member.status:
                member.end("done", total, **counts(self.states, place))

    def advance(self, step: int, until: int) -> tuple[np.ndarray, float]:
        """Make the steps from `step` to `until`; return metrics [members, steps, ...] and the seconds of a member."""
        rows, sizes = [], []
        started = time.perf_counter()
        while step < until:
            epoch, within = divmod(step, self.group.steps_per_epoch)
            if within == 0 or not rows:
                order = self.order(epoch)
            size = min(CHUNK, until - step, self.group.steps_per_epoch - within)
            rows.append(self.call(order, size))
            sizes.append(size)
            parallel.wait_for_oldest(rows)
            step += size
        jax.block_until_ready(self.states)
        seconds = (time.perf_counter() - started) / len(self.members)
        parts = zip(jax.device_get(rows), sizes, strict=True)
        return np.concatenate([part[:, :size] for part, size in parts], axis=1), seconds

    def measure(self) -> tuple[list[Any], list[Any]]:
        """Begin to evaluate all members: return the sums over batches of training and of held-out images."""
        return self._sums(self.trained), self._sums(self.held_out)

    def evaluate(self, step: int, evaluation: tuple[list[Any], list[Any]]) -> None:
        """Write what `measure` returned."""
        feed, (trained, held_out) = self.group.feed, jax.device_get(evaluation)
        both = (_means(held_out, feed.held_out_size), _means(trained, feed.trained_size))
        for place, member in enumerate(self.members):
            if not member.status:
                own = ({name: values[place] for name, values in means.items()} for means in both)
                member.evaluated(step, feed.held_out_name, *own)

    def _sums(self, batches: Sequence[Any]) -> list[Any]:
        sums = []
        for batch in batches:
            sums.append(self.compiled.evaluate(tuple(batch), self.states))
            parallel.wait_for_oldest(sums)
        return sums


def _means(sums: Sequence[Mapping[str, np.ndarray]], size: int) -> Mapping[str, list[float]]:
    """Return the members' means over the `size` images of some batches."""
    return {name: (np.sum([one[name] for one in sums], axis=0, dtype=float) / size).tolist() for name in sums[0]}
