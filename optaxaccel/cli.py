"""The command line: `optaxaccel list | train | run | report | extrapolate | data`.

Everything heavy is imported by the command that needs it, so that `--help` and refusals are quick.
Exit status: 0 done, 1 the machine failed (a full disk, say), 2 bad input (before any work), 3 diverged (recorded),
128 + N stopped by signal N after saving (130 for Ctrl-C, 143 for SIGTERM).
"""

import dataclasses
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

try:
    import tyro
except ModuleNotFoundError:  # installed without extras: there are the methods only
    print("optaxaccel: the command line needs more. Install it with pip install 'optaxaccel[train]'.", file=sys.stderr)
    sys.exit(2)

import optaxaccel
from optaxaccel.training.spec import Run, differences, parse_arguments

HEARTBEAT_TIMEOUT = 20  # seconds until a process of several counts as dead, and the others exit with an error
DONE, FAILED, BAD_INPUT, DIVERGED = 0, 1, 2, 3


@dataclasses.dataclass(frozen=True)
class List:
    """List methods (with cost and paper), models and data sets."""

    what: Annotated[Literal["all", "methods", "models", "data"], tyro.conf.Positional] = "all"
    """what to list"""


@dataclasses.dataclass(frozen=True)
class Train:
    """Train one run and record it; with --grid or --seeds train many, those together that share a program."""

    run: Annotated[Run, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Run)
    out: Path | None = None
    """folder of the record; by default runs/METHOD-MODEL-DATA-HASH"""
    grid: tuple[str, ...] = ()
    """NAME=V,V,... trains the run with each value (and each combination, of several): of an argument of the method, of
    schedule.NAME or model_args.NAME, or of another option, such as batch_size"""
    seeds: tuple[int, ...] = ()
    """trains each setting with each of these seeds"""
    vectorize: Literal["auto", "yes", "no"] = "auto"
    """whether runs of a grid that differ in seeds and numbers only are trained together; auto: where it is faster"""
    resume: bool = False
    """go on with the last checkpoint in the folder; without one the run starts anew; of a grid, skip finished runs"""
    save_seconds: float = 30.0
    """seconds between two checkpoints; 0 writes one whenever metrics are read"""
    log: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """further places that get every row"""
    profile: str | None = None
    """N:M profiles the steps from N up to M; the trace lies beside the record"""
    devices: int | None = None
    """devices to use; by default all of them (a CPU counts a device a core, and one for small batches)"""
    distributed: bool = False
    """join the other processes first (jax.distributed); SLURM, Open MPI, Kubernetes and Cloud TPU are recognised"""
    coordinator: str | None = None
    """HOST:PORT of process 0, where the environment does not tell"""
    process_count: int | None = None
    """number of processes, likewise"""
    process_index: int | None = None
    """number of this process, from 0, likewise"""


@dataclasses.dataclass(frozen=True)
class RunFile:
    """Run an experiment's definition: tune every contender with the same budget, then train with fresh seeds."""

    file: Annotated[Path, tyro.conf.Positional]
    """the definition, a Python file under experiments/"""
    scale: str = "small"
    """sizes to run at: smoke (seconds), small (minutes on two cores) or paper (the paper's own sizes)"""
    seeds: int | None = None
    """number of seeds of the final runs; by default what the definition says"""
    out: Path | None = None
    """folder of records, table and figure; by default runs/NAME-SCALE"""
    resume: bool = False
    """skip the runs that are finished in the output folder"""
    vectorize: bool = True
    """train runs that differ in numbers and seeds only as one program, where that pays"""
    publish: bool = False
    """write the thinned records to the results beside the definition, and rebuild its figures and pages"""
    data_dir: str | None = None
    """folder of prepared TFDS data; by default $TFDS_DATA_DIR"""


@dataclasses.dataclass(frozen=True)
class Report:
    """Print the table of the records at a path and draw their figure; or rebuild all pages from published results."""

    path: Annotated[Path, tyro.conf.Positional]
    """a record (.jsonl), a folder of records, or a folder of experiments, whose pages and figures are then rebuilt"""
    figure: Path | None = None
    """the figure's path; by default figure.png beside the records"""


