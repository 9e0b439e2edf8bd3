"""`optaxaccel train`: one run, or a grid."""

import re
import shlex
from pathlib import Path
from typing import Any

from optaxaccel.cli.commands import Train
from optaxaccel.cli.terminal import DIVERGED, DONE, FAILED, console, say, start_jax
from optaxaccel.training.run import longer
from optaxaccel.training.run.argument_text import steps_from
from optaxaccel.training.run.spec import Run, differences


def train(command: Train) -> int:
    """Train one run, or a grid, and return the exit status."""
    from optaxaccel.training import loop

    _check(command)
    if command.grid or command.seeds:
        return _train_many(command)
    run = command.run
    start_jax(command)  # checking a schedule computes it
    loop.check(run)
    name = f"{run.method}-{_what(run)}-{run.digest()}"
    out = command.out or Path("runs") / name
    path = out / "record.jsonl"
    earlier = _earlier(path, run, command.resume)
    if command.resume and earlier is not None and earlier.status != "unfinished":
        say(f"{path}: the run is {earlier.status} already, so there is nothing to resume.")
        return DONE if earlier.status == "done" else DIVERGED
    from optaxaccel.training.keeping import keep, progress, sinks, trace
    from optaxaccel.training.steps import parallel

    if run.task and command.profile is not None:
        raise ValueError("--profile is for images. Leave it out, or use jax.profiler.trace around training.loop.train.")
    options: dict[str, Any] = {
        "keep": keep.Keep(out, command.resume, command.save_seconds, command.keep, _interval(command)),
        "devices": command.devices,
        "probe": command.probe,
    }
    if command.profile is not None:
        options["trace"] = trace.parse(command.profile, out / "profile")
    if not parallel.is_main_process():
        return _status(loop.train(run, path, **options))
    options["also"] = [sinks.sink(target, run, out) for target in command.log]
    if command.resume and not (out / "checkpoints" / "last").exists():
        say(f"{out} holds no checkpoint: the run starts anew.")
    with progress.reporter(console(), f"{run.method} on {run.task or run.data}") as report:
        outcome = loop.train(run, path, progress=report, **options)
    if outcome.status == "stopped":
        say(f"stopped by a signal after step {outcome.step}, and saved. Go on with the same command and --resume.")
    elif outcome.status == "diverged":
        say(
            f"{run.method} diverged: the loss or the gradient is not finite at step {outcome.step}. The rows before it "
            f"are in {path}. Try a smaller step size.",
            error=True,
        )
    else:
        last = outcome.last
        from optaxaccel.training.keeping.progress import describe

        scores = describe({"kind": "eval", **last})
        if not run.task:
            scores = f"{last['split']} accuracy {100 * last['accuracy']:.2f} %, loss {last['loss']:.4f}"
        say(f"{scores}, {last['seconds']:.1f} s of training")
        say(f"record: {path}\nnext: optaxaccel report {shlex.quote(str(out))}")
    return _status(outcome)


def _interval(command: Train) -> int | str:
    """Return the steps between two checkpoints that stay, or "1epoch", or 0.

    Raises:
      ValueError: it is neither, or they are to be none.
    """
    if command.keep is not None and command.keep < 1:
        raise ValueError(f"--keep {command.keep} keeps none. Pass --keep 1 or more, or leave it out.")
    text = command.keep_every or ("1epoch" if command.keep is not None else "0")
    interval = int(text) if text.isdigit() else text
    steps = steps_from(interval, 1000)
    if not isinstance(steps, int) or (command.keep_every is not None and steps < 1):
        raise ValueError(f"--keep-every {command.keep_every} is no interval. Pass a number of steps, or 1epoch.")
    return interval


def _what(run: Run) -> str:
    """Return what is trained as a part of a folder's name."""
    if not run.task:
        return f"{run.model}-{Path(run.data).stem}"
    return re.sub(r"[^\w.+-]+", "_", Path(run.task.partition(":")[0]).stem)


def _check(command: Train) -> None:
    """Refuse options that cannot be meant.

    Raises:
      ValueError: one of them.
    """
    if not command.save_seconds >= 0:
        raise ValueError(
            f"save_seconds={command.save_seconds} is no time between checkpoints. Pass a number >= 0, or inf to "
            "save at the end only."
        )
    if command.devices is not None and command.devices < 1:
        raise ValueError(f"devices={command.devices} is no number of devices. Pass --devices 1 or more.")
    if command.out is not None and str(command.out) in ("", "."):
        raise ValueError("--out is empty, so the record would lie in this folder. Pass --out FOLDER, or leave it out.")
    if command.executor != "here" and not (command.grid or command.seeds):
        raise ValueError(f"--executor {command.executor} is for many runs. Add --grid NAME=V,V or --seeds 0 1 2.")
    twice = {seed for seed in command.seeds if command.seeds.count(seed) > 1}
    if twice:
        raise ValueError(f"--seeds has {min(twice)} twice, and would train one run twice. Pass every seed once.")
    processes = {"--coordinator": command.coordinator, "--process-count": command.process_count}
    processes["--process-index"] = command.process_index
    named = [name for name, value in processes.items() if value is not None]
    if named and not command.distributed:
        raise ValueError(
            f"{named[0]} is for several processes, and without --distributed this is one. Add --distributed."
        )
    if named:
        _check_processes(command, processes)


