"""Compare methods on a task: tune each with the same budget, then train with fresh seeds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from optaxaccel.tasks import batches, refusals
from optaxaccel.tasks.task import Task, from_loss
from optaxaccel.training.keeping import interrupt, probes, records
from optaxaccel.training.keeping.progress import Listener, telling
from optaxaccel.training.many.compared import Comparison, mean_score
from optaxaccel.training.many.contenders import Contender, Setting, check_file_names, contenders, file_name
from optaxaccel.training.many.training_members import Budget, MemberGroup, MemberJob
from optaxaccel.training.run.fields import plain
from optaxaccel.training.run.spec import UNLIMITED, Run
from optaxaccel.training.steps import fingerprint

TUNING_SEED = 10_000  # the first seed of tuning; those of final runs begin at 0
HELD_OUT = 0.1  # share of the training examples that settings are chosen on, where a task has no validation data


def compare(
    task: Any,
    methods: Any,
    *,
    steps: int | None = None,
    calls: int | None = None,
    seconds: float | None = None,
    seeds: int | Sequence[int] = 5,
    tune: Mapping[str, Sequence[Any]] | None = None,
    tune_seeds: int = 1,
    evaluations: int = 20,
    params: Any = None,
    data: Any = None,
    batch_size: int | None = None,
    folder: str | Path | None = None,
    probe: Sequence[str] = (),
    progress: Listener | bool = True,
) -> Comparison:
    """Compare methods on a problem of your own, or on a task that ships: which one helps?

    Every method gets the same budget and the same seeds: initial parameters, batches and noise are equal. Settings to
    try are chosen on validation data with other seeds, each with the whole budget; the chosen ones are then trained
    with `seeds` and measured on the test data. Runs that differ in seeds and numbers only are one compiled program.

    Args:
      task: a `Task`, a name of `optaxaccel.tasks.TASKS`, "my_file.py:make_task", or a plain loss: `loss(params)`, or
        `loss(params, batch)` with `data`; see `tasks.from_loss`.
      methods: {label: method}, or names. A method is a name such as "pal", with its arguments where it needs some
        ("optax.adam(learning_rate=0.1)"), a transformation, a factory, or (name or factory, {argument: value, or
        values to try}).
      steps: updates of every run; the task's own number without any budget.
      calls: instead, oracle calls: losses, gradients and Hessian products together.
      seconds: instead, seconds of training.
      seeds: number of final runs of each method, or the seeds themselves. Where every seed gives the same run (a fixed
        start and the whole data at every step) one is made, and the table says so.
      tune: {argument: values to try} for every method that has the argument; others are not tuned over it.
      tune_seeds: number of runs that choose a setting.
      evaluations: how often a run is measured, beside its start.
      params: of a plain loss, the parameters to begin at, or `init(key)` that draws them, a start for each seed.
      data: of a plain loss, what it is trained on: a tree of arrays. For test data, or a score other than the loss,
        pass a task: `tasks.from_loss(loss, params, train=data, test=test, score="accuracy", higher_is_better=True)`.
      batch_size: of a plain loss, examples a step, drawn anew each epoch from arrays that share their first axis. None
        is all of the data at every step; the table's first lines say which.
      folder: where records are written, a file a run; called again with the same, it goes on where it was stopped.
      probe: with a folder, eigenvalues of the Hessian that are measured with every evaluation of the final runs on one
        batch of the training examples: "sharpness", "smallest_eigenvalue". `records.probed` of
        `optaxaccel.training.keeping` reads them, `optaxaccel report FOLDER` draws them.
      progress: whether to show a bar in a terminal, or a function that is told (what, share).

    Returns:
      The comparison: `.table()`, `.plot(path)`, `.records`, `.best`.

    Raises:
      ValueError: the task, a method or a number cannot be meant; nothing is trained then.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> outcome = compare(lambda x: jnp.sum(x**2), {"sgd": optax.sgd(0.5), "slow": optax.sgd(0.25)},
      ...                   params=jnp.ones(2), steps=1, seeds=1)
      >>> outcome.best, [record.rows[-1]["loss"] for record in outcome.records]  # 2 (1 - 2 lr)^2
      ('sgd', [0.0, 0.5])
    """
    steps, calls, seconds, tune_seeds, evaluations = map(plain, (steps, calls, seconds, tune_seeds, evaluations))
    the_task = _task(task, params, data, plain(batch_size))
    budget = _budget(the_task, steps, calls, seconds)
    final_seeds = _seeds(seeds)
    _check_count("tune_seeds", tune_seeds)
    _check_count("evaluations", evaluations)
    refusals.check(the_task)
    everyone = contenders(methods, tune, batches.steps_per_epoch(the_task))
    probes.check(probe)
    if folder is not None:
        check_file_names(one.label for one in everyone)
    if probe and folder is None:
        raise ValueError(f"probe={tuple(probe)!r} writes rows of records, and there are none. Pass folder=PATH, too.")
    planned = _Comparing(the_task, budget, evaluations, None if folder is None else Path(folder))
    planned.probe = tuple(probe)
    if planned.alike and seconds is None:
        final_seeds, tune_seeds = final_seeds[:1], 1
    final = len(everyone) * len(final_seeds)
    tuning = sum(len(one.settings) for one in everyone if len(one.settings) > 1) * tune_seeds
    with planned.owning(), telling(progress, the_task.name, final + tuning) as tell:
        planned.tell = tell
        tried, chosen = [], []
        for one in everyone:
            tuned = planned.tune(one, [TUNING_SEED + k for k in range(tune_seeds)])
            tried += tuned
            chosen.append(_chosen(one, tuned, the_task))
        done = planned.train(the_task, chosen, final_seeds, "final")
    return Comparison(the_task.name, _score_of(the_task), [*tried, *done], [one.label for one in everyone])


class _Comparing:
    """What all runs of a comparison share."""

    def __init__(self, task: Task, budget: Budget, evaluations: int, folder: Path | None):
        self.task, self.budget, self.evaluations, self.folder = task, budget, evaluations, folder
        self.fingerprint = fingerprint.of_task(task, budget, evaluations) if folder else ""
        self.hash = {"data_hash": fingerprint.of_task(task)} if folder else {}
        self.alike = fingerprint.seeds_are_alike(task)
        self.tell: Any = None
        self.probe: tuple[str, ...] = ()
        self.traced: dict[int, str] = {}  # hashes of settings, by their ids

    def owning(self) -> Any:
        """Return a context in which the folder is this process's."""
        from contextlib import nullcontext

        return nullcontext() if self.folder is None else interrupt.locked(self.folder)

    def tune(self, contender: Contender, seeds: Sequence[int]) -> list[records.Record]:
        """Train every setting of a contender on data apart; nothing where there is one setting only."""
        if len(contender.settings) == 1:
            return []
        return self.train(_apart(self.task), contender.settings, seeds, "tune")

    def train(self, task: Task, settings: Sequence[Setting], seeds: Sequence[int], phase: str) -> list[records.Record]:
        """Train settings with seeds, those together that share a program; records that are there are read."""
        jobs = [self._job(setting, seed, phase) for setting in settings for seed in seeds]
        finished: dict[int, records.Record] = {}
        groups: dict[Any, list[int]] = {}
        for place, job in enumerate(jobs):
            earlier = self._finished(job)
            if earlier is not None:
                finished[place] = earlier
                self.tell(job.setting.label, 1.0, 1)
            else:
                groups.setdefault(_program_of(job.setting), []).append(place)
        for places in groups.values():
            probe = self.probe if phase == "final" else ()
            group = MemberGroup(task, [jobs[place] for place in places], self.budget, self.evaluations, probe)
            label, count = jobs[places[0]].setting.label, len(places)
            trained = group.train(self._facts(task), lambda share, label=label: self.tell(label, share, 0))
            self.tell(label, 1.0, count)
            finished.update(zip(places, trained, strict=True))
        return [finished[place] for place in range(len(jobs))]

    def _job(self, setting: Setting, seed: int, phase: str) -> MemberJob:
        arguments = {name: plain(value) for name, value in setting.arguments.items()}
        limit = {"seconds": self.budget.seconds, "steps": self.budget.steps}  # calls stand in the first row alone
        run = Run(task=self.task.name, method=setting.method, method_args=arguments, seed=seed, **limit)
        path = None
        if self.folder is not None:
            path = self.folder / f"{file_name(setting.label)}-{run.setting()}-{phase}-{seed}.jsonl"
        return MemberJob(setting, run, path, phase, self._marks(setting))

    def _facts(self, task: Task) -> dict[str, Any]:
        budget = {name: value for name, value in self.budget._asdict().items() if value}
        score = _score_of(task)
        facts = {"score": score, "budget": budget, "data_note": task.note, "batch": batches.in_words(task)}
        facts |= self.hash
        return {**facts, "seeds_are_alike": True} if self.alike else facts

    def _marks(self, setting: Setting) -> dict[str, str]:
        """Return by what a record in the folder is known to be of this very comparison."""
        if self.folder is None:
            return {}
        if id(setting) not in self.traced:
            self.traced[id(setting)] = fingerprint.of_method(setting.recipe, self.task)
        return {"fingerprint": f"{self.fingerprint}-{self.traced[id(setting)]}"}

    def _finished(self, job: MemberJob) -> records.Record | None:
        """Return the whole record of a job, if it is there."""
        if job.path is None or not job.path.exists() or not records.readable(job.path):
            return None
        earlier = records.read(job.path)
        if earlier.status not in ("done", "diverged"):
            return None
        label = job.setting.label
        if earlier.start.get("fingerprint") != job.marks["fingerprint"] or earlier.start["label"] != label:
            raise ValueError(
                f"{job.path} is of another comparison: the task's functions or data, the budget or {label} changed "
                "since, or another version of this package or of JAX wrote it. Pass another folder, or remove this one."
            )
        missing = set(self.probe) - {name for row in records.probed(job.path) for name in row}
        if job.phase == "final" and earlier.status == "done" and missing:
            raise ValueError(
                f"{job.path} is of a run that is done, without probe={sorted(missing)}. Pass another folder, remove "
                "this one, or leave probe= out."
            )
        return earlier


