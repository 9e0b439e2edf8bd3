"""Load what a run has trained: its parameters to evaluate, its network, and what it was a run of."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from optaxaccel import methods, models, tasks
from optaxaccel.tasks import batches
from optaxaccel.tasks.images import images
from optaxaccel.tasks.task import Task
from optaxaccel.training.keeping import reading, records
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.fields import plain
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import feed, fingerprint, members
from optaxaccel.training.steps.state import TrainState

Tree = Any


class Loaded(NamedTuple):
    """A trained network.

    Attributes:
      run: the specification that it was trained with.
      task: the task, with its data, loss and metrics.
      params: the parameters to evaluate: the iterate that the method wants evaluated.
      net_state: what the network carries beside them, such as batch statistics.
      step: the number of updates.
      predict: inputs -> what the network says: logits of images or of tokens; of rows of a table, as they stand in its
        file, logits or the target in its own units; values at points.
      evaluate: () -> the metrics on the task's test data.
      state: the whole state of training.
    """

    run: Run
    task: Task
    params: Tree
    net_state: Tree
    step: int
    predict: Callable[[Any], jax.Array]
    evaluate: Callable[[], dict[str, float]]
    state: TrainState


def load(folder: str | Path, which: Literal["best", "last"] | int = "best") -> Loaded:
    """Load a run from its folder.

    Args:
      folder: of the run: it holds `record.jsonl` and `checkpoints`.
      which: "best" by the score of the evaluations, "last", or the step of a checkpoint that was kept.

    Raises:
      FileNotFoundError: there is no run, or no such checkpoint; ValueError: `which` is something else, or the run's
        data, network or task are not what they were: a table's new rows change its scales, a new word its columns.
        Of a task of one's own, whose functions or data are others and still fit, that is a warning.

    Example:
      ```
      trained = optaxaccel.training.load("runs/pal-cnn-mnist-1a2b3c4d5e6f")
      logits = trained.predict(images)  # uint8 [batch, height, width, channels]
      ```
    """
    place = Path(folder)
    if not (place / "record.jsonl").is_file():
        raise FileNotFoundError(f"{place} is no folder of a run: it has no record.jsonl. Pass the --out of a training.")
    if not records.has_a_row(place / "record.jsonl"):
        raise FileNotFoundError(f"{place} has a record without a row: its run is only starting. Ask again in a moment.")
    if not (place / "checkpoints").is_dir():
        raise FileNotFoundError(
            f"{place} has no checkpoints. Train with optaxaccel train, or training.loop with keep=."
        )
    which = plain(which)
    numbered = isinstance(which, int) and not isinstance(which, bool)
    if not numbered and not (isinstance(which, str) and which in ("best", "last")):
        raise ValueError(f"which={which!r} is unknown. Pass 'best', 'last', or the step of a checkpoint that was kept.")
    run = run_of(records.read(place / "record.jsonl").start["spec"])
    task = task_of(run)
    if other := changed(place, run, task):
        if ":" not in run.task:
            raise ValueError(other)
        warnings.warn(other, stacklevel=2)
    return unchecked(place, which, run, task)


def changed(folder: Path, run: Run, task: Task) -> str:
    """Return what to say if a run's data, or its task of one's own, are not what it was trained on; or else ""."""
    path = folder / "record.jsonl"
    now = fingerprint.of_run(run, task) if run.task else feed.data_hash(run)
    try:
        records.refuse_other_data(path, records.read(path).start, now)
    except ValueError as error:
        return str(error)
    return ""


def unchecked(place: Path, which: Literal["best", "last"] | int, run: Run, task: Task) -> Loaded:
    """Return what `load` does, whatever became of the data since.

    Raises:
      FileNotFoundError: there is no such checkpoint; ValueError: it is of a network of other shapes.
    """
    step = which if isinstance(which, int) else None
    with jax.enable_x64(task.precision == "float64"):
        state, at = _restored(place, run, task, "kept" if step is not None else str(which), step)
        params = methods.eval_params(state.opt_state, state.params)

    def within(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with jax.enable_x64(task.precision == "float64"):
                return function(*arguments)

        return call

    def predict(inputs: Any) -> jax.Array:
        if task.predict is None:
            raise ValueError(
                f"{task.name} says no prediction. Give it one: Task(..., predict=lambda params, net_state, x: ...)."
            )
        return task.predict(params, state.net_state, inputs)

    def evaluate() -> dict[str, float]:
        source = task.train if task.test is None else task.test
        drawn = source if callable(source) else None
        arrays = members.data_of(task).test
        measured = jax.jit(lambda p, s, d: batches.measure(task, p, s, d if drawn is None else drawn))
        return {name: float(value) for name, value in measured(params, state.net_state, arrays).items()}

    return Loaded(run, task, params, state.net_state, at, within(predict), within(evaluate), state)


def evaluated(folder: Path) -> Callable[[Path], Tree] | None:
    """Return what reads a checkpoint that a run kept as the iterate that its method evaluates; no data are loaded.

    Args:
      folder: of the run.

    Returns:
      (path of the checkpoint) -> {"params", "net_state"} as arrays of NumPy; None where the method evaluates the
      parameters themselves, which are read without it.
    """
    folder = folder.absolute()  # orbax takes no other paths
    kept = folder / "checkpoints" / "kept"
    steps = reading.steps(kept)
    if not steps:
        return None
    newest: Any = kept / str(steps[-1]) / "tree"
    start = records.read(folder / "record.jsonl").start
    run = run_of(start["spec"])
    epoch = max(1, start.get("steps_per_epoch", 1))
    recipe = optimizer.recipe(run, total_steps=run.total_steps(epoch) if run.schedule else 1, steps_per_epoch=epoch)
    written = ocp.StandardCheckpointHandler().metadata(newest).tree["state"]
    double = any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(written["params"]))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def placed(tree: Tree) -> Tree:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), tree)

    with jax.enable_x64(double):
        fields = {name: placed(written.get(name, {})) for name in ("step", "params", "net_state", "key")}
        opt_state = jax.eval_shape(recipe.build(recipe.numbers).init, fields["params"])
        like = TrainState(**fields, opt_state=placed(opt_state))
        traced = jax.make_jaxpr(methods.eval_params)(like.opt_state, like.params)
    count = len(jax.tree.leaves(like.params))
    if traced.jaxpr.outvars == traced.jaxpr.invars[len(traced.jaxpr.invars) - count :]:
        return None

    def read(path: Path) -> Tree:
        with jax.enable_x64(double):
            state = reading.read(folder / "checkpoints", "kept", int(path.name), {"state": like}).tree["state"]
            params = methods.eval_params(state.opt_state, state.params)
        return jax.device_get({"params": params, "net_state": state.net_state})

    return read


def run_of(spec: Mapping[str, Any]) -> Run:
    """Return the run of a record's specification."""
    known = Run().__dataclass_fields__
    return Run(**{name: value for name, value in spec.items() if name in known})


