"""What a plan asks for, run by run, and how it is run: tuning, fresh seeds, grids, studies."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from optaxaccel.training.keeping import records
from optaxaccel.training.keeping.records import Record
from optaxaccel.training.many import sweep
from optaxaccel.training.many.experiment import SCORING_SEED, TUNING_SEED, TUNING_SHARE, Grid, Measured, Plan, Study
from optaxaccel.training.run.spec import Run, setting_of


class Planned(NamedTuple):
    """One run of a plan and the record it writes."""

    run: Run
    label: str
    phase: str
    path: Path


def tuning_jobs(plan: Plan, out: Path) -> Iterator[Planned]:
    """Yield the runs that choose each contender's setting; none where there is nothing to choose."""
    for contender in plan.contenders:
        if len(contender.settings) > 1:
            for setting in contender.settings:
                yield _tuning(plan, setting, contender.label, "tune", out)


def scoring_jobs(plan: Plan, out: Path) -> Iterator[Planned]:
    """Yield the runs that tell, with another seed, what a setting is worth that was chosen; none unless asked for."""
    for contender in plan.contenders if plan.scored else ():
        for setting in contender.settings:
            yield _tuning(plan, setting, contender.label, "score", out)
        if contender.default is not None:
            yield _tuning(plan, contender.default, contender.label, "default", out)


def _tuning(plan: Plan, setting: Run, label: str, phase: str, out: Path) -> Planned:
    share = 0.0 if plan.by == "train loss" else TUNING_SHARE
    rare = float(setting.epochs or 1e9)
    seed = TUNING_SEED if phase == "tune" else SCORING_SEED
    run = setting.replace(seed=seed, validation=share, eval_every=rare, extrapolate={})
    return Planned(run, label, phase, out / phase / f"{_slug(label)}-{run.digest()}.jsonl")


def final_jobs(plan: Plan, seeds: int, out: Path, score: Callable[[Path, str], tuple[float, ...]]) -> Iterator[Planned]:
    """Yield the runs of each contender's best setting, seed by seed across contenders.

    Args:
      plan: what to run.
      seeds: number of seeds.
      out: folder of the records.
      score: (record, plan.by) -> the result of a tuning run, larger is better.
    """
    tuned = {job.path: job for job in tuning_jobs(plan, out)}
    best: dict[str, Run] = {}
    for contender in plan.contenders:
        best[contender.label] = contender.settings[0]
        if len(contender.settings) > 1:
            paths = [path for path, job in tuned.items() if job.label == contender.label]
            scores = [score(path, plan.by) for path in paths]
            best[contender.label] = contender.settings[max(range(len(paths)), key=lambda i: (scores[i], -i))]
    for seed in range(1, seeds + 1):
        for label, setting in best.items():
            run = setting.replace(seed=seed)
            yield Planned(run, label, "final", out / "final" / f"{_slug(label)}-{run.digest()}.jsonl")


def grid_jobs(grid: Grid, seeds: int, out: Path) -> Iterator[Planned]:
    """Yield the runs of all settings, contender by contender."""
    for contender in grid.contenders:
        for setting in contender.settings:
            for seed in range(1, seeds + 1):
                run = setting.replace(seed=seed)
                yield Planned(
                    run, contender.label, "grid", out / "grid" / f"{_slug(contender.label)}-{run.digest()}.jsonl"
                )


def planned(plan: Plan | Grid, runs: Sequence[Record]) -> list[Record]:
    """Return the records of a plan's runs, whatever their seeds; others may lie beside them if the plan was changed."""
    phase = "grid" if isinstance(plan, Grid) else "final"
    known = {(c.label, phase, setting.setting()) for c in plan.contenders for setting in c.settings}
    if isinstance(plan, Plan):
        more = (*tuning_jobs(plan, Path()), *scoring_jobs(plan, Path()))
        known |= {(job.label, job.phase, job.run.setting()) for job in more}

    def known_as(record: Record) -> tuple[str, str, str]:
        start = record.start
        return start["label"], start["phase"], setting_of(start["spec"])

    return [record for record in runs if known_as(record) in known]


def _slug(label: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in label)


def validation_score(path: Path, by: str) -> tuple[float, ...]:
    """Return how well a tuning run ended, larger is better, and the worst score if it did not end well."""
    record = records.read(path)
    last = record.last("eval")
    if record.status != "done" or not last or not isinstance(last["loss"], float):
        return (-float("inf"),)
    if by == "train loss":
        return (-record.last("train_eval")["loss"],)
    return (-last["loss"],) if by == "loss" else (last["accuracy"], -last["loss"])


def execute(
    jobs: Sequence[Planned],
    *,
    data_dir: str | None = None,
    vectorize: bool = True,
    advance: Callable[[Planned, str], None] = lambda job, status: None,
) -> None:
    """Train every job that is not finished; a run that diverges or fails is recorded and the others go on.

    Args:
      jobs: jobs of one phase.
      data_dir: folder of prepared TFDS data.
      vectorize: whether runs that differ in seeds and numbers only may be trained as one program, where that pays.
      advance: told of every job that ended, and how.
    """
    runs = [job.run if data_dir is None else job.run.replace(data_dir=data_dir) for job in jobs]
    sweep.train_many(
        runs,
        [job.path for job in jobs],
        labels=[job.label for job in jobs],
        phase=jobs[0].phase if jobs else "final",
        vectorize="auto" if vectorize else False,
        progress=lambda index, status: advance(jobs[index], status),
    )


def study(plan: Study, path: Path, device: str) -> Measured:
    """Measure a study and record it: provenance, points, values."""
    measured = plan.measure(**plan.arguments)
    with records.Writer(path) as writer:
        writer.write("start", phase="study", spec=dict(plan.arguments), **records.provenance(device))
        for point in measured.points:
            writer.write("point", **point)
        writer.write("end", status="done", values=measured.values)
    return measured
