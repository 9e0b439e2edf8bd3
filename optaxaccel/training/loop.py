"""The one loop: train a run, measure it, record it."""

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from optaxaccel import data, methods, models, registry
from optaxaccel.training import feed, optimizer, parallel, program, records
from optaxaccel.training.spec import Run
from optaxaccel.training.state import TrainState


class Progress(Protocol):
    """What the loop tells while it runs."""

    def __call__(self, *, step: int, total: int, row: Mapping[str, Any]) -> None:
        """Take the newest row, after `step` of `total` updates."""
        ...


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
      status: "done" or "diverged".
      step: the number of updates, or of those before the loss or gradient that was not finite.
      state: the state after the last update.
      last: the last evaluation row.
    """

    status: str
    step: int
    state: TrainState
    last: Mapping[str, Any]


def check(run: Run) -> None:
    """Refuse, within a second or two and before any work, a run that cannot start.

    Raises:
      ValueError: an unknown name or a value out of range.
      FileNotFoundError: the data set is not prepared.
    """
    registry.lookup("model", run.model, models.MODELS)
    data.check(run.data, run.data_dir)
    optimizer.recipe(run, total_steps=1, steps_per_epoch=1)


def train(
    run: Run,
    path: Path,
    *,
    label: str = "",
    phase: str = "final",
    devices: int | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train one run and write its record.

    Args:
      run: the specification.
      path: the record's file; written anew.
      label: what tables call the run; the method's name by default.
      phase: "final", or "tune" for runs that only choose a setting.
      devices: number of devices to use; None is all of them, but one of several CPU devices for small batches.
      progress: told of every row.
    """
    check(run)
    made, layout = feed.feed(run, devices)
    steps_per_epoch = made.examples // run.batch_size
    total = run.total_steps(steps_per_epoch)
    recipe = optimizer.recipe(run, total_steps=total, steps_per_epoch=steps_per_epoch)
    sources = made.open(0)
    first = next(sources)
    compiled = program.program(run, recipe, made, layout, first)
    writer = records.Writer(path if parallel.is_main_process() else None)
    writer.write(
        "start",
        spec=run.as_dict(),
        digest=run.digest(),
        label=label or run.method,
        phase=phase,
        data_note=made.note,
        steps=total,
        steps_per_epoch=steps_per_epoch,
        devices=layout.count,
        compile_seconds=round(compiled.compile_seconds, 3),
        **records.provenance(_device()),
    )
    try:
        state = _InProgress(run, recipe, made, compiled, writer, progress, total, steps_per_epoch)
        return state.run_to_end(itertools.chain([first], sources))
    finally:
        writer.close()


class _NotFiniteError(Exception):
    def __init__(self, step: int, what: str):
        super().__init__(f"{what} is not finite at step {step}")
        self.step, self.what = step, what


