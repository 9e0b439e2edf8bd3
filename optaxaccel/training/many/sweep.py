"""Many runs: grids of them, and training that goes on where one fails and begins where a stopped one ended."""

import dataclasses
import errno
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from optaxaccel import data, registry
from optaxaccel.training import loop
from optaxaccel.training.many.recorded import finished, finished_before, record_failure
from optaxaccel.training.many.together import Group, Job
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.argument_text import parse_arguments, text_of
from optaxaccel.training.run.spec import SEED, Run, setting_of
from optaxaccel.training.steps import program

_TRACED = SEED | {"method_args", "schedule", "weight_decay"}  # numbers that a program takes, where they are numbers
Vectorize = bool | Literal["auto"]

say = logging.getLogger(__name__).warning


def grid(base: Run, *, seeds: Sequence[int] = (), **fields: Any) -> list[Run]:
    """Return the product of settings as runs, the last axis and then the seeds changing fastest.

    Args:
      base: what all runs have in common.
      seeds: the seeds of every setting; none means that of `base`.
      fields: for each field of `Run` the values that it takes; for a field that is a mapping itself (`method_args`,
        `schedule`, `model_args`, `extrapolate`) a mapping from its entries to their values.

    Raises:
      ValueError: a field is unknown, or an axis has no values.

    Example:
      >>> base = Run(method="optax.sgd", method_args={"momentum": 0.9})
      >>> runs = grid(base, seeds=(1, 2), method_args={"learning_rate": (0.1, 0.3)}, batch_size=(32, 64))
      >>> len(runs)
      8
      >>> runs[1].method_args, runs[1].batch_size, runs[1].seed
      ({'momentum': 0.9, 'learning_rate': 0.1}, 32, 2)
    """
    axes = [list(_axis(base, name, values)) for name, values in fields.items()]
    axes = [axis for pair in axes for axis in pair] + ([("seed", None, list(seeds))] if seeds else [])
    for name, entry, values in axes:
        if not values:
            raise ValueError(f"The axis {entry or name} has no values. Give it one at least.")
        twice = [value for i, value in enumerate(values) if value in values[:i]]
        if twice:
            raise ValueError(f"The axis {entry or name} has {twice[0]!r} twice. Give every value once.")
    runs = []
    for choice in itertools.product(*(values for _, _, values in axes)):
        changes: dict[str, Any] = {}
        for (name, entry, _), value in zip(axes, choice, strict=True):
            changes[name] = value if entry is None else {**changes.get(name, getattr(base, name)), entry: value}
        runs.append(base.replace(**changes))
    return runs


def _axis(base: Run, name: str, values: Any) -> Iterator[tuple[str, str | None, list[Any]]]:
    known = [field.name for field in dataclasses.fields(Run)]
    if name not in known:
        raise registry.unknown("field of Run", name, known)
    if not isinstance(getattr(base, name), Mapping):
        yield name, None, list(values)
        return
    if not isinstance(values, Mapping):
        raise ValueError(f"{name}={values!r} names no entries. Pass {name}={{'argument': (value, value)}}.")
    for entry, choices in values.items():
        yield name, entry, list(choices)


def axes(texts: Sequence[str]) -> dict[str, Any]:
    """Return the fields of `grid` that texts like "momentum=0.0,0.9" ask for.

    A name is a field of `Run`, an entry of one ("schedule.learning_rate"), or else an argument of the method.

    Raises:
      ValueError: a text is something else, or two have one name.

    Example:
      >>> axes(["momentum=0.0,0.9", "batch_size=32,64", "schedule.learning_rate=cosine_decay_schedule(decay_steps=9)"])
      {'method_args': {'momentum': (0.0, 0.9)}, 'batch_size': (32, 64), 'schedule': {'learning_rate': ({'name': \
'cosine_decay_schedule', 'decay_steps': 9},)}}
    """
    known = {field.name for field in dataclasses.fields(Run)}
    fields: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip()
        field, dot, entry = name.partition(".")
        if not (equals and values.strip() and field):
            raise ValueError(f"{text!r} is no axis of a grid. Write NAME=V,V,... with literal values.")
        choices = parse_arguments(f"values=({values},)")["values"]
        place = fields
        if dot or name not in known:
            place = fields.setdefault(field if dot else "method_args", {})
        if (entry or name) in place:
            raise ValueError(f"{name} has two axes. Write all its values behind one --grid {name}=.")
        place[entry or name] = choices
    return fields


