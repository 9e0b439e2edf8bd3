"""The journal of a run under way: metrics on their way from the device, faults, the clock and the rows."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from optaxaccel.training.keeping import memory, records
from optaxaccel.training.keeping import metrics as on_their_way
from optaxaccel.training.keeping.metrics import Collect, Columns, Metrics
from optaxaccel.training.keeping.records import Writer
from optaxaccel.training.run.optimizer import Recipe
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import diagnosing
from optaxaccel.training.steps.step import UNKNOWN

_BEFORE = {"attempts": 0, "line": None}  # what a checkpoint knows that is older than the count
PATIENCE, MOST = 0.05, 256  # seconds that rows may wait, and steps


class Progress(Protocol):
    """What the loop tells while it runs."""

    def __call__(self, *, step: int, total: int, row: Mapping[str, Any]) -> None:
        """Take the newest row, after `step` of `total` updates."""
        ...


class NotFiniteError(Exception):
    """A loss, gradient or measurement that ends the run."""

    def __init__(self, step: int, what: str):
        """Say what it was, and how many updates came before."""
        super().__init__(f"the {what} is not finite at step {step}")
        self.step, self.what = step, what


class Journal:
    """Takes the metrics of every step and writes rows.

    The metrics of step k are read after step k + 1 was started, many at a time, so that the device never waits.
    """

    def __init__(self, run: Run, recipe: Recipe, writer: Writer, progress: Progress | None, total: int, epoch: int):
        """Begin at step 0; `total` is the number of updates and `epoch` the number of those in an epoch."""
        if run.seconds is not None and jax.process_count() > 1:
            raise ValueError(
                f"seconds={run.seconds:g} is the time of one process's clock. Give steps or epochs instead."
            )
        self.run, self.recipe, self.writer, self.progress = run, recipe, writer, progress
        self.total, self.epoch = total, epoch
        self.readings: diagnosing.Kinds = {}  # what the method tells of itself
        self.log_every = run.log_every or max(1, epoch // 10)
        self.pending: list[Metrics] = []
        self.logged, self.skipped, self.skipped_in_a_row, self.attempts = 0, 0, 0, 0
        self.line: list[int] | None = None  # losses and gradients of searches along lines, where the state tells them
        self.seconds = self.wait_seconds = self.logged_seconds = 0.0
        self.last_eval: Mapping[str, Any] = {}
        self.best = -1.0
        self.untimed = 0
        self.clock: float | None = None
        self.read_at = 0.0

    # --- The clock: training alone, without compilation, evaluation and the first step of a process ------------------

    def start_clock(self) -> None:
        """Count seconds from now on."""
        if self.clock is None:
            self.untimed += 1
        self.clock = time.perf_counter()

    def tick(self) -> None:
        """Add the seconds since the last look at the clock."""
        if self.clock is not None:
            now = time.perf_counter()
            self.seconds, self.clock = self.seconds + now - self.clock, now

    def close_budget(self, step: int) -> None:
        """Make `step` the last one if the run's seconds of training are over."""
        if self.run.seconds is None or self.clock is None:
            return
        if self.seconds + time.perf_counter() - self.clock >= self.run.seconds:
            self.total = min(self.total, step)

    def waited_for(self, sources: Iterator[Any]) -> Any:
        """Return the next data, and count the time until they are there as waiting for data."""
        started = time.perf_counter()
        source = next(sources)
        if self.clock is not None:
            self.wait_seconds += time.perf_counter() - started
        return source

    # --- Metrics ------------------------------------------------------------------------------------------------------

    def due(self) -> bool:
        """Return whether enough steps wait to be read, and one more is under way.

        Rows that nobody set the number of may wait for others, for a twentieth of a second at most: written one by one
        between steps of a small network they take as long as those. Several processes read after the same step.
        """
        if len(self.pending) <= self.log_every:
            return False
        if self.run.log_every or len(self.pending) > MOST or jax.process_count() > 1:
            return True
        return time.perf_counter() - self.read_at > PATIENCE

    def steps_of(self, seconds: float) -> float:
        """Return how many steps of so many seconds rows may wait for."""
        return PATIENCE / seconds

    def log(self, collect: Collect, under_way: int = 0) -> None:
        """Read the metrics of all steps, or of whole rows of them with as many left as are under way, and write them.

        Raises:
          NotFiniteError: a step has a fault that ends the run; the row holds the steps before it.
        """
        count = len(self.pending) - under_way
        count -= count % self.log_every if under_way else 0
        if count == 0:
            return
        taken = on_their_way.read(collect, self.pending[:count])
        del self.pending[:count]
        before = self.seconds
        self.tick()
        self.read_at = time.perf_counter()
        seconds, self.seconds = self.seconds - before, before
        self.take(np.array(taken), seconds)

    def take(self, metrics: np.ndarray, seconds: float) -> None:
        """Write rows about the next steps, whose metrics [steps, ...] these are, and which took some seconds together.

        Raises:
          NotFiniteError: see `log`.
        """
        before, count = self.seconds, len(metrics)
        columns, readings = on_their_way.columns(metrics, tuple(self.readings))
        faults = on_their_way.faults(columns)
        with self.writer.at_once():
            for start in range(0, count, self.log_every):
                stop = min(count, start + self.log_every)
                self.seconds = before + seconds * stop / count
                self._row(columns, readings, faults, start, stop)

    def _row(self, columns: Columns, readings: Columns, all_faults: list[str], start: int, stop: int) -> None:
        """Write one row about the steps from `start` to `stop`, and one of what the method tells."""
        faults = all_faults[start:stop]
        end = self._first_fault(faults)
        good = [start + i for i in range(end) if not faults[i]]
        if end and columns["line_values"][start] != UNKNOWN:
            line_calls = [int(sum(columns[name][start : start + end])) for name in ("line_values", "line_grads")]
            self.line = [so_far + now for so_far, now in zip(self.line or (0, 0), line_calls, strict=True)]
        if good:
            self.attempts = int(columns["search_attempts"][good[-1]])
            loss, accuracy = columns["loss"], columns["accuracy"]
            row = self.position(self.logged + end)
            row["loss"] = diagnosing.mean([loss[i] for i in good])
            row["accuracy"] = diagnosing.mean([accuracy[i] for i in good])
            row["grad_norm"] = columns["grad_norm"][good[-1]]
            row["images_per_second"] = self._speed(self.logged + end)
            row["step_seconds"] = round((self.seconds - self.logged_seconds) / max(1, end), 6)
            row["wait_seconds"] = round(self.wait_seconds, 6)
            row["skipped"] = self.skipped
            self.write("train", row)
            if readings:
                of_good = {name: [column[i] for i in good] for name, column in readings.items()}
                if fields := diagnosing.row(self.readings, of_good):
                    self.writer.write("diagnostics", **{**fields, **self.position(self.logged + end)})
        self.logged_seconds = self.seconds
        self.logged += end
        if end < stop - start:
            raise NotFiniteError(self.logged, faults[end])

    def _first_fault(self, faults: list[str]) -> int:
        """Return the first step that ends the run, or the number of steps; count those that are skipped."""
        if not any(faults):
            self.skipped_in_a_row = 0 if faults else self.skipped_in_a_row
            return len(faults)
        for step, fault in enumerate(faults):
            if not fault:
                self.skipped_in_a_row = 0
                continue
            if self.run.on_fault == "stop" or self.skipped_in_a_row + 1 > self.run.max_skips:
                return step
            self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1
        return len(faults)

    def _speed(self, step: int) -> float | None:
        """Return images a second so far; steps that were not timed do not count."""
        timed = step - self.untimed
        return round(timed * self.run.batch_size / self.seconds, 1) if timed > 0 and self.seconds else None

    # --- Rows ---------------------------------------------------------------------------------------------------------

    def start(self, *, label: str, phase: str, note: str, devices: int, compile_seconds: float, **more: Any) -> None:
        """Write the first row: the specification and where the numbers come from."""
        device = jax.devices()[0]
        self.writer.write(
            "start",
            spec=self.run.as_dict(),
            digest=self.run.digest(),
            label=label or self.run.method,
            phase=phase,
            data_note=note,
            steps=self.total,
            steps_per_epoch=self.epoch,
            devices=devices,
            compile_seconds=round(compile_seconds, 3),
            **{name: value for name, value in more.items() if value != ""},
            **records.provenance(f"{device.platform} {device.device_kind}"),
        )

    def position(self, step: int) -> dict[str, Any]:
        """Return where the run is: steps, epochs, oracle calls so far and training seconds."""
        calls = self.recipe.calls(step, self.attempts, None if self.line is None else (self.line[0], self.line[1]))
        return {
            "step": step,
            "epoch": round(step / self.epoch, 6),
            "value_calls": calls.values,
            "grad_calls": step + calls.grads,
            "hvp_calls": calls.hvps,
            "seconds": round(self.seconds, 4),
        }

    def evaluated(self, step: int, split: str, measured: Mapping[str, float]) -> bool:
        """Write the row of an evaluation, and return whether it is the best so far."""
        self.last_eval = {**self.position(step), "split": split, **measured}
        self.write("eval", self.last_eval)
        accuracy = measured["accuracy"]
        better, self.best = accuracy > self.best, max(accuracy, self.best)
        return better

    def trained(self, step: int, measured: Mapping[str, float]) -> None:
        """Write the row of an evaluation on training images.

        Raises:
          NotFiniteError: the loss is none.
        """
        if not math.isfinite(measured["loss"]):
            raise NotFiniteError(step, "training loss")
        self.write("train_eval", {**self.position(step), "split": "train", **measured})

    def write(self, kind: str, row: Mapping[str, Any]) -> None:
        """Write one row and tell it."""
        self.writer.write(kind, **row)
        if self.progress is not None:
            self.progress(step=row["step"], total=self._expected_total(row["step"]), row={"kind": kind, **row})

    def _expected_total(self, step: int) -> int:
        if self.run.seconds is None or not self.seconds or not step:
            return self.total
        return min(self.total, round(step * max(1.0, self.run.seconds / self.seconds)))

    def end(self, status: str, step: int, **fields: Any) -> None:
        """Write the last row."""
        fields |= {"skipped": self.skipped, "seconds": round(self.seconds, 4), "wait_seconds": self.wait_seconds}
        self.writer.write("end", status=status, step=step, **fields, peak_bytes=memory.peak_bytes())

    # --- Checkpoints --------------------------------------------------------------------------------------------------

    _KEPT = (
        "logged",
        "attempts",
        "line",
        "skipped",
        "skipped_in_a_row",
        "seconds",
        "wait_seconds",
        "logged_seconds",
        "untimed",
        "best",
    )

    def memory(self, collect: Collect) -> dict[str, Any]:
        """Return as JSON what `recall` needs to go on as if nothing had happened."""
        self.pending[:] = on_their_way.read(collect, self.pending)
        fields = {name: getattr(self, name) for name in self._KEPT}
        return {
            **fields,
            "pending": list(self.pending),
            "last_eval": dict(self.last_eval),
            "offset": self.writer.tell(),
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned; checkpoints from before attempts were counted know of none."""
        for name in self._KEPT:
            setattr(self, name, memory.get(name, _BEFORE[name]) if name in _BEFORE else memory[name])
        self.pending = [on_their_way.completed(m, tuple(self.readings)) for m in memory["pending"]]
        self.last_eval = dict(memory["last_eval"])