@dataclasses.dataclass(frozen=True)
class Data:
    """List data sets, or describe, prepare or verify one."""

    action: Annotated[Literal["list", "info", "prepare", "verify"], tyro.conf.Positional] = "list"
    """list them; info: describe one; prepare: download it with TFDS; verify: read it whole and compare"""
    name: Annotated[str, tyro.conf.Positional] = ""
    """the data set"""
    data_dir: str | None = None
    """folder of prepared TFDS data; by default $TFDS_DATA_DIR"""


@dataclasses.dataclass(frozen=True)
class Extrapolate:
    """Extrapolate the checkpoints of any training run (RNA): print the weights, write the result beside them."""

    folder: Annotated[Path, tyro.conf.Positional]
    """holds orbax steps (100/), Flax files (checkpoint_100, *.msgpack) or .npz files; the number is their order"""
    last: int = 11
    """how many of the newest to take, K + 1"""
    regularization: float = 1e-8
    """lambda, in units of the largest eigenvalue of R'R; larger ones (1e-6, 1e-4) are closer to a mean"""
    absolute: bool = False
    """lambda as it is, as the paper prints it"""
    iterate: Literal["tail", "head"] = "tail"
    """whether the weights belong to the newer or to the older ends of the differences"""
    params: str | None = None
    """path of the parameters in a checkpoint (state/params); by default the nearest entry called params"""
    out: Path | None = None
    """where to write; by default CHECKPOINTS/extrapolated, in the format of the checkpoints"""


Command = List | Train | RunFile | Report | Extrapolate | Data
_NAMES = {
    List: "list",
    Train: "train",
    RunFile: "run",
    Report: "report",
    Extrapolate: "extrapolate",
    Data: "data",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run_definition(file: str) -> None:
    """Run an experiment's definition as a script: the same as `optaxaccel run FILE ...`."""
    main(["run", file, *sys.argv[1:]])


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    if list(arguments) == ["--version"]:
        _say(f"optaxaccel {optaxaccel.__version__}")
        return DONE
    try:
        return execute(_parse(arguments))
    except (ValueError, FileNotFoundError, FileExistsError, ImportError) as error:
        if isinstance(error, FileNotFoundError) and error.filename is not None:
            error = FileNotFoundError(f"{error.strerror}: {error.filename}")
        _say(f"optaxaccel: {error}", error=True)
        return BAD_INPUT
    except KeyboardInterrupt:
        _say("optaxaccel: stopped", error=True)
        return 128 + signal.SIGINT
    except OSError as error:
        _say(f"optaxaccel: {error.strerror or error}: {error.filename}", error=True)
        return FAILED


def execute(command: Command) -> int:
    """Run a parsed command and return its exit status."""
    match command:
        case List():
            return _list(command)
        case Train():
            return _train(command)
        case RunFile():
            return _run_file(command)
        case Report():
            return _report(command)
        case Extrapolate():
            return _extrapolate(command)
        case Data():
            return _data(command)


# --- Parsing ----------------------------------------------------------------------------------------------------------


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
        Annotated[kind, tyro.conf.subcommand(name=name, description=kind.__doc__)] for kind, name in _NAMES.items()
    )
    union: Any = __import__("typing").Union[commands]
    return tyro.cli(
        union,
        prog="optaxaccel",
        description="Accelerated optimisers for JAX: compare them on real data with one fair loop.",
        args=arguments,
        config=(tyro.conf.AvoidSubcommands,),
        registry=constructors,
    )


# --- Commands ---------------------------------------------------------------------------------------------------------


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    made = Table(*columns, title=title, title_justify="left", title_style="bold")
    for row in rows:
        made.add_row(*row)
    _console().print(made)


def _list(command: List) -> int:
    if command.what in ("all", "methods"):
        from optaxaccel import METHODS

        rows = [
            [card.name, f"{c.values:g}", f"{c.grads:g}", f"{c.hvps:g}", f"{card.state_copies:g}", card.paper]
            for card in METHODS.values()
            for c in [card.cost]
        ]
        columns = ["method", "losses", "gradients", "Hessian products", "state copies", "paper"]
        _table("Methods (calls a step beyond the gradient; optax.<name> works too)", columns, rows)
    if command.what in ("all", "models"):
        from optaxaccel.models import MODELS

        rows = [
            [m.name, "x".join(map(str, m.input_shape)), str(m.classes), f"{m.parameters:,}", m.paper]
            for m in MODELS.values()
        ]
        _table("Models", ["model", "designed for", "classes", "parameters", "paper"], rows)
    if command.what in ("all", "data"):
        _list_data(None)
    return DONE


