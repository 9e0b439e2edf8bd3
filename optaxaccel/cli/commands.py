"""The commands and their options, as data classes that tyro makes a command line of."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from optaxaccel.training.run.spec import Run


@dataclasses.dataclass(frozen=True)
class List:
    """List methods, models, data sets and tasks, or show one of them."""

    what: Annotated[str, tyro.conf.Positional] = "all"
    """all, methods, models, data or tasks; or one name of these, such as pal: its arguments, defaults, cost and page"""


@dataclasses.dataclass(frozen=True)
class Train:
    """Train one run and record it; with --grid or --seeds train many."""

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
    executor: Literal["here", "local", "ray", "slurm"] = "here"
    """of a grid, where runs are trained: here; in --workers processes (local) or an array of SLURM, both through
    submitit; or on a Ray cluster, which is started here where none runs. --out is on a disk that all of them see"""
    workers: int = 2
    """of --executor: parts of the grid that are trained at once"""
    executor_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """of --executor: resources of a part for Ray, such as num_gpus=1; parameters of submitit, such as
    slurm_partition=gpu,timeout_min=600"""
    resume: bool = False
    """go on with the last checkpoint in the folder; without one the run starts anew; of a grid, skip finished runs"""
    start: Annotated[Path | None, tyro.conf.arg(name="from", metavar="PATH", help_behavior_hint="")] = None
    """the folder of a run: this one starts from its parameters, with its settings where no others are typed"""
    from_which: str = "last"
    """of --from: last, best, or the step of a checkpoint that was kept"""
    save_seconds: float = 30.0
    """seconds between two checkpoints; 0 writes one whenever metrics are read"""
    keep: int | None = None
    """how many of the checkpoints that --keep-every writes stay, the newest; by default all of them"""
    keep_every: str | None = None
    """steps between two checkpoints that stay, or 1epoch; with --keep alone 1epoch. They lie in checkpoints/kept"""
    log: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """further places that get every row"""
    profile: str | None = None
    """N:M profiles the steps from N up to M; the trace lies beside the record"""
    probe: tuple[Literal["sharpness", "smallest_eigenvalue"], ...] = ()
    """eigenvalues of the Hessian on one training batch, measured whenever the run is evaluated; report draws them"""
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
class Compare:
    """Compare methods on a task, yours or one that ships, tuned alike."""

    task: str
    """a name (optaxaccel list tasks), or my_file.py:make_task, a function that returns a Task"""
    methods: tuple[str, ...]
    """names such as pal or optax.adam; with arguments in quotes: 'pal(measuring_step_size=0.1)'"""
    tune: tuple[str, ...] = ()
    """NAME=V,V,... tries each value on validation data, for every method that has the argument"""
    steps: int | None = None
    """updates of every run; by default the task's own number"""
    calls: int | None = None
    """instead, oracle calls of every run: losses, gradients and Hessian products"""
    seconds: float | None = None
    """instead, seconds of training of every run"""
    seeds: int = 5
    """number of final runs of each method"""
    tune_seeds: int = 1
    """number of runs that choose a setting"""
    evaluations: int = 20
    """how often a run is measured"""
    size: Literal["smoke", "small"] = "small"
    """of a task that ships: smoke (seconds) or small (two cores)"""
    task_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """arguments of the task's maker"""
    probe: tuple[Literal["sharpness", "smallest_eigenvalue"], ...] = ()
    """eigenvalues of the Hessian on one training batch, measured with every evaluation and drawn"""
    out: Path | None = None
    """folder of records, table and figure; by default runs/compare-TASK"""
    resume: bool = False
    """skip the runs that are finished in the folder"""


@dataclasses.dataclass(frozen=True)
class RunFile:
    """Run an experiment's definition: tune all alike, then train anew."""

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
    first_steps: int | None = None
    """only see that every contender starts, and what it costs: so many updates of its first setting"""
    publish: bool = False
    """write the thinned records, or what first steps cost, beside the definition; rebuild its figures and pages"""
    data_dir: str | None = None
    """folder of prepared TFDS data; by default $TFDS_DATA_DIR"""


@dataclasses.dataclass(frozen=True)
class Report:
    """Show the records at a path, or rebuild all pages of experiments."""

    path: Annotated[Path, tyro.conf.Positional]
    """a record (.jsonl), a folder of records, or a folder of experiments, whose pages and figures are then rebuilt"""
    figure: Path | None = None
    """the figure's path; by default figure.png beside the records"""
    definitions: bool = False
    """run the definitions below the path, which are Python, to rebuild their pages; this project's own always are"""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measure what a run has trained, and write it for other programs."""

    run: Annotated[Path, tyro.conf.Positional]
    """the folder of a run"""
    which: str = "best"
    """best, last, or the step of a checkpoint that was kept"""
    export: Path | None = None
    """a file for the parameters and the network's state; its ending says in which format: .safetensors or .npz"""