def _program_of(setting: Setting) -> Any:
    """Return what settings have in common that share a program."""
    static = repr(sorted(setting.recipe.static.items(), key=lambda item: item[0]))
    return setting.label, setting.method, static, tuple(sorted(setting.recipe.numbers))


def _chosen(contender: Contender, tried: Sequence[records.Record], task: Task) -> Setting:
    """Return the setting with the best mean of its tuning runs; those that diverged come last."""
    if len(contender.settings) == 1:
        return contender.settings[0]
    score = _score_of(_apart(task))
    each = len(tried) // len(contender.settings)
    parts = [tried[k * each : (k + 1) * each] for k in range(len(contender.settings))]
    if all(record.status != "done" for record in tried):
        return contender.settings[0]
    ranked = sorted(range(len(parts)), key=lambda k: mean_score(parts[k], score))
    return contender.settings[ranked[0]]


def _score_of(task: Task) -> dict[str, Any]:
    return {"metric": task.score, "higher_is_better": task.higher_is_better}


def _apart(task: Task) -> Task:
    """Return the task on which settings are chosen, so that the test data are never tuned on."""
    if task.validation is not None:
        return task.replace(test=task.validation)
    if task.batch_size is None or callable(task.train):
        return task.replace(test=None, score="loss", higher_is_better=False)
    count = batches.examples(task.train)
    order = np.random.default_rng(0).permutation(count)
    size = min(max(1, round(HELD_OUT * count)), count - task.batch_size)
    if size < 1:
        return task.replace(test=None)
    validation, rest = (
        jax.tree.map(lambda leaf, part=part: leaf[part], task.train) for part in (order[:size], order[size:])
    )
    return task.replace(train=rest, test=validation)


