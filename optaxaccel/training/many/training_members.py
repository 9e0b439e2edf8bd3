"""Train the members of a group from one evaluation to the next, and write the record of each."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from optaxaccel.methods import Cost
from optaxaccel.tasks import batches
from optaxaccel.tasks.task import Task
from optaxaccel.training.keeping import probes, records
from optaxaccel.training.many.contenders import Setting
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import diagnosing, members
from optaxaccel.training.steps.state import counts

Row = dict[str, Any]
ROUNDS = 8  # parts of an interval of a time budget, so that it is met closely


class Budget(NamedTuple):
    """What every run may use up: one of these is given.

    Attributes:
      steps: updates.
      calls: oracle calls: losses, gradients (the one that the method is handed included) and Hessian products.
      seconds: of training, compiling and evaluating apart; of a run's share where runs are trained together.
    """

    steps: int | None = None
    calls: int | None = None
    seconds: float | None = None


class MemberJob(NamedTuple):
    """One run: how it is built, its specification, its record's file (None keeps it in memory), phase and marks.

    Marks go into its first row: by them its record is known again.
    """

    setting: Setting
    run: Run
    path: Path | None
    phase: str
    marks: Mapping[str, str]


class MemberGroup:
    """Jobs that share a program."""

    def __init__(
        self, task: Task, jobs: Sequence[MemberJob], budget: Budget, evaluations: int, probe: Sequence[str] = ()
    ):
        """Take the jobs, and which probes of curvature are measured with every evaluation; nothing is compiled yet."""
        self.task, self.jobs, self.budget, self.evaluations, self.probe = task, jobs, budget, evaluations, probe
        self.epoch, self.seconds = batches.steps_per_epoch(task), 0.0

    def train(self, facts: Mapping[str, Any], tell: Callable[[float], None]) -> list[records.Record]:
        """Train all and return their records; `facts` go into the first rows, `tell` hears the share that is done."""
        with jax.enable_x64(self.task.precision == "float64"), ExitStack() as closing:
            self.probing = probes.Probing(self.probe, self.task) if self.probe else None
            compiled = self._compile()
            facts_of_group = {**facts, "compile_seconds": round(compiled, 3), "members": len(self.jobs)}
            books = [
                _Book(job, closing.enter_context(records.Writer(job.path)), self, facts_of_group) for job in self.jobs
            ]
            self._look(books)
            for share in self._intervals():
                self._look(books)
                tell(share)
                if all(book.end for book in books):
                    break
            for place, book in enumerate(books):
                book.finish("done", **self._counts(place))
            return [book.record() for book in books]

    def _compile(self) -> float:
        """Compile, and begin all members; return the seconds that it took."""
        started, count = time.perf_counter(), len(self.jobs)
        self.recipe = self.jobs[0].setting.recipe
        self.data = members.data_of(self.task)
        self.program, places = members.program(self.task, self.recipe, self.data, count)
        if not self.recipe.method.paper:  # no card tells what it costs
            cost = Cost(values=float(self.program.values))
            self.recipe = self.recipe._replace(method=self.recipe.method._replace(cost=cost))
        chosen = [self.jobs[min(place, count - 1)] for place in range(places)]
        kind = np.float64 if self.task.precision == "float64" else np.float32
        values = [job.setting.arguments for job in chosen]
        self.numbers = {name: np.array([one[name] for one in values], kind) for name in self.recipe.numbers}
        seeds = np.array([job.run.seed for job in chosen], np.uint32)
        self.members = self.program.init(self.data, seeds, self.numbers)
        self._advance(0, 0)  # compiles
        self.measured = self.program.measure(self.data, self.members)
        jax.block_until_ready((self.members, self.measured))
        self.seconds = 0.0
        return time.perf_counter() - started

    def _advance(self, start: int, stop: int, calls: int | None = None) -> None:
        """Make steps, and count the seconds of a member's share."""
        started = time.perf_counter()
        if calls is None and self.budget.calls is not None and self.program.counted:
            calls = 0
        self.members = self.program.advance(self.data, self.numbers, self.members, start, stop, calls)
        jax.block_until_ready(self.members)
        self.seconds += (time.perf_counter() - started) / len(self.jobs)

    def _intervals(self) -> Iterator[float]:
        """Train from one evaluation to the next; yield the share of the budget that is used up."""
        shares = [(k + 1) / self.evaluations for k in range(self.evaluations)]
        if self.budget.seconds is not None:
            yield from self._until_seconds(shares)
        elif self.budget.calls is not None and self.program.counted:
            for share in shares:
                self._advance(0, self.budget.calls, max(1, round(share * self.budget.calls)))
                yield share
        else:
            total, done = self._steps(), 0
            for stop in sorted({max(1, round(share * total)) for share in shares}):
                self._advance(done, stop)
                done = stop
                yield stop / total

    def _steps(self) -> int:
        """Return the number of updates that the budget pays."""
        if self.budget.calls is None:
            return self.budget.steps or self.task.steps
        return max(1, math.floor(self.budget.calls / (1.0 + sum(self.recipe.calls(1, 1)))))

    def _until_seconds(self, shares: Sequence[float]) -> Iterator[float]:
        budget, done, size = self.budget.seconds or 0.0, 0, 1
        for share in shares:
            while self.seconds < share * budget:
                before = self.seconds
                self._advance(done, done + size)
                done += size
                each = max(self.seconds - before, 1e-9) / size
                left = max(share * budget - self.seconds, 0.0)
                size = max(1, min(2 * size, round(min(left, budget / len(shares) / ROUNDS) / each)))
            yield share

    def _look(self, books: Sequence["_Book"]) -> None:
        """Write the rows of all members under way, and let those end that met a fault."""
        totals, self.members = members.look(self.members)
        measured = jax.device_get(self.program.measure(self.data, self.members))
        for place, book in enumerate(books):
            if not book.end:
                own = {name: value[place] for name, value in totals.items()}
                book.write(own, {name: float(value[place]) for name, value in measured.items()})
                if self.probing is not None and not book.end:
                    book.probe(own, self._probed(self.probing, place, int(own["done"])))

    def _probed(self, probing: probes.Probing, place: int, step: int) -> Mapping[str, float]:
        numbers = {name: value[place] for name, value in self.numbers.items()}
        every: Any = self.members
        member = every[place] if isinstance(every, list) else jax.tree.map(lambda leaf: leaf[place], every)
        return probing(step, numbers, member.state)

    def _counts(self, place: int) -> dict[str, int]:
        if isinstance(self.members, list):
            return counts(self.members[place].state)
        return counts(self.members.state, place)