def label(run: Run, base: Run) -> str:
    """Return in words in what a run differs from the one that its grid was made from, but for the seed.

    Example:
      >>> base = Run(method="optax.sgd", method_args={"momentum": 0.9})
      >>> slope = {"learning_rate": {"name": "cosine_decay_schedule", "decay_steps": 9}}
      >>> label(base.replace(batch_size=32, schedule=slope, seed=3), base)
      'schedule.learning_rate=cosine_decay_schedule(decay_steps=9) batch_size=32'
    """
    words = []
    for name, value in run.as_dict().items():
        usual: Any = base.as_dict().get(name) or {} if isinstance(value, dict) else base.as_dict().get(name)
        if isinstance(value, dict):
            dotted = "" if name == "method_args" else f"{name}."
            words += [f"{dotted}{k}={text_of(v)}" for k, v in value.items() if k not in usual or v != usual[k]]
        elif value != usual and name != "seed":
            words.append(f"{name}={value}")
    return " ".join(words) or run.method


# --- Many runs --------------------------------------------------------------------------------------------------------


def train_many(
    runs: Sequence[Run],
    paths: Sequence[Path],
    *,
    labels: Sequence[str] | None = None,
    phase: str = "final",
    vectorize: Vectorize = "auto",
    progress: Callable[[int, str], None] | None = None,
) -> list[str]:
    """Train runs, those together that differ in seeds and numbers only, and write a record each.

    Runs whose record is there and whole are not trained again. Of runs that are trained together each gets an equal
    share of the seconds, and its first row says among how many. A run that fails is recorded as "failed", with the
    reason, and the others go on; it is tried again the next time, as is one whose record is unfinished.

    Args:
      runs: the specifications.
      paths: their records' files.
      labels: what tables call them; the methods' names by default.
      phase: "final", or "tune" for runs that only choose a setting.
      vectorize: whether to train runs together where it pays: True refuses runs that cannot be, and says where it does
        not pay; "auto" trains those one after the other without a word, False all of them.
      progress: told of every run that ended: its index in `runs` and its status, "finished before" for a record that
        was there.

    Returns:
      Each run's status: "done", "diverged" or "failed".

    Raises:
      ValueError: a run cannot start, or a record there is another run's, or `vectorize` is True and a run forbids it;
        nothing is trained then. OSError: the disk is full.
    """
    labels = [run.method for run in runs] if labels is None else list(labels)
    jobs = jobs_of(runs, paths, labels, phase, vectorize)
    statuses = {}

    def ended(job: Job, status: str, said: str = "") -> None:
        statuses[job.index] = status
        if progress is not None:
            progress(job.index, said or status)

    before = finished_before(jobs)
    for job in jobs:
        if job.index in before:
            ended(job, before[job.index], "finished before")
    for group in groups_of([job for job in jobs if job.index not in before], vectorize):
        _train_group(group, ended, vectorize)
    return [statuses[job.index] for job in jobs]