def _list_data(data_dir: str | None) -> None:
    from optaxaccel.data import catalogue

    rows = [[r.name, r.shape, str(r.classes), r.splits, r.state] for r in catalogue.rows(data_dir)]
    title = "Data sets (or an .npz file, or any image-classification set of TFDS)"
    _table(title, ["name", "images", "classes", "splits", "state"], rows)


def _data(command: Data) -> int:
    from optaxaccel.data import catalogue

    if command.action == "list":
        _list_data(command.data_dir)
        return DONE
    if not command.name:
        raise ValueError(f"data {command.action} needs a name. Pass optaxaccel data {command.action} NAME.")
    if command.action == "info":
        _table(command.name, ["", ""], [[k, v] for k, v in catalogue.info(command.name, command.data_dir).items()])
        return DONE
    if command.action == "prepare":
        catalogue.prepare(command.name, command.data_dir, say=_say)
        return DONE
    findings = catalogue.verify(command.name, command.data_dir)
    for finding in findings:
        _say(f"{'ok  ' if finding.good else 'BAD '} {finding.text}")
    return DONE if all(finding.good for finding in findings) else BAD_INPUT


def _train(command: Train) -> int:
    from optaxaccel.training import loop

    if command.grid or command.seeds:
        return _train_many(command)
    run = command.run
    _start_jax(command)  # checking a schedule computes it
    loop.check(run)
    name = f"{run.method}-{run.model}-{Path(run.data).stem}-{run.digest()}"
    out = command.out or Path("runs") / name
    path = out / "record.jsonl"
    earlier = _earlier(path, run, command.resume)
    if command.resume and earlier is not None and earlier.status != "unfinished":
        _say(f"{path}: the run is {earlier.status} already, so there is nothing to resume.")
        return DONE if earlier.status == "done" else DIVERGED
    from optaxaccel.training import keep, parallel, progress, sinks, trace

    options: dict[str, Any] = {"keep": keep.Keep(out, command.resume, command.save_seconds), "devices": command.devices}
    if command.profile is not None:
        options["trace"] = trace.parse(command.profile, out / "profile")
    if not parallel.is_main_process():
        return _status(loop.train(run, path, **options))
    options["also"] = [sinks.sink(target, run, out) for target in command.log]
    if command.resume and not (out / "checkpoints" / "last").exists():
        _say(f"{out} holds no checkpoint: the run starts anew.")
    with progress.reporter(_console(), f"{run.method} on {run.data}") as report:
        outcome = loop.train(run, path, progress=report, **options)
    if outcome.status == "stopped":
        _say(f"stopped by a signal after step {outcome.step}, and saved. Go on with the same command and --resume.")
    elif outcome.status == "diverged":
        _say(
            f"{run.method} diverged: the loss or the gradient is not finite at step {outcome.step}. The rows before it "
            f"are in {path}. Try a smaller step size.",
            error=True,
        )
    else:
        last = outcome.last
        accuracy, loss, seconds = 100 * last["accuracy"], last["loss"], last["seconds"]
        _say(f"{last['split']} accuracy {accuracy:.2f} %, loss {loss:.4f}, {seconds:.1f} s of training")
        _say(f"record: {path}\nnext: optaxaccel report {out}")
    return _status(outcome)


