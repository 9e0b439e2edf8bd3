"""The loop of a task: as many steps in one compiled call as there are until something is due."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel import tasks
from optaxaccel.tasks import batches, refusals
from optaxaccel.tasks.task import Task
from optaxaccel.training import starting
from optaxaccel.training.begun import RunFailedError
from optaxaccel.training.ended import Outcome
from optaxaccel.training.keeping import probes, records
from optaxaccel.training.keeping.journal import Progress
from optaxaccel.training.keeping.keep import Keep, Keeper, resumes
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.spec import UNLIMITED, Run
from optaxaccel.training.steps import diagnosing, fingerprint, members
from optaxaccel.training.steps.member import Member
from optaxaccel.training.steps.state import TrainState, counts

EVALUATIONS = 20  # of a run whose task has no epochs
PATIENCE = 0.5  # seconds of one call at most, so that a signal is heard and a checkpoint written in time
_OF_IMAGES = (  # fields that say nothing of a task; what they would is the task's own business
    *("model", "model_args", "data", "train_split", "test_split", "validation", "batch_size", "normalise"),
    *("image_size", "crop", "flip", "augment", "precision", "micro_batches", "remat", "parallel", "on_fault"),
    *("max_skips", "extrapolate", "data_dir"),
)


def check(run: Run) -> Task:
    """Return a run's task; refuse before any work one that cannot start.

    Raises:
      ValueError: the task or the method cannot be meant, or a field is for images.
    """
    usual = Run()
    for name in _OF_IMAGES:
        if getattr(run, name) != getattr(usual, name):
            raise ValueError(
                f"{name}={getattr(run, name)!r} is for images, and task={run.task!r} has its own model and data. Leave "
                "it out; arguments of the task go into --task-args K=V."
            )
    if run.weight_decay and run.decay != "loss":
        raise ValueError("decay='decoupled' is for images. Pass --decay loss, or a method with decay of its own.")
    arguments = dict(run.task_args)
    task = tasks.make(run.task, size=arguments.pop("size", "small"), **arguments)
    refusals.check(task)
    optimizer.recipe(run, total_steps=1, steps_per_epoch=1)
    return task


def data_hash(run: Run, task: Task) -> str:
    """Return a hash of a task of one's own, or of one that was given data; "" of others."""
    return fingerprint.of_run(run, task)


def train(
    run: Run,
    path: Path,
    *,
    label: str = "",
    phase: str = "final",
    progress: Progress | None = None,
    keep: Keep | None = None,
    also: Sequence[records.Sink] = (),
    probe: Sequence[str] = (),
) -> Outcome:
    """Train a run of a task and write its record; see `optaxaccel.training.loop.train`, which calls this."""
    task = check(run)
    epoch = batches.steps_per_epoch(task)
    total = task.steps if run.steps is None and run.epochs is None and run.seconds is None else run.total_steps(epoch)
    start, own = None if resumes(keep) else starting.load(run), data_hash(run, task)
    with Keeper(run, keep) as keeper, jax.enable_x64(task.precision == "float64"):
        running = Running(run, task, total)
        if start is not None:
            running.start_from(start)
        checkpoint = keeper.restore({"member": running.one.kept})
        if checkpoint and checkpoint.step > total:
            raise ValueError(
                f"the run has made {checkpoint.step:,} updates already, and {total:,} are asked for. Pass more."
            )
        offset = records.going_on(path, checkpoint.memory["offset"], run, total, own) if checkpoint else 0
        with records.Writer(path if jax.process_index() == 0 else None, offset=offset, also=also) as writer:
            running.open(writer, keeper, progress)
            running.probing = probes.Probing(probe, running.task) if probe else None
            if checkpoint:
                running.recall(checkpoint)
            else:
                running.start(label or run.method, phase, {"data_hash": own} if own else {})
            try:
                return running.to_end()
            except (ValueError, TypeError, LookupError, FileNotFoundError) as error:
                raise RunFailedError(f"the run had begun, and failed: {type(error).__name__}: {error}") from error


