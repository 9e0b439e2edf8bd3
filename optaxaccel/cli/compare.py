"""`optaxaccel compare`: methods on a task, in a table and a figure."""

from pathlib import Path
from typing import Any

from optaxaccel.cli.commands import Compare
from optaxaccel.cli.terminal import DIVERGED, DONE, console, say, start_jax
from optaxaccel.training.run.argument_text import parse_arguments


def compare(command: Compare) -> int:
    """Compare, write records, table and figure, and return the exit status: diverged if all runs of all methods did."""
    if len(set(command.methods)) < len(command.methods):
        raise ValueError(f"--methods {' '.join(command.methods)} has one twice. Pass every one once.")
    tune = dict(map(_values, command.tune))
    name = Path(command.task.partition(":")[0]).stem
    out = command.out or Path("runs") / f"compare-{name}"
    if out.exists() and any(out.glob("*.jsonl")) and not command.resume:
        raise FileExistsError(
            f"{out} holds records already. Pass --resume to go on with them, or --out for a new folder."
        )
    from optaxaccel import tasks

    start_jax()
    from optaxaccel import training

    task = tasks.make(command.task, size=command.size, **command.task_args)
    screen = console()
    comparison = training.compare(
        task,
        command.methods,
        steps=command.steps,
        calls=command.calls,
        seconds=command.seconds,
        seeds=command.seeds,
        tune=tune,
        tune_seeds=command.tune_seeds,
        evaluations=command.evaluations,
        folder=out,
        probe=command.probe,
        progress=True if screen.is_terminal else _Lines(task.name),
    )
    table = comparison.table()
    say(f"\n{table}\n")
    (out / "table.txt").write_text(f"{table}\n", encoding="utf-8")
    if command.probe:
        from optaxaccel.report import curvature

        curvature.draw(comparison.records, out / "figure-curvature.png", task.name)
    say(f"records, table and figure: {comparison.plot(out / 'figure.png').parent}")
    return DONE if any(line.done for line in table.lines) else DIVERGED


class _Lines:
    """A line for each method that begins and for all that is done: no flood in a log."""

    def __init__(self, title: str):
        self.title, self.last = title, ""

    def __call__(self, what: str, share: float) -> None:
        if what != self.last:
            say(f"{self.title}: {what}, {share:.0%} of all runs done")
            self.last = what


def _values(text: str) -> tuple[str, tuple[Any, ...]]:
    """Return an argument and its values, from `learning_rate=0.01,0.1`."""
    name, equals, values = text.partition("=")
    if not (name.strip().isidentifier() and equals and values.strip()):
        raise ValueError(f"--tune {text} names no values. Write --tune learning_rate=0.001,0.01,0.1.")
    return name.strip(), tuple(parse_arguments(f"values=({values},)")["values"])