def _train_many(command: Train) -> int:
    """Train a grid; runs that diverge are results, and only those that failed make the status one of failure."""
    from optaxaccel.training import interrupt, progress, sweep

    for name in ("log", "profile", "devices", "distributed"):
        if getattr(command, name):
            raise ValueError(f"--{name} is for one run. Leave out --grid and --seeds, or --{name}.")
    runs = sweep.grid(command.run, seeds=command.seeds, **sweep.axes(command.grid))
    run = command.run
    out = command.out or Path("runs") / f"{run.method}-{run.model}-{Path(run.data).stem}-grid"
    if out.exists() and any(out.rglob("*.jsonl")) and not command.resume:
        raise FileExistsError(
            f"{out} holds records already. Pass --resume to go on with them, or --out for a new folder."
        )
    _start_jax(command)
    paths = [out / f"{one.digest()}.jsonl" for one in runs]
    labels = [sweep.setting(one, run) for one in runs]
    with interrupt.locked(out), progress.counter(_console(), "runs", len(runs)) as advance:

        def ended(index: int, status: str) -> None:
            advance(f"{labels[index]} seed={runs[index].seed} ({status})")

        options: dict[str, Any] = {"vectorize": {"auto": "auto", "yes": True, "no": False}[command.vectorize]}
        statuses = sweep.train_many(runs, paths, labels=labels, progress=ended, **options)
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    _say(f"{len(runs)} runs: {counts}\nrecords: {out}\nnext: optaxaccel report {out}")
    return FAILED if "failed" in statuses else DONE


def _status(outcome: Any) -> int:
    """Return the exit status of a run."""
    return {"done": DONE, "diverged": DIVERGED, "stopped": 128 + outcome.signal}[outcome.status]


def _run_file(command: RunFile) -> int:
    from optaxaccel.training import experiment

    definition = experiment.load(command.file)
    plan = experiment.scale_of(definition, command.scale)
    if command.seeds is not None and command.seeds < 1:
        raise ValueError(f"seeds={command.seeds} is not an integer >= 1. Pass --seeds 3.")
    out = command.out or Path("runs") / f"{definition.name}-{command.scale}"
    if out.exists() and any(out.rglob("*.jsonl")) and not command.resume:
        raise FileExistsError(
            f"{out} holds records already. Pass --resume to go on with them, or --out for a new folder."
        )
    _start_jax()  # checking a schedule computes it
    if not isinstance(plan, experiment.Study):
        from optaxaccel.training import loop

        for contender in plan.contenders:
            loop.check(contender.settings[0].replace(data_dir=command.data_dir or contender.settings[0].data_dir))
    _say(definition.headline or definition.name)
    if isinstance(plan, experiment.Study):
        return _run_study(definition, plan, command, out)
    seeds = command.seeds or plan.seeds
    if isinstance(plan, experiment.Grid):
        _run_jobs(list(experiment.grid_jobs(plan, seeds, out)), command, "runs")
    else:
        _run_jobs(list(experiment.tuning_jobs(plan, out)), command, "tuning")
        finals = experiment.final_jobs(plan, seeds, out, experiment.validation_score)
        _run_jobs(list(finals), command, "final runs")
    if command.publish:
        _publish(definition, command.scale, out)
    return _show(out, out / "figure.png", title=definition.name, plan=plan)


def _run_study(definition: Any, plan: Any, command: RunFile, out: Path) -> int:
    """Measure a study, unless it was, and show it."""
    import json

    import jax

    from optaxaccel.report import figures, tables
    from optaxaccel.training import experiment

    path, device = out / "study.jsonl", jax.devices()[0]
    if not (command.resume and path.exists() and '"kind": "end"' in path.read_text(encoding="utf-8")):
        experiment.study(plan, path, f"{device.platform} {device.device_kind}")
    if command.publish:
        _publish(definition, command.scale, out)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    _print_table(tables.study(rows[-1]["values"], plan.expected, f"{definition.name}, {command.scale}"))
    figures.study(rows[1:-1], definition.panels, out / "figure.png", definition.name)
    _say(f"records: {out}\nfigure:  {out / 'figure.png'}")
    return DONE


def _publish(definition: Any, scale: str, out: Path) -> None:
    from optaxaccel.report import pages

    path = pages.publish(definition, scale, out)
    _say(f"published: {path}")
    for page in pages.rebuild(definition.path.resolve().parents[1], only=definition):
        _say(f"rebuilt:   {page}")


def _run_jobs(jobs: Sequence[Any], command: RunFile, what: str) -> None:
    """Train every job that is not finished, and count them."""
    from optaxaccel.training import experiment, progress

    if not jobs:
        return
    with progress.counter(_console(), what, len(jobs)) as advance:

        def finished(job: Any, status: str) -> None:
            advance(f"{job.label} ({status})")

        experiment.execute(jobs, data_dir=command.data_dir, advance=finished, vectorize=command.vectorize)