class Running:
    """A run of a task in progress."""

    def __init__(self, run: Run, task: Task, total: int):
        """Compile, and begin at step 0."""
        began = time.perf_counter()
        self.run, self.task, self.total = run, _penalised(task, run.weight_decay), total
        self.epoch = batches.steps_per_epoch(task)
        self.planned = task.steps if total == UNLIMITED else total  # what intervals are shares of
        self.log_every = run.log_every or max(1, (self.epoch if self.epoch > 1 else self.planned) // 10)
        self.recipe = optimizer.recipe(run, total_steps=total, steps_per_epoch=self.epoch)
        self.data = members.data_of(task)
        self.program, _ = members.program(self.task, self.recipe, self.data, 1)
        kind = np.float64 if task.precision == "float64" else np.float32
        as_given = {n: _whole(run.method_args.get(n), v) for n, v in self.recipe.numbers.items()}
        self.numbers = {name: np.asarray(value, kind)[None] for name, value in as_given.items()}
        self.member = self.program.init(self.data, np.array([run.seed], np.uint32), self.numbers)
        self.member = self._advanced(0, 0)
        jax.block_until_ready(self.program.measure(self.data, self.member))
        self.compile_seconds = time.perf_counter() - began
        self.step, self.seconds, self.each, self.best, self.last = 0, 0.0, 0.0, math.inf, {}
        self.probing: probes.Probing | None = None

    def open(self, writer: records.Writer, keeper: Keeper, progress: Progress | None) -> None:
        """Take where rows and checkpoints go."""
        self.writer, self.keeper, self.progress = writer, keeper, progress

    def start(self, label: str, phase: str, more: Mapping[str, Any]) -> None:
        """Write the first row, and measure the start."""
        device = jax.devices()[0]
        self.writer.write(
            "start",
            spec=self.run.as_dict(),
            digest=self.run.digest(),
            label=label,
            phase=phase,
            score={"metric": self.task.score, "higher_is_better": self.task.higher_is_better},
            data_note=self.task.note,
            steps=self.total,
            steps_per_epoch=self.epoch,
            devices=1,
            compile_seconds=round(self.compile_seconds, 3),
            **more,
            **records.provenance(f"{device.platform} {device.device_kind}"),
        )
        self.look(0, evaluates=True)

    def start_from(self, start: starting.Start) -> None:
        """Take other parameters than the task's own, before the first step."""
        tx = self.recipe.build({name: value[0] for name, value in self.numbers.items()})
        self.take(dataclasses.replace(self.one, state=starting.started(start, self.state, tx)))  # pyright: ignore

    def take(self, one: Member) -> None:
        """Take the place of the member, in arrays that no device is committed to, for which the step is compiled."""
        one = jax.tree.map(jnp.asarray, jax.device_get(one))
        self.member = [one] if isinstance(self.member, list) else jax.tree.map(lambda leaf: leaf[None], one)

    def recall(self, checkpoint: Any) -> None:
        """Go on from a checkpoint."""
        self.step = checkpoint.step
        readings = diagnosing.recalled(self.one.diagnostics, checkpoint.memory.get("diagnostics", {}))
        kept = checkpoint.tree["member"]
        self.take(Member(**{name: getattr(kept, name) for name in vars(kept)}, diagnostics=readings))
        for name in ("seconds", "best", "last"):
            setattr(self, name, checkpoint.memory[name])
        self.best = float(self.best)

    def to_end(self) -> Outcome:
        """Train to the end, to a fault or to a signal."""
        while self.step < self.total and not self.keeper.asked_to_stop():
            due = self.next_look(self.step)
            while self.step < min(due, self.total) and not self.keeper.asked_to_stop():  # the seconds may end before
                self.advance(due)
            if self.step < min(due, self.total):
                break
            evaluates = self.step == self.total or self.step == self.next_evaluation(due - 1)
            if (evaluates or self.step % self.log_every == 0) and (fault := self.look(self.step, evaluates)):
                self.end("diverged", fault[0], what=fault[1])
                return Outcome("diverged", fault[0], self.state, self.last)
            stays = self.keeper.interval(self.epoch)
            if stays and self.step % stays == 0:
                self.keeper.save_kept(self.step, {"state": self.state})
            if self.keeper.due():
                self.keeper.save(self.step, {"member": self.one.kept}, self.memory())
        self.keeper.save(self.step, {"member": self.one.kept}, self.memory(), wait=True)
        if self.step < self.total:
            return Outcome("stopped", self.step, self.state, self.last, self.keeper.stopped_by)
        self.end("done", self.step, **counts(self.state))
        return Outcome("done", self.step, self.state, self.last)

    def advance(self, until: int) -> None:
        """Make steps for half a second at most."""
        size = until - self.step if not self.each else max(1, round(PATIENCE / self.each))
        size = min(size, until - self.step, 1000 if not self.each else 10**9)
        started = time.perf_counter()
        self.member = jax.block_until_ready(self._advanced(self.step, self.step + size))
        took = time.perf_counter() - started
        self.each, self.step, self.seconds = took / size, self.step + size, self.seconds + took
        if self.run.seconds is not None and self.seconds >= self.run.seconds:
            self.total = min(self.total, self.step)

    def _advanced(self, start: int, stop: int) -> Any:
        return self.program.advance(self.data, self.numbers, self.member, start, stop)

    def next_evaluation(self, step: int) -> int:
        """Return the first step after `step` that is evaluated."""
        if self.epoch > 1:
            return self.run.next_evaluation(step, self.epoch)
        every = max(1, self.planned // EVALUATIONS)
        return (step // every + 1) * every

    def next_look(self, step: int) -> int:
        """Return the first step after `step` at which a row is due."""
        due = min(self.total, self.next_evaluation(step), (step // self.log_every + 1) * self.log_every)
        stays = self.keeper.interval(self.epoch)
        return min(due, (step // stays + 1) * stays) if stays else due

    def look(self, step: int, evaluates: bool) -> tuple[int, str] | None:
        """Write what is due, and return the fault that ends the run, if there is one."""
        totals, self.member = members.look(self.member)
        own = {name: value[0] for name, value in totals.items()}
        if own["fault"] >= 0:
            return int(own["fault"]), "loss, gradient or measurement"
        at = self.position(step, own)
        if own["steps"]:
            row = {"loss": float(own["loss_sum"]) / int(own["steps"]), "grad_norm": float(own["grad_norm"])}
            self.write("train", {**at, **row, "step_seconds": round(self.each, 9)})
        if readings := diagnosing.row_of_totals(own):
            self.writer.write("diagnostics", **{**readings, **at})
        if not evaluates:
            return None
        measured = jax.device_get(self.program.measure(self.data, self.member))
        metrics = {name: float(value[0]) for name, value in measured.items()}
        if not all(map(math.isfinite, (metrics["loss"], metrics[self.task.score]))):
            return step, "loss or score of the evaluation"
        self.last = {**at, "split": "test", **metrics}
        self.write("eval", self.last)
        if self.probing is not None:
            numbers = {name: value[0] for name, value in self.numbers.items()}
            self.write("probe", {**at, **self.probing(step, numbers, self.state)})
        worth = -metrics[self.task.score] if self.task.higher_is_better else metrics[self.task.score]
        if worth < self.best and step:
            self.keeper.save_best(step, {"state": self.state}, self.last)
        self.best = min(self.best, worth)
        return None

    def position(self, step: int, totals: Mapping[str, Any]) -> dict[str, Any]:
        """Return where the run is: steps, epochs, oracle calls so far and training seconds."""
        line = (int(totals["values"]), int(totals["grads"])) if self.program.searches else None
        calls = self.recipe.calls(step, int(totals["attempts"]), line)
        oracle_calls = {"value_calls": calls.values, "grad_calls": step + calls.grads, "hvp_calls": calls.hvps}
        return {"step": step, "epoch": round(step / self.epoch, 6), **oracle_calls, "seconds": round(self.seconds, 6)}

    def write(self, kind: str, row: Mapping[str, Any]) -> None:
        """Write one row and tell it."""
        self.writer.write(kind, **row)
        if self.progress is not None:
            self.progress(step=row["step"], total=self.total, row={"kind": kind, **row})

    def end(self, status: str, step: int, **fields: Any) -> None:
        """Write the last row."""
        self.writer.write("end", status=status, step=step, **fields, seconds=round(self.seconds, 6))

    def memory(self) -> dict[str, Any]:
        """Return as JSON what `recall` needs."""
        readings = {name: value.item() for name, value in jax.device_get(self.one.diagnostics).items()}
        rest = {"seconds": self.seconds, "best": str(self.best), "last": dict(self.last), "diagnostics": readings}
        return {"offset": self.writer.tell(), **rest}

    @property
    def one(self) -> Member:
        """Return the member alone."""
        return self.member[0] if isinstance(self.member, list) else jax.tree.map(lambda leaf: leaf[0], self.member)

    @property
    def state(self) -> TrainState:
        """Return the state of the run alone."""
        return self.one.state


def _whole(number: Any, rounded: Any) -> Any:
    """Return a number as it was given; a recipe has it in single precision, or as the table of a schedule."""
    return number if np.ndim(rounded) == 0 and isinstance(number, (int, float)) else rounded


def _penalised(task: Task, strength: float) -> Task:
    """Return the task with weight decay in its training loss: strength / 2 times the squared norm."""
    if not strength:
        return task

    def loss(params, net_state, batch, *, key, train):
        value, aux = task.loss(params, net_state, batch, key=key, train=train)
        if train:
            value += 0.5 * strength * sum(jnp.sum(jnp.square(p)) for p in jax.tree.leaves(params))
        return value, aux

    return task.replace(loss=loss)
