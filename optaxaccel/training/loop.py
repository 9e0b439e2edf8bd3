"""The one loop: train a run, measure it, record it, and go on where it was stopped."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np

from optaxaccel import data, models
from optaxaccel.data import augment, crops
from optaxaccel.training import loop_of_tasks, starting
from optaxaccel.training.begun import RunFailedError
from optaxaccel.training.ended import Outcome
from optaxaccel.training.histories.beside import extrapolation
from optaxaccel.training.keeping import probes, records
from optaxaccel.training.keeping.journal import Journal, NotFiniteError, Progress
from optaxaccel.training.keeping.keep import Keep, Keeper, resumes
from optaxaccel.training.keeping.trace import Trace
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import feed, parallel, program
from optaxaccel.training.steps.several import CHUNK
from optaxaccel.training.steps.state import TrainState, counts


def check(run: Run) -> None:
    """Refuse before any work a run that cannot start: ValueError, or FileNotFoundError for data not prepared."""
    if run.task:
        loop_of_tasks.check(run)
        return
    models.check(run.model, run.model_args)
    data.check(run.data, run.data_dir)
    crops.crop_range(run.crop, run.image_size)
    augment.parse(run.augment)
    optimizer.recipe(run, total_steps=1, steps_per_epoch=1)


def data_hash(run: Run) -> str:
    """Return by what the data of a run are known again, and its task if it is one's own; "" of what ships."""
    return loop_of_tasks.data_hash(run, loop_of_tasks.check(run)) if run.task else feed.data_hash(run)


def train(
    run: Run,
    path: Path | str,
    *,
    label: str = "",
    phase: str = "final",
    devices: int | None = None,
    progress: Progress | None = None,
    keep: Keep | None = None,
    trace: Trace | None = None,
    also: Sequence[records.Sink] = (),
    probe: Sequence[str] = (),
) -> Outcome:
    """Train one run and write its record.

    Args:
      run: the specification.
      path: the record's file; written anew, or gone on with where `keep` says to resume and there is a checkpoint.
      label: what tables call the run; the method's name by default.
      phase: "final", or "tune" for runs that only choose a setting.
      devices: number of devices to use; None is all of them, but one of several CPU devices for small batches.
      progress: told of every row.
      keep: checkpoints, and whether to begin with the last one; None keeps nothing and leaves signals alone.
      trace: which steps to profile.
      also: further takers of rows, see `optaxaccel.training.keeping.sinks`.
      probe: names of probes of curvature, "sharpness" and "smallest_eigenvalue", measured on one batch of the training
        images or examples whenever the run is evaluated; see `optaxaccel.training.keeping.probes`.

    Raises:
      ValueError: the run cannot start, or its checkpoints are another run's; OSError: a file cannot be written;
        RuntimeError: another thread of this process trains a run that keeps checkpoints.
    """
    probes.check(probe)
    path, keep = Path(path), None if keep is None else keep._replace(folder=Path(keep.folder))
    if run.task:
        more: dict[str, Any] = {"progress": progress, "keep": keep, "also": also, "probe": probe}
        return loop_of_tasks.train(run, path, label=label, phase=phase, **more)
    check(run)
    images, layout = feed.feed(run, devices)  # refuses what cannot run before the folder is made
    steps_per_epoch = images.examples // run.batch_size
    total = run.total_steps(steps_per_epoch)
    recipe = optimizer.recipe(run, total_steps=total, steps_per_epoch=steps_per_epoch)
    start, data_hash = None if resumes(keep) else starting.load(run), feed.data_hash(run)
    with Keeper(run, keep) as keeper:
        compiled = program.program(run, recipe, images, layout, next(images.open(0)))
        numbers = program.numbers_of(run, recipe)
        beside = extrapolation(run, compiled, images, steps_per_epoch)
        state = compiled.init(np.uint32(run.seed), numbers)
        if start is not None:
            state = starting.started(start, state, recipe.build(numbers["method"]), layout.replicated)
        histories = beside.init(state) if beside else ()
        checkpoint = keeper.restore({"state": state, "histories": histories})
        if checkpoint and checkpoint.step > total:
            raise ValueError(
                f"the run has made {checkpoint.step:,} updates already, and {total:,} are asked for. Pass more."
            )
        offset = records.going_on(path, checkpoint.memory["offset"], run, total, data_hash) if checkpoint else 0
        with records.Writer(path if parallel.is_main_process() else None, offset=offset, also=also) as writer:
            journal = Journal(run, recipe, writer, progress, total, steps_per_epoch)
            journal.readings = compiled.readings
            running = _Running(run, images, compiled, numbers, journal, keeper, beside, trace or Trace(), probe)
            if checkpoint:
                journal.recall(checkpoint.memory)
                return _to_end(running, checkpoint.step, checkpoint.tree)
            about = {"label": label, "phase": phase, "note": images.note, "devices": layout.count}
            journal.start(**about, compile_seconds=compiled.compile_seconds, data_hash=data_hash)
            return _to_end(running, None, {"state": state, "histories": histories})