def jobs_of(
    runs: Sequence[Run], paths: Sequence[Path], labels: Sequence[str], phase: str, vectorize: Vectorize
) -> list[Job]:
    """Return the jobs of runs.

    Raises:
      ValueError: see `train_many`.
    """
    if not len(runs) == len(paths) == len(labels) or len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(
            f"{len(runs)} runs, {len(paths)} paths and {len(labels)} labels. Give a path of its own to each."
        )
    for run in {run.setting(): run for run in runs}.values():
        loop.check(run)
    if vectorize is True and (reasons := {r for r in map(why_not, runs) if r}):
        raise ValueError(f"vectorize=True, but {'; '.join(sorted(reasons))}. Pass vectorize='auto'.")
    return [Job(i, *job, phase) for i, job in enumerate(zip(runs, paths, labels, strict=True))]


def why_not(run: Run) -> str:
    """Return why a run cannot be trained together with others, or an empty string."""
    if jax.process_count() > 1:
        return "several processes train one run at a time"
    if run.task:
        return "seeds and settings of a task are trained together by optaxaccel compare"
    if run.start_from:
        return "start_from begins at the checkpoint of one run"
    if run.parallel == "pmap":
        return "parallel='pmap' has a step of its own"
    if run.extrapolate:
        return "extrapolate is done beside one run at a time"
    if run.seconds is not None:
        return "seconds is the budget of a run that has the machine for itself"
    if data.card_of(run.data, run.data_dir).streamed:
        return f"{run.data} is streamed"
    return ""


def groups_of(jobs: Sequence[Job], vectorize: Vectorize) -> list[list[Job]]:
    """Group jobs that share a program, in the order in which their first ones come."""
    groups: dict[str, list[Job]] = {}
    common: dict[str, str] = {}
    for job in jobs:
        setting = job.run.setting()
        if setting not in common:
            together = vectorize is not False and not why_not(job.run)
            common[setting] = _common(job.run) if together else ""
        groups.setdefault(common[setting] or f"alone {job.index}", []).append(job)
    return list(groups.values())


def _common(run: Run) -> str:
    """Return what runs have in common that are trained together."""
    recipe = optimizer.recipe(run, total_steps=1, steps_per_epoch=1)
    rest = setting_of(run.as_dict(), _TRACED)
    decays, numbers = run.weight_decay > 0, program.numbers_of(run, recipe)
    return repr((rest, decays, sorted(recipe.static.items()), jax.tree.map(np.shape, numbers)))


def _train_group(jobs: Sequence[Job], ended: Callable[..., None], vectorize: Vectorize) -> None:
    left = list(jobs)
    for part, statuses in _trained_together(jobs, vectorize) if len(jobs) > 1 else ():
        del left[: len(part)]
        for job, status in zip(part, statuses, strict=True):
            ended(job, status)
    for job in left:  # those of a group that failed may have ended before it did
        ended(job, finished(job) or _train_alone(job))


def _trained_together(jobs: Sequence[Job], vectorize: Vectorize) -> Iterator[tuple[Sequence[Job], list[str]]]:
    """Yield those trained at once with their statuses; whatever goes wrong, the others are left to be trained alone."""
    try:
        group = Group(jobs[0].run, len(jobs))
        if not group.pays and vectorize is True:
            say(f"{jobs[0].run.model} has convolutions, which a CPU computes faster one run after the other.")
        parts = list(group.parts(jobs)) if group.pays else []
    except Exception as error:
        _not_together(jobs, error)
        return
    for part in parts:
        try:
            statuses = group.train(part)
        except Exception as error:
            _not_together(jobs, error)
            return
        yield part, statuses


def _not_together(jobs: Sequence[Job], error: Exception) -> None:
    _stop_if_disk_is_full(error)
    say(f"{len(jobs)} runs of {jobs[0].run.method} are not trained together: {_said(error)}")


def _train_alone(job: Job) -> str:
    try:
        return loop.train(job.run, job.path, label=job.label, phase=job.phase).status
    except Exception as error:  # whatever goes wrong in one run, the others go on
        _stop_if_disk_is_full(error)
        say(f"{job.path}: {_said(error)}. The run is recorded as failed.")
        record_failure(job, _said(error))
        return "failed"


def _stop_if_disk_is_full(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
        raise error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
