"""`optaxaccel extrapolate` and `optaxaccel merge`: the checkpoints of any training run."""

import contextlib
import dataclasses
import importlib.util
import math
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from optaxaccel.cli.commands import Extrapolate, Merge
from optaxaccel.cli.terminal import DONE, console, say, start_jax
from optaxaccel.cli.terminal_tables import table
from optaxaccel.neighbours import neighbours


def extrapolate(command: Extrapolate) -> int:
    """Extrapolate a folder of checkpoints, and return the exit status."""
    from optaxaccel.training.histories import offline

    command, reader = _of_a_run(command, "extrapolated")
    with _observed(command, "extrapolating") as options:
        done = offline.extrapolate_folder(
            command.folder,
            last=command.last,
            regularization=command.regularization,
            relative=not command.absolute,
            iterate=command.iterate,
            reader=reader,
            **options,
        )
    if done.candidates:
        rows = [[_candidate(c.regularization), f"{c.value:.6g}"] for c in done.candidates]
        table("Losses", ["candidate", "loss"], rows)
    newer = command.iterate == "tail" or done.regularization is None
    weights = [f"{weight: .4g}" for weight in done.weights]
    rows = [list(row) for row in zip(done.names, ["-", *weights] if newer else [*weights, "-"], strict=True)]
    title = f"Weights of the checkpoints in {command.folder}, {_candidate(done.regularization)}"
    table(title, ["checkpoint", "weight"], [*rows, ["sum", f"{sum(done.weights): .6g}"]])
    end, without = ("newer", done.names[0]) if newer else ("older", done.names[-1])
    say(
        f"{len(rows)} checkpoints have {len(weights)} differences, and a weight belongs to the {end} end of each: "
        f"{without} has none"
    )
    _say_what_else(done, reader is not None)
    if done.calmer is not None:
        strength, calm = done.calmer
        say(
            f"warning: the sum of |weights| is {sum(map(abs, done.weights)):.3g}, and so much of the noise of one "
            f"checkpoint is in the result. With --regularization {strength:.0e} it is {calm:.3g}. Evaluate both, or "
            "let --data NAME --model NAME, or --value-fn FILE.py:FUNCTION, choose.",
            error=True,
        )
    say(f"written: {done.path}, and what was done: {done.path}.json")
    return DONE


def merge(command: Merge) -> int:
    """Merge a folder of checkpoints, and return the exit status."""
    from optaxaccel.training.histories import merging

    numeric = re.fullmatch(r"[\d.,eE+\-\s]+", command.weights)
    command, reader = _of_a_run(command, "merged")
    with _observed(command, "merging") as options:
        done = merging.merge_folder(
            command.folder,
            _numbers(command.weights) if numeric else command.weights,
            last=command.last,
            decay=command.decay,
            debias=command.debias,
            points=command.points,
            regularization=command.regularization,
            reader=reader,
            **options,
        )
    if done.candidates:
        table("Losses", ["candidate", "loss"], [[name, f"{value:.6g}"] for name, value in done.candidates])
    rows = [[name, f"{weight: .4g}"] for name, weight in zip(done.names, done.weights, strict=True)]
    title = f"Weights of the checkpoints in {command.folder}, {done.kind}"
    table(title, ["checkpoint", "weight"], [*rows, ["sum", f"{sum(done.weights): .6g}"]])
    _say_what_else(done, reader is not None)
    say(f"written: {done.path}, and what was done: {done.path}.json")
    return DONE


def _of_a_run(command: Any, result: str) -> tuple[Any, Callable[[Path], Any] | None]:
    """Return a command for the checkpoints that stayed, where its folder is that of a run of ours.

    Also what reads one of them as the iterate that the run's method evaluates; None where that is the parameters.
    """
    kept = command.folder / "checkpoints" / "kept"
    if kept.is_dir():
        out = command.folder / result if command.out is None else command.out
        command = dataclasses.replace(command, folder=kept, out=out)
    run = command.folder.parent.parent
    if command.folder.name != "kept" or not (run / "record.jsonl").is_file() or command.params is not None:
        return command, None
    start_jax()
    from optaxaccel.training import loading

    return command, loading.evaluated(run)


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"--weights {text} are no numbers. Pass one a checkpoint: --weights 0.2,0.3,0.5.") from None