def _report(command: Report) -> int:
    if not command.path.exists():
        raise FileNotFoundError(f"{command.path} does not exist. Pass a record or a folder of records.")
    if command.path.is_dir() and any("\nRUNS" in p.read_text(encoding="utf-8") for p in command.path.rglob("*.py")):
        from optaxaccel.report import pages

        for page in pages.rebuild(command.path):
            _say(f"rebuilt: {page}")
        return DONE
    folder = command.path if command.path.is_dir() else command.path.parent
    return _show(command.path, command.figure or folder / "figure.png", title=folder.name)


def _show(path: Path, figure: Path, *, title: str, plan: Any = None) -> int:
    from optaxaccel.report import figures, tables
    from optaxaccel.training import records

    found = records.read_all(path)
    by = "accuracy" if plan is None else plan.by
    if any(record.start["phase"] == "grid" for record in found):
        _print_table(tables.grid(found, by if plan else "train loss"))
        figures.boxes(found, figure, by if plan else "train loss", title)
    else:
        _print_table(tables.contenders(found, by))
        figures.draw(found, figure, title, by)
    _say(f"records: {path}\nfigure:  {figure}")
    return DONE


def _print_table(table: Any) -> None:
    from rich.table import Table

    note = table.note or None
    made = Table(title=table.title, title_justify="left", title_style="bold", caption=note, caption_justify="left")
    for column in table.columns:
        made.add_column(column, justify="left" if column in table.left else "right", overflow="fold")
    for row in table.rows:
        made.add_row(*row)
    _console().print(made)


def _extrapolate(command: Extrapolate) -> int:
    from optaxaccel.training import offline

    done = offline.extrapolate_folder(
        command.folder,
        last=command.last,
        regularization=command.regularization,
        relative=not command.absolute,
        iterate=command.iterate,
        params=command.params,
        out=command.out,
    )
    names = done.names[1:] if command.iterate == "tail" else done.names[:-1]
    rows = [[name, f"{weight: .4g}"] for name, weight in zip(names, done.weights, strict=True)]
    _table(f"Weights of the checkpoints in {command.folder}", ["checkpoint", "weight"], [*rows, ["sum", " 1"]])
    _say(f"parameters: {done.where or 'all of a checkpoint'} ({done.arrays} arrays, {done.numbers:,} numbers)")
    if done.statistics:
        _say(f"{done.statistics} was combined with the same weights; better, refresh it on training batches")
    if done.left_out:
        _say(f"left out, for want of a number in the name: {', '.join(done.left_out)}")
    _say(f"written: {done.path}")
    return DONE


# --- The terminal -----------------------------------------------------------------------------------------------------


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:  # a log is not folded to 80 columns
        console = Console(highlight=False, width=max(160, console.width))
    return console


def _say(text: str, *, error: bool = False) -> None:
    print(text, file=sys.stderr if error else sys.stdout, flush=True)


def _earlier(path: Path, run: Run, resume: bool) -> Any:
    """Return the record that is there, or None; refuse to write over another run or over one that can go on."""
    if not path.exists():
        return None
    from optaxaccel.training import records

    try:
        earlier = records.read(path)
    except ValueError:  # killed before its first row was whole
        return None
    differing = differences(run.as_dict(), earlier.start["spec"])
    if differing:
        raise FileExistsError(
            f"{path} is the record of another run, which differs in: {'; '.join(differing)}. Pass another --out."
        )
    if earlier.status == "unfinished" and not resume and any((path.parent / "checkpoints" / "last").glob("*")):
        raise FileExistsError(
            f"{path.parent} holds a run that was stopped. Pass --resume to go on with it, or another --out; to start "
            "it anew remove the folder."
        )
    return earlier


def _start_jax(command: Train | None = None) -> None:
    """Keep freed memory, and compiled programs between processes; count CPU cores as devices; join other processes."""
    from optaxaccel.training import allocation, parallel

    allocation.keep_freed_memory()
    import jax

    cache = os.environ.get("OPTAXACCEL_CACHE") or str(Path.home() / ".cache" / "optaxaccel")
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(Path(cache) / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    parallel.use_cpu_cores(None if command is None else command.devices)
    if command is not None and command.distributed:
        # The default of 100 s would keep the others waiting for longer than that for one that died.
        given = (command.coordinator, command.process_count, command.process_index)
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT)