def _check_processes(command: Train, processes: dict[str, Any]) -> None:
    missing = [name for name, value in processes.items() if value is None]
    if missing:
        raise ValueError(
            f"{missing[0]} is missing. Pass all of {', '.join(processes)}, or none where a cluster tells them."
        )
    host, _, port = str(command.coordinator).rpartition(":")
    if not (host and port.isdigit() and 0 < int(port) < 2**16):
        raise ValueError(
            f"--coordinator {command.coordinator} is not HOST:PORT. Pass --coordinator 10.0.0.1:1234, say."
        )
    count, index = command.process_count, command.process_index
    if count is None or index is None or not 0 <= index < count:
        raise ValueError(
            f"--process-index {index} of --process-count {count}: pass an index from 0 to the count less 1."
        )


def _train_many(command: Train) -> int:
    """Train a grid; runs that diverge are results, and only those that failed make the status one of failure."""
    from optaxaccel.training import loop
    from optaxaccel.training.keeping import interrupt, progress
    from optaxaccel.training.many import sweep

    for name in ("log", "profile", "probe", "devices", "distributed", "keep", "keep_every"):
        if getattr(command, name):
            raise ValueError(f"--{name.replace('_', '-')} is for one run. Leave out --grid and --seeds, or --{name}.")
    runs = sweep.grid(command.run, seeds=command.seeds, **sweep.axes(command.grid))
    run = command.run
    out = command.out or Path("runs") / f"{run.method}-{_what(run)}-grid"
    if out.exists() and any(out.rglob("*.jsonl")) and not command.resume:
        raise FileExistsError(
            f"{out} holds records already. Pass --resume to go on with them, or --out for a new folder."
        )
    start_jax(command)
    for one in {one.setting(): one for one in runs}.values():
        loop.check(one)
    paths = [out / f"{one.digest()}.jsonl" for one in runs]
    labels = [sweep.label(one, run) for one in runs]
    with interrupt.locked(out), progress.counter(console(), "runs", len(runs)) as advance:

        def ended(index: int, status: str) -> None:
            advance(f"{labels[index]} seed={runs[index].seed} ({status})")

        options: dict[str, Any] = {"vectorize": {"auto": "auto", "yes": True, "no": False}[command.vectorize]}
        if command.executor == "here":
            statuses = sweep.train_many(runs, paths, labels=labels, progress=ended, **options)
        else:
            from optaxaccel.training.many import executors

            options |= {"workers": command.workers, **command.executor_args}
            statuses = executors.train_many(command.executor, runs, paths, labels=labels, progress=ended, **options)
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    say(f"{len(runs)} runs: {counts}\nrecords: {out}\nnext: optaxaccel report {shlex.quote(str(out))}")
    return FAILED if "failed" in statuses else DONE


def _status(outcome: Any) -> int:
    """Return the exit status of a run."""
    return {"done": DONE, "diverged": DIVERGED, "stopped": 128 + outcome.signal}[outcome.status]


def _earlier(path: Path, run: Run, resume: bool) -> Any:
    """Return the record that is there, or None; refuse to write over another run or over one that can go on."""
    if not path.exists():
        return None
    from optaxaccel.training.keeping import records

    if not records.has_a_row(path):  # killed before its first row was whole
        return None
    start = records.first_row(path)
    try:
        earlier = records.read(path)
    except ValueError:  # damaged further on: a checkpoint says up to where it is whole
        earlier = records.Record(path, start, [], {})
    spec = earlier.start["spec"]
    differing = differences(run.as_dict(), spec)
    if differing and resume and longer.goes_on(run.as_dict(), spec) and earlier.status in ("done", "unfinished"):
        return earlier._replace(end={})
    if differing:
        raise FileExistsError(
            f"{path} is the record of another run, which differs in: {'; '.join(differing)}. Pass another --out, or "
            f"with --resume the same run with more epochs or steps.{longer.why_not(run.as_dict(), spec)}"
        )
    if earlier.status == "unfinished" and not resume and any((path.parent / "checkpoints" / "last").glob("*")):
        raise FileExistsError(
            f"{path.parent} holds a run that was stopped. Pass --resume to go on with it, or another --out; to start "
            "it anew remove the folder."
        )
    return earlier