@contextlib.contextmanager
def _observed(command: Extrapolate | Merge, what: str) -> Iterator[dict[str, Any]]:
    """Yield the arguments of both commands; progress is shown, and a signal to end leaves nothing behind."""
    from optaxaccel.training.keeping import progress

    shard = None
    if command.shard is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", command.shard)
        if not match:
            raise ValueError(f"--shard {command.shard} is no part. Pass I/N, from 1/N to N/N.")
        shard = int(match[1]), int(match[2])

    def stop(number: int, frame: Any) -> None:
        del frame
        raise SystemExit(128 + number)

    with progress.meter(console(), what) as meter, contextlib.ExitStack() as afterwards:
        with contextlib.suppress(ValueError):  # not in the main thread: nobody sends signals there
            before = signal.signal(signal.SIGTERM, stop)
            afterwards.callback(signal.signal, signal.SIGTERM, before)
        yield {
            "params": command.params,
            "order": command.order,
            "skip_not_finite": command.skip_not_finite,
            "value_fn": _loss(command),
            "shard": shard,
            "out": command.out,
            "progress": meter,
        }


def _say_what_else(done: Any, evaluated: bool) -> None:
    which = ", the iterate that the method evaluates" if evaluated else ""
    say(f"parameters: {done.where or 'all of a checkpoint'}{which} ({done.arrays} arrays, {done.numbers:,} numbers)")
    if done.statistics:
        say(f"{done.statistics} was combined with the same weights; better, refresh it on training batches")
    if done.inside:
        say(
            f"running statistics had no say in the weights and were combined with them, variances within their range: "
            f"{_some(done.inside)}; better, refresh them on training batches"
        )
    if done.kept:
        say(f"as in the newest checkpoint: {_some(done.kept)}")
    for name, why in done.skipped.items():
        say(f"left out, because it is not finite: {name} ({why})")
    if done.left_out:
        say(f"left out, for want of a number in the name: {', '.join(done.left_out)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _candidate(regularization: float | None) -> str:
    if regularization == math.inf:
        return "the mean"
    return "the newest checkpoint" if regularization is None else f"regularization {regularization:.0e}"


def _loss(command: Extrapolate | Merge) -> Callable[[Any], Any] | None:
    """Return the loss that chooses, or None.

    Raises:
      ValueError: it is given in part, or twice.
    """
    judge = (command.model, command.data)
    if judge == (None, None):
        if command.model_args:
            raise ValueError("--model-args is for --model. Pass --model NAME --data NAME, or leave it out.")
        return None if command.value_fn is None else _function(command.value_fn)
    if None in judge:
        missing = "--data" if command.data is None else "--model"
        raise ValueError(
            f"A loss that chooses needs a network and images, and {missing} is missing. Pass {missing} NAME."
        )
    if command.value_fn is not None:
        raise ValueError("--value-fn and --model are two losses, of which one can choose. Leave one of them out.")
    start_jax()
    from optaxaccel.training.histories import judging

    return judging.loss_on(command.model, command.data, model_args=command.model_args)


def _function(place: str) -> Callable[[Any], Any]:
    """Return a function of a Python file, which is run.

    Raises:
      ValueError: the place is not FILE.py:FUNCTION, or the file cannot be run or has no such function.
      FileNotFoundError: there is no such file.
    """
    file, _, name = place.rpartition(":")
    if not file or not name.isidentifier():
        raise ValueError(f"--value-fn {place} is no function. Pass FILE.py:FUNCTION.")
    spec = importlib.util.spec_from_file_location("value_fn", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python file. Pass --value-fn FILE.py:FUNCTION.")
    module = importlib.util.module_from_spec(spec)
    try:
        with neighbours(Path(file)):
            spec.loader.exec_module(module)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{file} could not be run ({type(error).__name__}: {error}).") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{file} has no function {name!r}. Pass --value-fn FILE.py:FUNCTION.")
    return function
