"""`optaxaccel train --from RUN`: the settings of another run, but for those that are typed, and its parameters."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from optaxaccel.cli import parsing
from optaxaccel.cli.commands import Command, Train
from optaxaccel.training.run.spec import Run


def parse(arguments: Sequence[str]) -> Command:
    """Return the command that was typed; `train --from RUN` has RUN's settings for defaults.

    Arguments of the method are merged, unless the method is another one. With `--resume` and the `--out` of such a run
    its own record says what it is and where it started: RUN may have gone on since, or be gone.

    Raises:
      FileNotFoundError, ValueError: there is no such run, or no such checkpoint of it.
    """
    folder = _typed(arguments, "--from")
    if arguments[:1] != ["train"] or folder is None or {"-h", "--help"} & set(arguments):
        return parsing.parse(arguments)
    from optaxaccel.training import starting

    base = _resumed(arguments, Path(folder))
    if base is None:
        base, start_from = starting.origin(Path(folder), _typed(arguments, "--from-which") or "last")
        base = dataclasses.replace(base, start_from=start_from)
    if _typed(arguments, "--steps") or _typed(arguments, "--epochs"):
        base = dataclasses.replace(base, steps=None, epochs=None)
    if _typed(arguments, "--method") not in (None, base.method):
        base = dataclasses.replace(base, method_args={}, schedule={})
    if _typed(arguments, "--task") not in (None, base.task):
        base = dataclasses.replace(base, task_args={})
    command = parsing.parse(arguments, {Train: Train(run=base)})
    assert isinstance(command, Train)
    if _typed(arguments, "--method-args"):
        merged = {**base.method_args, **command.run.method_args}
        command = dataclasses.replace(command, run=command.run.replace(method_args=merged))
    return command


def _resumed(arguments: Sequence[str], origin: Path) -> Run | None:
    """Return the run that `--resume` goes on with, where its record is there and it started from `origin`."""
    record = Path(_typed(arguments, "--out") or "") / "record.jsonl"
    if "--resume" not in arguments or not record.is_file():
        return None
    from optaxaccel.training import loading
    from optaxaccel.training.keeping import records

    run = loading.run_of(records.first_row(record)["spec"])
    return run if run.start_from.get("run") == origin.as_posix() else None


def _typed(arguments: Sequence[str], option: str) -> str | None:
    """Return the value that was typed for an option, "" where it is missing, or None."""
    for place, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == option:
            return value if equals else [*arguments, ""][place + 1]
    return None