class _Book:
    """The rows of one run."""

    def __init__(self, job: MemberJob, writer: records.Writer, group: MemberGroup, facts: Mapping[str, Any]):
        self.job, self.writer, self.group = job, writer, group
        self.rows: list[Row] = []
        self.end: Row = {}
        spec = {"spec": job.run.as_dict(), "digest": job.run.digest(), "label": job.setting.label, "phase": job.phase}
        device = jax.devices()[0]
        more = {"steps_per_epoch": group.epoch, **records.provenance(f"{device.platform} {device.device_kind}")}
        self.start = self._row("start", **spec, **facts, **job.marks, **more)

    def write(self, totals: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write what a look at the member told, and its evaluation."""
        done, fault = int(totals["done"]), int(totals["fault"])
        if fault >= 0:
            self.finish("diverged", step=fault, what="loss, gradient or measurement")
            return
        at = self._position(done, totals)
        if done:
            loss = float(totals["loss_sum"]) / max(1, int(totals["steps"]))
            self.rows.append(self._row("train", **at, loss=loss, grad_norm=float(totals["grad_norm"])))
        if readings := diagnosing.row_of_totals(totals):
            self._row("diagnostics", **{**readings, **at})
        if not all(map(math.isfinite, (metrics["loss"], metrics[self.group.task.score]))):
            self.finish("diverged", step=done, what="loss or score of the evaluation")
            return
        split = "validation" if self.job.phase == "tune" else "test"
        self.rows.append(self._row("eval", **at, split=split, **metrics))

    def probe(self, totals: Mapping[str, Any], numbers: Mapping[str, float]) -> None:
        """Write what probes of curvature found."""
        self._row("probe", **self._position(int(totals["done"]), totals), **numbers)

    def _position(self, step: int, totals: Mapping[str, Any]) -> Row:
        line = (int(totals["values"]), int(totals["grads"])) if self.group.program.searches else None
        calls = self.group.recipe.calls(step, int(totals["attempts"]), line)
        return {
            "step": step,
            "epoch": round(step / self.group.epoch, 6),
            "value_calls": calls.values,
            "grad_calls": step + calls.grads,
            "hvp_calls": calls.hvps,
            "seconds": round(self.group.seconds, 6),
        }

    def finish(self, status: str, **fields: Any) -> None:
        """Write the last row, unless it is there."""
        if not self.end:
            fields.setdefault("step", self.rows[-1]["step"] if self.rows else 0)
            self.end = self._row("end", status=status, **fields, seconds=round(self.group.seconds, 6))

    def record(self) -> records.Record:
        """Return the record."""
        return records.Record(self.job.path or Path(), self.start, self.rows, self.end)

    def _row(self, kind: str, **fields: Any) -> Row:
        self.writer.write(kind, **fields)
        return {"kind": kind, **fields}