@dataclasses.dataclass(frozen=True)
class Extrapolate:
    """Extrapolate the last checkpoints of any training run (RNA)."""

    folder: Annotated[Path, tyro.conf.Positional]
    """the folder of a run with --keep, of which the iterates are taken that its method evaluates; or one that holds
    orbax steps (100/), safetensors (files, or folders of Hugging Face), Flax files (checkpoint_100, *.msgpack), .npz
    files, or PyTorch files where PyTorch is installed; the number that counts in their names is their order"""
    last: int = 11
    """how many of the newest to take, K + 1"""
    regularization: float = 1e-8
    """lambda, in units of the largest eigenvalue of R'R; larger ones (1e-6, 1e-4) are closer to a mean"""
    absolute: bool = False
    """lambda as it is, as the paper prints it"""
    iterate: Literal["tail", "head"] = "tail"
    """whether the weights belong to the newer or to the older ends of the differences"""
    params: str | None = None
    """path of the parameters in a checkpoint (state/params, of a run: those where gradients are taken), "." for all of
    it; by default the nearest entry called params"""
    order: str | None = None
    """what came first: a word before a number in the names (epoch), 1 or -1 for the first or last number, name, time"""
    skip_not_finite: bool = False
    """leave out checkpoints with NaN or infinities, instead of refusing them"""
    value_fn: str | None = None
    """FILE.py:FUNCTION of the tree that would be written, a loss: the best of several regularisations, of the mean and
    of the newest checkpoint is written. The file is run"""
    model: str | None = None
    """instead, the network that was trained, as of train: its loss on training images of --data chooses"""
    model_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """overrides of the model, as of train"""
    data: str | None = None
    """a data set's name, or the path of an .npz file or of a folder of images, as of train"""
    shard: str | None = None
    """I/N writes part I of N of the result, in safetensors; several hosts write one part each"""
    out: Path | None = None
    """where to write; its ending says in which format; by default CHECKPOINTS/extrapolated, as the checkpoints are"""


@dataclasses.dataclass(frozen=True)
class Merge:
    """Merge the last checkpoints of any training run by a weighted mean."""

    folder: Annotated[Path, tyro.conf.Positional]
    """as of extrapolate"""
    weights: str = "mean"
    """mean (LAWA), ema, linear, cosine or one_minus_sqrt (decays of the learning rate, WSM), rna (as extrapolate),
    greedy or adaptive (chosen by --value-fn), or one number a checkpoint, oldest first: 0.2,0.3,0.5"""
    last: int = 10
    """how many of the newest to take; numbers take as many as they are"""
    decay: float = 0.9
    """of ema: what the mean keeps at each further checkpoint"""
    debias: bool = False
    """ema starts from zero and is divided by the sum of its weights, instead of starting from the oldest checkpoint"""
    points: Literal["inside", "from_zero", "to_one"] = "inside"
    """times of a decay over k + 1 checkpoints: i/(k+1), (i-1)/k or i/k"""
    regularization: float = 1e-8
    """of rna"""
    params: str | None = None
    """as of extrapolate, and so are the next two"""
    order: str | None = None
    """what came first"""
    skip_not_finite: bool = False
    """leave out checkpoints with NaN or infinities, instead of refusing them"""
    value_fn: str | None = None
    """FILE.py:FUNCTION of the tree that would be written, a loss, for greedy and adaptive. The file is run"""
    model: str | None = None
    """as of extrapolate, and so are the next two"""
    model_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """overrides of the model"""
    data: str | None = None
    """the training images whose loss chooses, for greedy and adaptive"""
    shard: str | None = None
    """I/N writes part I of N of the result, in safetensors; several hosts write one part each"""
    out: Path | None = None
    """where to write; its ending says in which format; by default CHECKPOINTS/merged, as the checkpoints are"""


@dataclasses.dataclass(frozen=True)
class Data:
    """List data sets, or describe, prepare or verify one."""

    action: Annotated[Literal["list", "info", "prepare", "verify"], tyro.conf.Positional] = "list"
    """list them; info: describe one; prepare: download it with TFDS; verify: read it whole and compare"""
    name: Annotated[str, tyro.conf.Positional] = ""
    """the data set"""
    data_dir: str | None = None
    """folder of prepared TFDS data; by default $TFDS_DATA_DIR"""


Command = List | Train | Compare | RunFile | Report | Evaluate | Extrapolate | Merge | Data
NAMES = {
    List: "list",
    Train: "train",
    Compare: "compare",
    RunFile: "run",
    Report: "report",
    Evaluate: "evaluate",
    Extrapolate: "extrapolate",
    Merge: "merge",
    Data: "data",
}

HIDDEN = frozenset({"start_from"})  # fields of a run that are no options: --from says it
EXAMPLES = {
    "list": "optaxaccel list pal",
    "train": "optaxaccel train --method pal --data digits --epochs 20 --out runs/pal",
    "compare": "optaxaccel compare --task copy --methods pal tuning_free --seeds 3",
    "run": "optaxaccel run experiments/arena/digits.py --scale small --resume",
    "report": "optaxaccel report runs/pal",
    "evaluate": "optaxaccel evaluate runs/pal --which best --export pal.safetensors",
    "extrapolate": "optaxaccel extrapolate checkpoints --data digits --model mlp",
    "merge": "optaxaccel merge checkpoints --weights ema --last 10",
    "data": "optaxaccel data info digits",
}
