"""The command line: `optaxaccel list | train | compare | run | report | evaluate | extrapolate | merge | data`.

Everything heavy is imported by the command that needs it, so that `--help` and refusals are quick.
Exit status: 0 done, 1 a run or the machine failed (a full disk, say), 2 bad input (before any work), 3 diverged,
128 + N stopped by signal N after saving (130 for Ctrl-C, 143 for SIGTERM).
"""

import os
import signal
import sys
from collections.abc import Sequence

try:
    import tyro  # noqa: F401
except ModuleNotFoundError:  # installed without extras: there are the methods only
    print(
        "optaxaccel: the command line needs more. Install it with pip install 'optaxaccel[command]'.", file=sys.stderr
    )
    sys.exit(2)

import optaxaccel
from optaxaccel.cli import checkpoints, compare, evaluate, experiments, failures, from_run, registries, train
from optaxaccel.cli.commands import (
    Command,
    Compare,
    Data,
    Evaluate,
    Extrapolate,
    List,
    Merge,
    Report,
    RunFile,
    Train,
)
from optaxaccel.cli.terminal import BAD_INPUT, DIVERGED, DONE, FAILED, leave_the_others, say

BROKEN_PIPE = 13  # SIGPIPE, which Windows lacks

__all__ = ["BAD_INPUT", "DIVERGED", "DONE", "FAILED", "execute", "main", "run", "run_definition"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status."""
    sys.unraisablehook = failures.quiet_about_closed_loops
    status = run(sys.argv[1:] if arguments is None else list(arguments))
    if status == FAILED:
        leave_the_others()
    sys.exit(status)


def run_definition(file: str) -> None:
    """Run an experiment's definition as a script: the same as `optaxaccel run FILE ...`."""
    main(["run", file, *sys.argv[1:]])


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    if list(arguments) == ["--version"]:
        say(f"optaxaccel {optaxaccel.__version__}")
        return DONE
    command: Command | None = None
    try:
        command = from_run.parse(arguments)
        return execute(command)
    except KeyboardInterrupt:
        say(f"optaxaccel: {failures.stopped(command)}", error=True)
        return 128 + signal.SIGINT
    except SystemExit as left:  # of a run that was stopped before its first step
        if left.code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            say(f"optaxaccel: {failures.stopped(command)}", error=True)
        raise
    except BrokenPipeError:  # whoever read our output has gone, as in `optaxaccel list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is flushed at the end goes nowhere
        return 128 + BROKEN_PIPE
    except Exception as error:
        status, text = failures.explained(error)
        if status is None:
            raise
        say(f"optaxaccel: {text}", error=True)
        return status


def execute(command: Command) -> int:
    """Run a parsed command and return its exit status."""
    match command:
        case List():
            return registries.list_(command)
        case Train():
            return train.train(command)
        case Compare():
            return compare.compare(command)
        case RunFile():
            return experiments.run_file(command)
        case Report():
            return experiments.report(command)
        case Evaluate():
            return evaluate.evaluate(command)
        case Extrapolate():
            return checkpoints.extrapolate(command)
        case Merge():
            return checkpoints.merge(command)
        case Data():
            return registries.data(command)
