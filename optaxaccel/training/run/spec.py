"""A run as data: a frozen dataclass of literals. Standard library only: definitions and `--help` are instant."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any, Literal

from optaxaccel import registry
from optaxaccel.training.run.argument_text import steps_from
from optaxaccel.training.run.fields import check as _check
from optaxaccel.training.run.fields import check_kinds, literals

UNLIMITED = 10**9  # updates; more than any run makes
_MOST_TREES = 10_000


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run. Two equal specifications on the same device give equal records.

    Attributes:
      method: a name of METHODS, or `optax.<name>` for a baseline.
      method_args: the method's hyperparameters, as literals.
      schedule: hyperparameters that change: {hyperparameter: {"name": schedule, **its arguments}}. The schedule starts
        at the hyperparameter's value; lengths may be given as "3epochs".
      model: a name of MODELS.
      model_args: overrides of the model, as literals.
      data: a data set's name, or the path of an .npz file.
      train_split: part of the training images, in TFDS syntax.
      test_split: part of the test images, in TFDS syntax.
      validation: share of the training images held out at random (by a fixed seed) and evaluated INSTEAD of the test
        images; tuning uses it, so that the test images are never tuned on.
      batch_size: images a step; the last, smaller batch of an epoch is dropped.
      epochs: passes over the training images. Give this or `steps`; without either it is one epoch.
      steps: number of updates. Give this or `epochs`.
      seconds: budget of training (without compilation and evaluation), after which a run ends as done, if `steps` or
        `epochs` do not end it before. They are also the horizon of schedules, which a budget of seconds does not know.
        Such a run depends on the machine's speed: it is neither repeated nor resumed bit by bit.
      seed: sets initial weights, batches, augmentation and dropout.
      normalise: what becomes of pixels, see `data.normalisation`: "channel", "half", "pixel" or "none".
      image_size: side of the crops, in pixels, where photographs are streamed.
      crop: how streamed training images are cropped, see `data.stream.batches`.
      flip: whether half of the streamed training images are mirrored.
      augment: "none", or the data package's names joined by "+".
      weight_decay: strength of the decay. "loss": weight_decay/2 ||params||^2 is part of the loss that the method
        sees. "decoupled": after each update every parameter loses this share of itself.
      decay: where weight decay acts, "loss" or "decoupled".
      precision: dtype of the network's computation, "float32" or "bfloat16"; parameters and losses stay float32.
      micro_batches: parts in which a batch goes through the network, to save memory; the method sees the whole batch.
      remat: compute activations again in the backward pass instead of keeping them.
      parallel: how several devices share a step, "jit" (the compiler cuts the batch) or "pmap".
      on_fault: what a loss or gradient that is not finite does: "stop" the run, or "skip" the step.
      max_skips: steps skipped in a row before the run stops all the same.
      extrapolate: RNA beside training, which it leaves alone: {"K": differences, 10 by default, "regularization": 1e-8,
        or "adaptive" for what the loss on the first training images likes best (`extrapolate_adaptive`), "every": steps
        or "1epoch" between two of the trees kept, "iterate": "tail" or "head", "statistics": "combined", or "refreshed"
        on training images, "host": whether the trees are kept in the host's memory}. Empty for none.
      eval_every: epochs between evaluations.
      log_every: steps between training rows; 0 means ten an epoch, written within a twentieth of a second.
      data_dir: folder of prepared TFDS data; None means $TFDS_DATA_DIR or the TFDS default.
      task: a name of TASKS, or "my_file.py:make_task"; it says what model and data are, and `model`, `data` and what
        belongs to them then say nothing. Empty for images.
      task_args: arguments of the task's maker, as literals.
      start_from: the checkpoint of another run whose parameters and network state this one begins with: {"run": its
        folder, "which": "last", "best" or a step that was kept, "step" and "digest": what they were, where that is to
        be held}. Empty for the network's own initialisation.
    """

    method: str = "pal"
    method_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schedule: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: str = "mlp"
    model_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: str = "digits"
    train_split: str = "train"
    test_split: str = "test"
    validation: float = 0.0
    batch_size: int = 128
    epochs: float | None = None
    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    normalise: str = "channel"
    image_size: int = 224
    crop: str = "random_resized"
    flip: bool = True
    augment: str = "none"
    weight_decay: float = 0.0
    decay: Literal["loss", "decoupled"] = "loss"
    precision: Literal["float32", "bfloat16"] = "float32"
    micro_batches: int = 1
    remat: bool = False
    parallel: Literal["jit", "pmap"] = "jit"
    on_fault: Literal["stop", "skip"] = "stop"
    max_skips: int = 10
    extrapolate: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    eval_every: float = 1.0
    log_every: int = 0
    data_dir: str | None = None
    task: str = ""
    task_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    start_from: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        """Check every field that can be checked without JAX."""
        check_kinds(self)
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs={self.epochs} and steps={self.steps} are both given. Give one of them.")
        _check("epochs", self.epochs, self.epochs is None or 0 < self.epochs < math.inf, "a number > 0")
        few = self.steps is None or 1 <= self.steps <= UNLIMITED
        _check("steps", self.steps, few, f"an integer from 1 to {UNLIMITED:,}")
        _check("seconds", self.seconds, self.seconds is None or 0 < self.seconds < math.inf, "a number > 0")
        if self.seconds is not None and self.schedule and self.epochs is None and self.steps is None:
            raise ValueError(
                f"seconds={self.seconds:g} tells a schedule no horizon. Give steps or epochs, too: the schedule speaks "
                "of them, and the run ends with whichever comes first."
            )
        _check("batch_size", self.batch_size, self.batch_size >= 1, "an integer >= 1")
        _check("validation", self.validation, 0 <= self.validation < 1, "a share >= 0 and < 1")
        _check("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "a number >= 0")
        _check("decay", self.decay, self.decay in ("loss", "decoupled"), "'loss' or 'decoupled'")
        _check("precision", self.precision, self.precision in ("float32", "bfloat16"), "'float32' or 'bfloat16'")
        _check("parallel", self.parallel, self.parallel in ("jit", "pmap"), "'jit' or 'pmap'")
        _check("on_fault", self.on_fault, self.on_fault in ("stop", "skip"), "'stop' or 'skip'")
        _check("max_skips", self.max_skips, self.max_skips >= 1, "an integer >= 1")
        divides = self.micro_batches >= 1 and self.batch_size % max(1, self.micro_batches) == 0
        _check("micro_batches", self.micro_batches, divides, f"a divisor of batch_size={self.batch_size}")
        _check("eval_every", self.eval_every, 0 < self.eval_every < math.inf, "a number of epochs > 0")
        _check("log_every", self.log_every, self.log_every >= 0, "an integer >= 0")
        _check("image_size", self.image_size, self.image_size >= 1, "an integer >= 1")
        _check("seed", self.seed, 0 <= self.seed < 2**32, "an integer in [0, 2^32)")
        for name in ("method_args", "schedule", "model_args", "extrapolate", "task_args", "start_from"):
            object.__setattr__(self, name, literals(name, getattr(self, name)))
        _check_extrapolate(self.extrapolate)
        for name in self.start_from:
            if name not in _START_FROM:
                raise registry.unknown("entry of start_from", name, _START_FROM)
        named = not self.start_from or (isinstance(self.start_from.get("run"), str) and self.start_from["run"] != "")
        _check("start_from", self.start_from, named, "{'run': FOLDER}")

    def replace(self, **changes: Any) -> "Run":
        """Return a copy with some fields changed."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise registry.unknown("field of Run", name, known)
        if changes.get("steps") is not None:
            changes.setdefault("epochs", None)
        if changes.get("epochs") is not None:
            changes.setdefault("steps", None)
        return dataclasses.replace(self, **changes)

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the number of updates, at least one; no end in sight where only seconds limit them."""
        if self.steps is not None:
            return self.steps
        if self.epochs is None and self.seconds is not None:
            return UNLIMITED
        steps = (1.0 if self.epochs is None else self.epochs) * steps_per_epoch
        if steps > UNLIMITED:
            raise ValueError(
                f"epochs={self.epochs:g} are {steps:.3g} steps of {steps_per_epoch:,} an epoch, more than any run "
                f"makes. Pass fewer, or --steps {UNLIMITED} and stop the run when you like."
            )
        return max(1, round(steps))

    def next_evaluation(self, step: int, steps_per_epoch: int) -> int:
        """Return the first number of updates after `step` that ends an interval between evaluations.

        Intervals need not be whole steps: the k-th one ends with the first update at or behind k * eval_every epochs.
        It is exact: 0.1 epochs of 22 steps are 2.2 steps, five of them 11 and not 11.000000000000002.

        Example:
          >>> run, step = Run(eval_every=0.1), 0
          >>> [step := run.next_evaluation(step, 22) for _ in range(6)]
          [3, 5, 7, 9, 11, 14]
        """
        interval = Fraction(str(self.eval_every)) * steps_per_epoch
        return max(step + 1, math.ceil((step // interval + 1) * interval))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; some only where they say something, as older records lack them."""
        fields = json.loads(json.dumps(dataclasses.asdict(self)))
        return {name: value for name, value in fields.items() if value or name not in _LATER}

    def digest(self) -> str:
        """Return a short hash that names this specification, its seed included; see `setting_of`."""
        return setting_of(self.as_dict(), apart_from=())

    def setting(self) -> str:
        """Return a short hash that runs share which differ in nothing but their seeds; see `setting_of`."""
        return setting_of(self.as_dict())


_OF_TASKS = ("task", "task_args")
_LATER = (*_OF_TASKS, "start_from")
_START_FROM = ("run", "which", "step", "digest")
SEED = frozenset({"seed"})
PROBLEM = SEED | {  # what is trained and how it is measured; the others say by what means
    *("model", "model_args", "data", "train_split", "test_split", "validation", "batch_size", "epochs", "steps"),
    *("seconds", "normalise", "image_size", "crop", "flip", "augment", "eval_every", "log_every"),
    *_OF_TASKS,
}


def setting_of(spec: Mapping[str, Any], apart_from: Collection[str] = SEED) -> str:
    """Return a short hash of a specification: THE meaning of "the same setting", wherever runs are compared.

    Two specifications have one hash if they are equal in all fields but those of `apart_from`. Where the data lie never
    counts, nor do fields at their defaults, so that a new field renames no old record.

    Args:
      spec: the fields, as `Run.as_dict` or a record has them; a field that an older version lacked has its default.
      apart_from: fields that do not count. `SEED`: runs that may be averaged; `PROBLEM`: the same method and
        hyperparameters, on whatever problem; none: the very same run.

    Example:
      >>> run = Run(method_args={"momentum": 0.9})
      >>> run.replace(seed=3).setting() == run.setting(), run.replace(batch_size=3).setting() == run.setting()
      (True, False)
      >>> setting_of(run.replace(batch_size=3).as_dict(), PROBLEM) == setting_of(run.as_dict(), PROBLEM)
      True
    """
    ignored = {"data_dir", *apart_from}
    fields = {k: v for k, v in spec.items() if k not in ignored and (k not in _DEFAULTS or v != _DEFAULTS[k])}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return one line for each field in which two specifications (as dictionaries) differ.

    A field that one of them lacks, because it is of an older version, has its default there.
    """
    ours, theirs = ({**_DEFAULTS, **json.loads(json.dumps(spec))} for spec in (ours, theirs))
    names = [name for name in {**ours, **theirs} if name != "data_dir"]
    return [f"{n}: {theirs.get(n)!r} there, {ours.get(n)!r} asked" for n in names if ours.get(n) != theirs.get(n)]


EXTRAPOLATE = {
    "K": 10,
    "regularization": 1e-8,
    "every": "1epoch",
    "iterate": "tail",
    "statistics": "combined",
    "host": False,
}


def _check_extrapolate(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in EXTRAPOLATE:
            raise registry.unknown("argument of extrapolate", name, EXTRAPOLATE)
    settings = {**EXTRAPOLATE, **options}
    k, strength = settings["K"], settings["regularization"]
    whole = isinstance(k, int) and not isinstance(k, bool)
    _check("K", k, whole and 1 <= k <= _MOST_TREES, f"an integer from 1 to {_MOST_TREES:,}, so many trees are kept")
    number = isinstance(strength, (int, float)) and 0 <= strength < math.inf
    _check("regularization", strength, number or strength == "adaptive", "a number >= 0, or 'adaptive'")
    every = steps_from(settings["every"], 1000)
    _check("every", settings["every"], isinstance(every, int) and every >= 1, "a number of steps, or '1epoch'")
    _check("iterate", settings["iterate"], settings["iterate"] in ("tail", "head"), "'tail' or 'head'")
    if strength == "adaptive":
        _check("iterate", settings["iterate"], settings["iterate"] == "tail", "'tail' where the loss chooses")
    statistics = settings["statistics"]
    _check("statistics", statistics, statistics in ("combined", "refreshed"), "'combined' or 'refreshed'")
    _check("host", settings["host"], isinstance(settings["host"], bool), "True or False")


_DEFAULTS = {**Run().as_dict(), "task": "", "task_args": {}, "start_from": {}}