def task_of(run: Run) -> Task:
    """Return the task of a run; of images too, measured on the test images of the run.

    Raises:
      ValueError: the images are streamed.
    """
    if run.task:
        arguments = dict(run.task_args)
        return tasks.make(run.task, size=arguments.pop("size", "small"), **arguments)
    more = {"train_split": run.train_split, "test_split": run.test_split, "data_dir": run.data_dir}
    half = {} if run.precision == "float32" else {"dtype": run.precision}
    task = images(
        model=partial(models.make, run.model, **{**run.model_args, **half}),
        dataset=run.data,
        batch_size=run.batch_size,
        normalise=run.normalise,
        augment=run.augment,
        **more,
    )
    return task.replace(name=f"{run.model} on {run.data}")


def _restored(folder: Path, run: Run, task: Task, which: str, step: int | None) -> tuple[TrainState, int]:
    """Return the state of a checkpoint and its step."""
    recipe = optimizer.recipe(run, total_steps=max(1, run.steps or 1), steps_per_epoch=batches.steps_per_epoch(task))
    data = members.data_of(task)
    numbers = {name: np.asarray(value, np.float32) for name, value in recipe.numbers.items()}
    like = jax.eval_shape(members.functions(task, recipe).init, data, np.uint32(run.seed), numbers)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like)
    if which == "last":
        tree: Any = {"member": like.kept} if run.task else {"state": like.state, "histories": ()}
        if run.extrapolate:
            raise ValueError(
                "The last checkpoint of a run with --extrapolate holds its histories too. Load which='best'."
            )
    else:
        tree = {"state": like.state}
    try:
        checkpoint = reading.read(folder / "checkpoints", which, step, tree)
    except reading.OtherShapesError as error:
        raise ValueError(
            f"{folder} was trained with a network of other shapes than {run.task or run.data} makes now: its data, its "
            "task or its network changed since. Bring back what it was, or train anew with another --out."
        ) from error
    saved = checkpoint.tree
    return (saved["member"].state if "member" in saved else saved["state"]), checkpoint.step