def _to_end(running: "_Running", step: int | None, tree: Mapping[str, Any]) -> Outcome:
    """Run to the end; from here on an error is no refusal any more."""
    try:
        return running.to_end(step, **tree)
    except (ValueError, TypeError, LookupError, FileNotFoundError, FileExistsError) as error:
        raise RunFailedError(f"the run had begun, and failed: {type(error).__name__}: {error}") from error


class _Running:
    """One run in progress."""

    def __init__(self, run, feed, compiled, numbers, journal, keeper, beside, trace, probe):
        self.run, self.feed, self.compiled, self.numbers = run, feed, compiled, numbers
        self.journal, self.keeper, self.beside, self.trace, self.probe = journal, keeper, beside, trace, probe
        self.next_evaluation, self.each = 0, math.inf

    def to_end(self, restored: int | None, state: TrainState, histories: Any) -> Outcome:
        """Train from `restored` updates on, which may be 0, or from the start; `state` is replicated."""
        journal, keeper, collect, step = self.journal, self.keeper, self.compiled.collect, restored or 0
        sources = self.feed.open(step)
        self.state, self.histories = self.compiled.spread(state), histories
        try:
            if restored is None:
                self.measure(0, state)
            del state
            with self.trace:
                while step < journal.total and not keeper.asked_to_stop():
                    step += self.advance(step, sources)
            keeper.save(step, self.kept(), journal.memory(collect), wait=True)
        except NotFiniteError as fault:
            journal.end("diverged", fault.step, what=fault.what)
            return Outcome("diverged", fault.step, collect(self.state), journal.last_eval)
        if step < journal.total:
            return Outcome("stopped", step, collect(self.state), journal.last_eval, keeper.stopped_by)
        state = collect(self.state)
        journal.end("done", step, **counts(state))
        return Outcome("done", step, state, journal.last_eval)

    def advance(self, step: int, sources: Iterator[Any]) -> int:
        """Make one update, or several in one call, and all that is due after them; return how many."""
        compiled, journal = self.compiled, self.journal
        self.trace.before(step, self.state)
        count = 1
        if compiled.several is not None:
            count = self.at_once(step)
            self.make(count, sources)
        else:
            self.state, metrics = compiled.step(self.state, self.numbers, *journal.waited_for(sources))
            journal.pending.append(metrics)
        step += count
        if journal.clock is None:  # the first call of a program pays for starting it
            jax.block_until_ready(self.state)
            journal.start_clock()
        parallel.wait_for_oldest(journal.pending)
        journal.close_budget(step)
        reads = journal.due()
        if reads:  # step k + 1 runs while the metrics of step k are read
            journal.log(compiled.collect, under_way=1)
        evaluates = self.evaluates_after(step)
        pushes = self.beside is not None and step % self.beside.interval == 0
        if evaluates or pushes:
            journal.log(compiled.collect)
            jax.block_until_ready(self.state)
            journal.tick()
            self.measure(step, compiled.collect(self.state), evaluates, pushes)
            journal.start_clock()
        stays = self.keeper.interval(journal.epoch)
        if stays and step % stays == 0:
            self.keeper.save_kept(step, {"state": compiled.collect(self.state)})
        if (reads or evaluates or pushes) and self.keeper.due():
            self.keeper.save(step, self.kept(), journal.memory(compiled.collect))
        return count

    def at_once(self, step: int) -> int:
        """Return how many updates may follow in one call, which takes a twentieth of a second at most."""
        if self.journal.clock is None:
            return 1
        epoch, stays = self.journal.epoch, self.keeper.interval(self.journal.epoch)
        intervals = [epoch, stays, 0 if self.beside is None else self.beside.interval]
        ends = [(step // interval + 1) * interval for interval in intervals if interval]
        ends += [end for end in self.trace[1:] if end > step]
        self.reckon(step)
        until = min(self.journal.total, self.next_evaluation, *ends)
        return max(1, int(min(until - step, CHUNK, self.journal.steps_of(self.each))))

    def make(self, count: int, sources: Iterator[Any]) -> None:
        """Make several updates of one epoch in one call."""
        assert self.compiled.several is not None
        source, started = self.journal.waited_for(sources), time.perf_counter()
        self.state, metrics = self.compiled.several(self.state, self.numbers, np.int32(count), *source)
        next(islice(sources, count - 1, count - 1), None)  # they are made from the same source
        self.journal.pending += np.asarray(metrics, float)[:count].tolist()  # waits for them
        self.each = (time.perf_counter() - started) / count

    def kept(self) -> Mapping[str, Any]:
        """Return the arrays that a checkpoint holds."""
        return {"state": self.compiled.collect(self.state), "histories": self.histories}

    def evaluates_after(self, step: int) -> bool:
        """Return whether an interval between evaluations, or the run, ends here."""
        self.reckon(step - 1)
        return step in (self.journal.total, self.next_evaluation)

    def reckon(self, step: int) -> None:
        """Know the first evaluation after `step`; in fractions, which take as long as a small network's step."""
        if step >= self.next_evaluation:
            self.next_evaluation = self.run.next_evaluation(step, self.journal.epoch)

    def measure(self, step: int, state: TrainState, evaluates: bool = True, pushes: bool = True) -> None:
        """Evaluate, keep what is best, extrapolate; the clock stands still meanwhile."""
        split = self.feed.held_out_name
        if evaluates:
            measured = self.evaluate(state, self.feed.held_out(), self.feed.held_out_size)
            if not math.isfinite(measured["loss"]):
                raise NotFiniteError(step, f"{split} loss")
            self.journal.trained(step, self.evaluate(state, self.feed.trained(), self.feed.trained_size))
            if self.journal.evaluated(step, split, measured) and step:
                self.keeper.save_best(step, {"state": state}, self.journal.last_eval)
            if self.probe:
                self.probe_curvature(step, state)
        if self.beside is None or not pushes:
            return
        self.histories = self.beside.push(self.histories, state)
        if step:
            point = self.beside.point(self.histories, state)
            row = {"split": split, **self.evaluate(point, self.feed.held_out(), self.feed.held_out_size)}
            self.journal.write("extrapolation", {**self.journal.position(step), **row})

    def probe_curvature(self, step: int, state: TrainState) -> None:
        """Write what the probes find on the first batch of the sample of training images, in the mode of training."""
        images, labels, _ = next(iter(self.feed.trained()))
        rate = probes.rate_at(step, self.numbers["method"], state.opt_state)
        data = {"net_state": state.net_state, "images": images[None], "labels": labels[None]}
        key = jax.random.wrap_key_data(state.key)
        measurements = probes.measure(self.probe, self.compiled.value, state.params, rate, key=key, **data)
        self.journal.write("probe", {**self.journal.position(step), **measurements})

    def evaluate(self, state: TrainState, batches: Iterator[Any], size: int) -> dict[str, float]:
        """Return the means over the `size` images of some batches: loss in nats, accuracy and what else is counted."""
        sums: list[Mapping[str, jax.Array]] = []
        for batch in batches:
            sums.append(self.compiled.evaluate(state, *batch))
            parallel.wait_for_oldest(sums)
        fetched = jax.device_get(sums)
        return {name: float(np.sum([one[name] for one in fetched])) / size for name in fetched[0]}
