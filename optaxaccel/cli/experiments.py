"""`optaxaccel run` and `optaxaccel report`: experiments from their definitions, and what records tell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optaxaccel.cli.commands import Report, RunFile
from optaxaccel.cli.terminal import DONE, FAILED, console, say, start_jax
from optaxaccel.cli.terminal_tables import print_table


def run_file(command: RunFile) -> int:
    """Run a definition at a scale, show what came out, and return the exit status."""
    from optaxaccel.training.many import experiment

    definition = experiment.load(command.file)
    plan = experiment.scale_of(definition, command.scale)
    if command.seeds is not None and command.seeds < 1:
        raise ValueError(f"seeds={command.seeds} is not an integer >= 1. Pass --seeds 3.")
    name = f"{definition.name}-{command.scale}"
    if command.first_steps is not None:
        if command.publish and command.first_steps < 2:
            raise ValueError("The first step is not timed, so there is nothing to publish. Pass --first-steps 2.")
        plan, name = experiment.beginning(plan, command.first_steps), f"{name}-first"
    out = command.out or Path("runs") / name
    if out.exists() and any(out.rglob("*.jsonl")) and not command.resume:
        raise FileExistsError(
            f"{out} holds records already. Pass --resume to go on with them, or --out for a new folder."
        )
    start_jax()  # checking a schedule computes it
    if not isinstance(plan, experiment.Study):
        from optaxaccel.training import loop

        for contender in plan.contenders:
            loop.check(contender.settings[0].replace(data_dir=command.data_dir or contender.settings[0].data_dir))
    from optaxaccel.training.keeping import interrupt

    say(definition.headline or definition.name)
    with interrupt.locked(out):
        return _run_plan(definition, plan, command, out)


def _run_plan(definition: Any, plan: Any, command: RunFile, out: Path) -> int:
    from optaxaccel.report import durations
    from optaxaccel.training.keeping import records
    from optaxaccel.training.many import experiment, jobs

    if isinstance(plan, experiment.Study):
        return _run_study(definition, plan, command, out)
    seeds = command.seeds or plan.seeds
    if isinstance(plan, experiment.Grid):
        failed = _run_jobs(list(jobs.grid_jobs(plan, seeds, out)), command, "runs")
    else:
        failed = _run_jobs(list(jobs.tuning_jobs(plan, out)), command, "tuning")
        for phase in ("score", "default"):
            scoring = [job for job in jobs.scoring_jobs(plan, out) if job.phase == phase]
            failed |= _run_jobs(scoring, command, {"score": "scoring", "default": "defaults"}[phase])
        finals = jobs.final_jobs(plan, seeds, out, jobs.validation_score)
        failed |= _run_jobs(list(finals), command, "final runs")
    if command.first_steps is not None:
        runs = jobs.planned(plan, records.read_all(out))
        print_table(durations.costs(runs, f"{definition.name}, {command.scale}: the first steps"))
        if command.publish:
            from optaxaccel.report import pages

            _rebuild(definition, pages.publish_first_steps(definition, command.scale, runs))
        return FAILED if failed else DONE
    if command.publish:
        _publish(definition, command.scale, out)
    shown = _show(out, out / "figure.png", title=definition.name, plan=plan)
    return FAILED if failed else shown


def report(command: Report) -> int:
    """Show records, or rebuild the pages of published results, and return the exit status."""
    if not command.path.exists():
        raise FileNotFoundError(f"{command.path} does not exist. Pass a record or a folder of records.")
    if command.path.is_dir() and _may_run_definitions(command):
        from optaxaccel.report import pages

        for page in pages.rebuild(command.path):
            say(f"rebuilt: {page}")
        return DONE
    folder = command.path if command.path.is_dir() else command.path.parent
    return _show(command.path, command.figure or folder / "figure.png", title=folder.name)


def _may_run_definitions(command: Report) -> bool:
    """Tell whether to run the definitions below a path, which are Python; say so where there are any and they are not.

    Raises:
      ValueError: there are definitions of somebody, and nothing else to show.
    """
    import optaxaccel

    files = sorted(command.path.rglob("*.py"))
    definitions = [file for file in files if b"\nRUNS" in file.read_bytes()]
    if not definitions:
        return False
    ours = Path(optaxaccel.__file__).resolve().parents[1] / "experiments"
    if command.definitions or command.path.resolve().is_relative_to(ours):
        return True
    warning = (
        f"{command.path} holds definitions of experiments ({definitions[0].relative_to(command.path)}), which are "
        "Python and not this project's, so they are not run. Read them, and pass --definitions to rebuild their pages."
    )
    if not any(command.path.rglob("*.jsonl")):
        raise ValueError(warning)
    say(warning, error=True)
    return False


def _run_study(definition: Any, plan: Any, command: RunFile, out: Path) -> int:
    """Measure a study, unless it was, and show it."""
    import json

    import jax

    from optaxaccel.report import studies
    from optaxaccel.training.many import jobs

    path, device = out / "study.jsonl", jax.devices()[0]
    if not (command.resume and path.exists() and '"kind": "end"' in path.read_text(encoding="utf-8")):
        jobs.study(plan, path, f"{device.platform} {device.device_kind}")
    if command.publish:
        _publish(definition, command.scale, out)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    print_table(studies.table(rows[-1]["values"], plan.expected, f"{definition.name}, {command.scale}"))
    studies.figure(rows[1:-1], definition.panels, out / "figure.png", definition.name)
    say(f"records: {out}\nfigure:  {out / 'figure.png'}")
    return DONE


def _publish(definition: Any, scale: str, out: Path) -> None:
    from optaxaccel.report import pages

    _rebuild(definition, pages.publish(definition, scale, out))


def _rebuild(definition: Any, path: Path) -> None:
    """Rebuild all pages and the figures of a definition of which results were published."""
    from optaxaccel.report import pages

    say(f"published: {path}")
    for page in pages.rebuild(definition.path.resolve().parents[1], only=definition):
        say(f"rebuilt:   {page}")


def _run_jobs(jobs_to_run: Sequence[Any], command: RunFile, what: str) -> bool:
    """Train every job that is not finished, count them, and tell whether one failed; to diverge is a result."""
    from optaxaccel.training.keeping import progress
    from optaxaccel.training.many import jobs

    if not jobs_to_run:
        return False
    statuses = []
    with progress.counter(console(), what, len(jobs_to_run)) as advance:

        def finished(job: Any, status: str) -> None:
            statuses.append(status)
            advance(f"{job.label} ({status})")

        jobs.execute(jobs_to_run, data_dir=command.data_dir, advance=finished, vectorize=command.vectorize)
    return "failed" in statuses


def _called(record: Any, name: str) -> Any:
    """Return a record under another label."""
    return record._replace(start={**record.start, "label": name})


def _show_tasks(runs: Sequence[Any], figure: Path, path: Path) -> None:
    """Print a table and draw a figure of every task among the records."""
    from optaxaccel.report import grouping
    from optaxaccel.training.many.compared import Comparison

    by_task = grouping.problems_of_tasks(runs, path if path.is_dir() else path.parent)
    for place, (task, members) in enumerate(by_task.items()):
        final = [(g.name, [_called(r, g.name) for r in g.members]) for g in grouping.groups(members)]
        runs_of_task = [record for _, own in final for record in own]
        comparison = Comparison(task, members[0].start["score"], runs_of_task, [name for name, _ in final])
        drawn = figure if len(by_task) == 1 else figure.with_stem(f"{figure.stem}-{place + 1}")
        say(f"{comparison.table()}\nfigure:  {comparison.plot(drawn)}")
        _show_more(members, drawn, task)


def _show_more(runs: Sequence[Any], figure: Path, title: str) -> None:
    """Draw beside a figure what the methods told of themselves and what probes of curvature found, where they did."""
    from optaxaccel.report import curvature, diagnostics

    for name, draw in (("diagnostics", diagnostics.draw), ("curvature", curvature.draw)):
        path = figure.with_stem(f"{figure.stem}-{name}")
        if draw(runs, path, title) is not None:
            say(f"         {path}")


def _show(path: Path, figure: Path, *, title: str, plan: Any = None) -> int:
    """Print a table and draw a figure of every problem among the records."""
    from optaxaccel.report import figures, grids, grouping, tables
    from optaxaccel.training.keeping import records

    runs, left = grouping.once(records.read_all(path))
    of_tasks = [record for record in runs if plan is None and record.start["spec"].get("task")]
    if of_tasks:
        runs = [record for record in runs if not record.start["spec"].get("task")]
        _show_tasks(of_tasks, figure.with_stem(f"{figure.stem}-tasks") if runs else figure, path)
    if plan is not None:
        from optaxaccel.training.many import jobs  # which builds on what trains; to show what is there needs none

        runs = jobs.planned(plan, runs)
    by = "accuracy" if plan is None else plan.by
    sections = grouping.problems(runs)
    for place, (problem, members) in enumerate(sections.items()):
        about = f"{title}: {problem}" if len(sections) > 1 else title
        drawn = figure if len(sections) == 1 else figure.with_stem(f"{figure.stem}-{place + 1}")
        if any(record.start["phase"] == "grid" for record in members):
            print_table(grids.grid(members, by if plan else "train loss"))
            figures.boxes(members, drawn, by if plan else "train loss", about)
        else:
            print_table(tables.contenders(members, by))
            figures.draw(members, drawn, about, by)
        say(f"figure:  {drawn}")
        _show_more(members, drawn, about)
    say(f"records: {path}" + (f"\n{left}" if left else ""))
    return DONE
