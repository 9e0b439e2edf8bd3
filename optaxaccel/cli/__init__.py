"""The command line: `optaxaccel list | train | compare | run | report | evaluate | extrapolate | merge | data`.

Everything heavy is imported by the command that needs it, so that `--help` and refusals are quick.
Exit status: 0 done, 1 a run or the machine failed (a full disk, say), 2 bad input (before any work), 3 diverged,
128 + N stopped by signal N after saving (130 for Ctrl-C, 143 for SIGTERM).
"""

import functools
import operator
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

try:
    import tyro
except ModuleNotFoundError:  # installed without extras: there are the methods only
    print("optaxaccel: the command line needs more. Install it with pip install 'optaxaccel[train]'.", file=sys.stderr)
    sys.exit(2)

import optaxaccel
from optaxaccel.cli import checkpoints, compare, evaluate, experiments, failures, registries, train
from optaxaccel.cli.commands import (
    NAMES,
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
from optaxaccel.training.run.arguments import parse_arguments

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
    try:
        return execute(_parse(arguments))
    except KeyboardInterrupt:
        say("optaxaccel: stopped", error=True)
        return 128 + signal.SIGINT
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


def _parse(arguments: Sequence[str]) -> Command:
    constructors = tyro.constructors.ConstructorRegistry()

    @constructors.primitive_rule
    def _(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
        if info.type_origin is not Mapping and getattr(info.type_origin, "__name__", "") != "Mapping":
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="K=V,...",
            instance_from_str=lambda texts: parse_arguments(texts[0]),
            is_instance=lambda value: isinstance(value, Mapping),
            str_from_instance=lambda value: [",".join(f"{k}={v!r}" for k, v in value.items())],
        )

    commands = tuple(
        Annotated[kind, tyro.conf.subcommand(name=name, description=kind.__doc__)] for kind, name in NAMES.items()
    )
    union: Any = functools.reduce(operator.or_, commands)
    return tyro.cli(
        union,
        prog="optaxaccel",
        description="Accelerated optimisers for JAX: compare them on real data with one fair loop.",
        args=arguments,
        config=(tyro.conf.AvoidSubcommands,),
        registry=constructors,
    )
