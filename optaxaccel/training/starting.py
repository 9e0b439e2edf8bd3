"""A run that starts where another one stands: with its parameters and its network's state, and everything else anew."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.training import loading
from optaxaccel.training.keeping import records
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps.state import TrainState

Tree = Any


class Start(NamedTuple):
    """What a run begins with, as arrays of NumPy: the parameters that the other's method evaluates, and the state."""

    params: Tree
    net_state: Tree


def origin(folder: Path, which: str = "last") -> tuple[Run, dict[str, Any]]:
    """Return the run in a folder, and how `Run.start_from` names one of its checkpoints.

    Args:
      folder: of a run.
      which: "last", "best", or the step of a checkpoint that was kept.

    Raises:
      FileNotFoundError: there is no run, or it has no such checkpoint; ValueError: `which` is something else.
    """
    if not (folder / "record.jsonl").is_file():
        raise FileNotFoundError(
            f"{folder} is no folder of a run: it has no record.jsonl. Pass the --out of a training."
        )
    if which not in ("last", "best") and not which.isdigit():
        raise ValueError(
            f"--from-which {which} is unknown. Pass last, best, or the step of a checkpoint that was kept."
        )
    start = records.read(folder / "record.jsonl").start
    place = folder / "checkpoints" / (which if which in ("last", "best") else "kept")
    steps = sorted(int(path.name) for path in place.glob("*") if path.name.isdigit())
    if not steps or (which.isdigit() and int(which) not in steps):
        there = f"; there are {', '.join(map(str, steps))}" if steps else ""
        raise FileNotFoundError(
            f"{folder} has no checkpoint {which!r}{there}. Train with --keep-every, or pass another."
        )
    step = int(which) if which.isdigit() else steps[-1]
    about = {"run": folder.as_posix(), "which": which, "step": step, "digest": start["digest"]}
    return loading.run_of(start["spec"]), about


def load(run: Run) -> Start | None:
    """Return what a run starts from, or None where that is the network's own initialisation.

    Raises:
      FileNotFoundError: the other run, or its checkpoint, is not there; ValueError: it is another than was named, or
        its parameters are not those of this network.
    """
    if not run.start_from:
        return None
    asked = {"which": "last", **run.start_from}
    folder, which = Path(asked["run"]), str(asked["which"])
    _, there = origin(folder, which)
    for name in ("step", "digest"):
        if asked.get(name, there[name]) != there[name]:
            raise ValueError(
                f"{folder} has gone on since: its {name} is {there[name]}, and this run started from {asked[name]}. "
                "Start another run, with another --out."
            )
    place: Any = int(which) if which.isdigit() else which
    origin_run = _loaded(folder, place)
    task = loading.task_of(run)
    with jax.enable_x64(task.precision == "float64"):
        wanted = jax.eval_shape(task.init, jax.random.key(0))
    have = (origin_run.params, origin_run.net_state)
    if _shapes(have) != _shapes(wanted):
        raise ValueError(
            f"{folder} was trained with another network: its parameters are not those of this run. Leave out --model, "
            "--model-args and --task, or train anew without --from."
        )
    return Start(*jax.device_get(have))


def _loaded(folder: Path, which: Any) -> loading.Loaded:
    """Load the other run; that its data have changed since is only told, for new rows are a reason to train on."""
    run = loading.run_of(records.read(folder / "record.jsonl").start["spec"])
    task = loading.task_of(run)
    if other := loading.changed(folder, run, task):
        warnings.warn(f"{other} Its parameters are taken as they are.", stacklevel=2)
    return loading.unchecked(folder, which, run, task)


def started(start: Start, state: TrainState, tx: optax.GradientTransformation, sharding: Any = None) -> TrainState:
    """Return a state before the first step, with other parameters; every leaf gets a buffer of its own."""

    def initial(params: Tree, net_state: Tree) -> tuple[Tree, Tree, Tree]:
        params, net_state = jax.tree.map(jnp.copy, (params, net_state))
        return params, net_state, tx.init(params)

    params, net_state, opt_state = jax.jit(initial, out_shardings=sharding)(*start)
    return dataclasses.replace(state, params=params, net_state=net_state, opt_state=opt_state)  # pyright: ignore


def _shapes(tree: Tree) -> Any:
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda leaf: (jnp.shape(leaf), str(leaf.dtype)), tree))
    return leaves, structure
