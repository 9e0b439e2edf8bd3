"""RNA after training: extrapolate checkpoints that any training run has left in a folder.

`order` says which files are checkpoints and which came first, `layout` which part of one is the parameters, `formats`
how they are read and written, `writing` where the result goes. `merging` is the same for other weights.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import optaxaccel
from optaxaccel.methods._merge_by_loss import number_of
from optaxaccel.training.histories import writing
from optaxaccel.training.histories.checkpoint_order import CheckpointFiles, find
from optaxaccel.training.histories.in_memory import InMemory, Point, of_trees
from optaxaccel.training.histories.newest_checkpoints import Read

__all__ = ["Candidate", "CheckpointFiles", "Extrapolated", "extrapolate_folder", "find"]

Tree = Any
CALM = 10.0  # sum of |c| up to which nobody is warned: it is how much of a checkpoint's noise is in the result
PROGRAM = f"optaxaccel {optaxaccel.__version__} extrapolate"
GRID = (1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)  # regularisations tried where a loss chooses


class Candidate(NamedTuple):
    """What was tried where a loss chooses, and its loss: the newest (None), a regularisation, the mean (infinity)."""

    regularization: float | None
    value: float


class Extrapolated(NamedTuple):
    """What was made of a folder.

    Attributes:
      path: where the result lies.
      names: the checkpoints, oldest first.
      weights: those of `extrapolation_weights`, one a difference of successive checkpoints; they sum to 1. Where the
        newest checkpoint was better than every extrapolation, its weight is 1.
      where: the part of a checkpoint that was taken for the parameters, "" for all of it.
      arrays: number of arrays in it.
      numbers: number of entries in them.
      statistics: the running statistics beside the parameters that were combined with the same weights, "" where there
        are none.
      left_out: names of what lies in the folder and has no place in the order.
      inside: names of the running statistics among the parameters, which were combined likewise.
      skipped: what was left out because it is not finite, and why.
      kept: names of what is no weight and is that of the newest checkpoint.
      regularization: the one that was used; None where the newest checkpoint was taken, infinity where the mean was.
      calmer: a larger regularisation with sum of |c| <= 10, and that sum; None where the weights are as calm already.
      candidates: what was tried, where a loss chose.
    """

    path: Path
    names: list[str]
    weights: list[float]
    where: str
    arrays: int
    numbers: int
    statistics: str
    left_out: list[str]
    inside: list[str]
    skipped: dict[str, str]
    kept: list[str]
    regularization: float | None
    calmer: tuple[float, float] | None
    candidates: list[Candidate]


def extrapolate_folder(
    folder: Path,
    *,
    last: int = 11,
    regularization: float = 1e-8,
    relative: bool = True,
    iterate: str = "tail",
    params: str | None = None,
    order: str | None = None,
    skip_not_finite: bool = False,
    value_fn: Callable[[Tree], Any] | None = None,
    out: Path | None = None,
    shard: tuple[int, int] | None = None,
    in_memory: int = writing.IN_MEMORY,
    reader: Callable[[Path], Tree] | None = None,
    progress: writing.Progress | None = None,
) -> Extrapolated:
    """Extrapolate the last checkpoints of a folder and write the result beside them.

    Args:
      folder: holds step folders of orbax (`100/`, `epoch_3/`), folders or files of safetensors, Flax msgpack files
        (`*.msgpack`, `checkpoint_100`), PyTorch files, or `.npz` files, whose arrays may have names like
        "params/dense/kernel".
      last: how many to take, K + 1; the paper takes 11. All, where there are fewer.
      regularization: see `optaxaccel.extrapolate`, as the next two.
      relative: see there.
      iterate: see there.
      params: path of the parameters in a checkpoint, as in "state/params", "." for all of it. By default the nearest
        entry called "params", or all of a checkpoint that holds nothing but the layers of a network. Running statistics
        called "batch_stats" or "net_state" beside them are combined with the same weights, as are those inside.
      order: what says which checkpoint came first: a word before a number, as in "epoch", the place of a number in the
        names, "name" or "time". By default the integer that counts in all names.
      skip_not_finite: whether to leave out checkpoints that are not finite, instead of refusing them.
      value_fn: a loss of the tree that would be written. The newest checkpoint, several regularisations and the mean
        are tried, and the best is written.
      out: where to write; its ending says in which format. By default `extrapolated` in the folder, in the format of
        the checkpoints. A note of what was done lies beside it, as JSON.
      shard: (i, n) writes part i of n, counted from 1, of a result in n safetensors files; part 1 writes their index,
        too. Several hosts write one part each, each with weights of its own that are those of all.
      in_memory: bytes of files up to which all checkpoints are read at once; larger ones stay in their files, which
        are looked at block by block. There, lambda under 1e-12 is lost in the rounding of R'R in double precision.
      reader: reads a checkpoint where its format is not to do it, see `optaxaccel.training.loading.evaluated`; all that
        are taken are held in memory then.
      progress: is called with numbers of bytes: read, and to be read.

    Returns:
      What was found, weighed and written.

    Raises:
      FileNotFoundError: there is no folder, or nothing in it that can be read as a checkpoint.
      FileExistsError: something lies where the result should go.
      ValueError: too few checkpoints, unlike ones, a damaged one, one that is not finite, or no telling their order or
        what the parameters are.
    """
    if last < 3:
        raise ValueError(f"last={last} is under 3: with one difference its weight is 1, whatever it is. Pass last=11.")
    files = find(folder, order, reader)
    to = writing.output(out, files, folder, "extrapolated", shard)
    options = {"relative": relative, "iterate": iterate}

    def made(task: writing.Work) -> Extrapolated:
        read, source = task.read, task.source
        _refuse_unless_enough(read, folder)

        def point(strength: float | None) -> Point:
            if strength is None:
                return Point(np.eye(len(read.paths))[-1])
            if math.isinf(strength):
                return Point(of_trees(_mean(len(read.paths)), iterate))
            arguments = {"regularization": strength, **options}
            in_memory = isinstance(source, InMemory)  # its weights are found where they are needed
            weights = np.zeros(0) if in_memory else of_trees(source.extrapolation(strength, relative), iterate)
            return Point(weights, arguments)

        grid = {regularization, *GRID}
        tried = [] if value_fn is None else _tried(value_fn, lambda strength: source.tree(point(strength)), grid)
        used = min(tried, key=lambda candidate: candidate.value).regularization if tried else regularization
        weights, calmer = _weights(lambda strength: source.extrapolation(strength, relative), len(read.paths), used)
        writing.write(task, to, point(used), PROGRAM, weights)
        done = Extrapolated(
            path=to.file,
            weights=weights,
            regularization=used,
            calmer=calmer,
            candidates=tried,
            left_out=files.left_out,
            **writing.about(read),
        )
        writing.publish(task, to, dict(_note(done)))
        return done

    how: Any = {"last": last, "params": params, "skip": skip_not_finite, "in_memory": in_memory, "progress": progress}
    return writing.work(files, to, made, passes=2 if value_fn is None else 4 + len(GRID), **how)


def _refuse_unless_enough(read: Read, folder: Path) -> None:
    if len(read.paths) >= 3:
        return
    names = ", ".join(path.name for path in read.paths)
    raise ValueError(
        f"{folder} holds {len(read.paths)} checkpoint(s) that can be used: {names}. An extrapolation needs three or "
        "more, because one difference alone has the weight 1. Keep more of them while training."
    )


# --- Weighing ---------------------------------------------------------------------------------------------------------


def _weights(weights: Callable[[float], np.ndarray], count: int, strength: float | None) -> tuple[list[float], Any]:
    """Return the weights, and a calmer regularisation where they are wild."""
    if strength is None:
        return [0.0] * (count - 2) + [1.0], None
    if math.isinf(strength):
        return _mean(count).tolist(), None
    numbers = weights(strength)
    if np.abs(numbers).sum() <= CALM:
        return numbers.tolist(), None
    power = math.floor(math.log10(max(strength, 1e-18)))
    for larger in (10.0**k for k in range(power + 2, power + 22, 2)):
        calm = float(np.abs(weights(larger)).sum())
        if calm <= CALM:
            return numbers.tolist(), (larger, calm)
    return numbers.tolist(), (larger, calm)


def _mean(count: int) -> np.ndarray:
    """Return the weights that all differences have in the limit of a large regularisation."""
    return np.full(count - 1, 1 / (count - 1))


def _tried(value_fn: Callable[[Tree], Any], result: Callable[[Any], Tree], grid: set[float]) -> list[Candidate]:
    """Return the loss of the newest checkpoint, of every extrapolation and of the mean."""
    return [Candidate(strength, number_of(value_fn(result(strength)))) for strength in (None, *sorted(grid), math.inf)]


# --- The note ---------------------------------------------------------------------------------------------------------


def _note(done: Extrapolated) -> Iterator[tuple[str, Any]]:
    yield "program", PROGRAM
    yield "checkpoints", done.names
    yield "weights", done.weights
    mean = done.regularization is not None and math.isinf(done.regularization)
    yield "regularization", "mean" if mean else done.regularization
    yield "parameters", done.where or "all"
    statistics: Mapping[str, Any] = {
        "names": [name for name in (done.statistics, *done.inside) if name],
        "treatment": "no say in the weights; combined with them; variances kept within the range of the checkpoints",
    }
    yield "statistics", statistics if statistics["names"] else None
    yield "kept from the newest", done.kept
    yield "skipped", done.skipped