class _InProgress:
    """One run in progress: the clock, the metrics on their way from the device, and the rows."""

    def __init__(self, run, recipe, feed, compiled, writer, progress, total, steps_per_epoch):
        self.run, self.recipe, self.feed, self.compiled = run, recipe, feed, compiled
        self.writer, self.progress, self.total, self.steps_per_epoch = writer, progress, total, steps_per_epoch
        self.log_every = run.log_every or max(1, steps_per_epoch // 10)
        self.pending: list[Mapping[str, jax.Array]] = []
        self.logged, self.skipped, self.skipped_in_a_row = 0, 0, 0
        self.seconds = 0.0
        self.last_eval: Mapping[str, Any] = {}

    def run_to_end(self, sources: Iterator[Any]) -> Outcome:
        compiled, numbers = self.compiled, program.numbers_of(self.run, self.recipe)
        replicated = compiled.init(np.uint32(self.run.seed), numbers)
        state = compiled.spread(replicated)
        try:
            self.evaluate(replicated, 0)
            del replicated
            for step in range(self.total):
                state, metrics = compiled.step(state, numbers, *next(sources))
                self.pending.append(metrics)
                if step == 0:  # the first call of a program pays for starting it; the clock runs from its end
                    jax.block_until_ready(state)
                    self.clock = time.perf_counter()
                parallel.wait_for_oldest(self.pending)
                if len(self.pending) > self.log_every:  # step k + 1 runs while the metrics of step k are read
                    self.log(self.log_every)
                if self.evaluates_after(step + 1):
                    self.log(len(self.pending))
                    jax.block_until_ready(state)
                    self.tick()
                    self.evaluate(compiled.collect(state), step + 1)
        except _NotFiniteError as fault:
            self.end("diverged", fault.step, what=fault.what)
            return Outcome("diverged", fault.step, compiled.collect(state), self.last_eval)
        self.end("done", self.total)
        return Outcome("done", self.total, compiled.collect(state), self.last_eval)

    def evaluates_after(self, step: int) -> bool:
        interval = self.run.eval_every * self.steps_per_epoch
        return step == self.total or step // interval > (step - 1) // interval

    def log(self, count: int) -> None:
        """Read the metrics of the oldest `count` steps and write one row; stop at the first that is not finite."""
        if count == 0:
            return
        taken = jax.device_get([self.compiled.collect(metrics) for metrics in self.pending[:count]])
        del self.pending[:count]
        self.tick()
        columns = {name: np.array([float(metrics[name]) for metrics in taken]) for name in taken[0]}
        finite = np.isfinite(columns["loss"]) & np.isfinite(columns["grad_norm"])
        end = self.first_fault(finite)
        good = np.flatnonzero(finite[:end])
        if len(good):
            row = {
                **self.position(self.logged + end),
                "loss": columns["loss"][good].mean(),
                "accuracy": columns["accuracy"][good].mean(),
                "grad_norm": columns["grad_norm"][good[-1]],
                "images_per_second": self.speed(self.logged + end),
                "skipped": self.skipped,
            }
            self.write("train", row)
        if end < count:
            what = "loss" if not math.isfinite(columns["loss"][end]) else "gradient"
            raise _NotFiniteError(self.logged + end, what)
        self.logged += count

    def first_fault(self, finite: np.ndarray) -> int:
        """Return the first step that ends the run, or the number of steps; count those that are skipped."""
        for step, good in enumerate(finite):
            if good:
                self.skipped_in_a_row = 0
                continue
            if self.run.on_fault == "stop" or self.skipped_in_a_row + 1 > self.run.max_skips:
                return step
            self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1
        return len(finite)

    def evaluate(self, state: TrainState, step: int) -> None:
        """Evaluate on the held-out images; the clock stands still meanwhile."""
        sums: list[Mapping[str, jax.Array]] = []
        for batch in self.feed.held_out():
            sums.append(self.compiled.evaluate(state, *batch))
            parallel.wait_for_oldest(sums)
        sums = jax.device_get(sums)
        totals = {name: float(np.sum([one[name] for one in sums])) for name in ("loss", "correct")}
        examples, split = self.feed.held_out_size, self.feed.held_out_name
        if not math.isfinite(totals["loss"]):
            raise _NotFiniteError(step, f"{split} loss")
        row = {"split": split, "loss": totals["loss"] / examples, "accuracy": totals["correct"] / examples}
        self.last_eval = {**self.position(step), **row}
        self.write("eval", self.last_eval)
        self.clock = time.perf_counter()

    def speed(self, step: int) -> float | None:
        """Return images a second so far; the first step is not on the clock."""
        return round((step - 1) * self.run.batch_size / self.seconds, 1) if step > 1 and self.seconds else None

    def tick(self) -> None:
        now = time.perf_counter()
        self.seconds += now - self.clock
        self.clock = now

    def position(self, step: int) -> dict[str, Any]:
        """Return where the run is: steps, epochs, oracle calls so far and training seconds."""
        cost: methods.Cost = self.recipe.method.cost
        return {
            "step": step,
            "epoch": round(step / self.steps_per_epoch, 6),
            "value_calls": step * cost.values,
            "grad_calls": step * (1 + cost.grads),
            "hvp_calls": step * cost.hvps,
            "seconds": round(self.seconds, 4),
        }

    def write(self, kind: str, row: Mapping[str, Any]) -> None:
        self.writer.write(kind, **row)
        if self.progress is not None:
            self.progress(step=row["step"], total=self.total, row={"kind": kind, **row})

    def end(self, status: str, step: int, **fields: Any) -> None:
        fields |= {"skipped": self.skipped, "seconds": round(self.seconds, 4)}
        self.writer.write("end", status=status, step=step, **fields)


def _device() -> str:
    device = jax.devices()[0]
    return f"{device.platform} {device.device_kind}"