def _task(task: Any, params: Any, data: Any, batch_size: int | None) -> Task:
    if isinstance(task, str):
        from optaxaccel import tasks

        task = tasks.make(task)
    if isinstance(task, Task) or not callable(task):
        for name, value in {"params": params, "data": data, "batch_size": batch_size}.items():
            if value is not None:
                raise ValueError(
                    f"{name}= is for a plain loss; a task has its own. Pass task.replace(...), or leave it out."
                )
        return task
    if params is None:
        raise ValueError(
            "A plain loss needs a start. Pass compare(loss, methods, params=params), with data=batch if it is "
            "loss(params, batch)."
        )
    return from_loss(task, params, train=data, batch_size=batch_size)


def _budget(task: Any, steps: int | None, calls: int | None, seconds: float | None) -> Budget:
    limits = {
        name: value for name, value in (("steps", steps), ("calls", calls), ("seconds", seconds)) if value is not None
    }
    if len(limits) > 1:
        raise ValueError(f"{' and '.join(limits)} are both given, and runs would end with neither. Pass one of them.")
    for name, value in limits.items():
        whole = name == "seconds" or (isinstance(value, int) and not isinstance(value, bool))
        if not (whole and isinstance(value, (int, float)) and 0 < value <= UNLIMITED):
            raise ValueError(f"{name}={value!r} is no budget. Pass {name}={'a number' if name == 'seconds' else 1000}.")
    return Budget(steps, calls, seconds) if limits else Budget(steps=getattr(task, "steps", 1))


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    seeds = plain(seeds)
    if not isinstance(seeds, Iterable):
        _check_count("seeds", seeds)
        return list(range(seeds))
    chosen = [plain(seed) for seed in seeds]
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"seeds={seeds!r} are none, or one stands twice. Pass seeds=5, or each seed once.")
    return chosen


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} is no number of them. Pass {name}=1 or more.")
