"""RNA after training: extrapolate checkpoints that any training run has left in a folder.

`order` says which files are checkpoints and which came first, `layout` which part of one is the parameters, `formats`
how they are read and written. The result is written beside them, whole or not at all, and never over anything.
"""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import optaxaccel
from optaxaccel import methods
from optaxaccel.methods import leaf_kinds
from optaxaccel.training.histories import formats, layout, order, reading
from optaxaccel.training.histories.order import Found, find

__all__ = ["Candidate", "Extrapolated", "Found", "extrapolate_folder", "find"]

Tree = Any
CALM = 10.0  # sum of |c| up to which nobody is warned: it is how much of a checkpoint's noise is in the result
GRID = (1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)  # regularisations tried where a loss chooses


class Candidate(NamedTuple):
    """What was tried where a loss chooses: the newest checkpoint (None), or a regularisation, and its loss."""

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
      regularization: the one that was used; None where the newest checkpoint was taken.
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
      value_fn: a loss of the tree that would be written. The newest checkpoint and several regularisations are tried,
        and the best is written.
      out: where to write; its ending says in which format. By default `extrapolated` in the folder, in the format of
        the checkpoints. A note of what was done lies beside it, as JSON.

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
    found = find(folder, order)
    out, kind = _output(out, found, folder)
    read = reading.read(found, last, params, skip_not_finite)
    if len(read.paths) < 3:
        names = ", ".join(path.name for path in read.paths)
        raise ValueError(
            f"{folder} holds {len(read.paths)} checkpoint(s) that can be used: {names}. An extrapolation needs "
            "three or more, because one difference alone has the weight 1. Keep more of them while training."
        )
    options = {"relative": relative, "iterate": iterate}
    history = [{"/".join(n): _wide(leaf) for n, leaf in tree.items() if n not in read.kept} for tree in read.history]

    def result(strength: float | None) -> Tree:
        combined = {} if strength is None else methods.extrapolate(history, regularization=strength, **options)
        newest = read.history[-1]
        tree = layout.mapped(read.newest, lambda n: _stored(combined.get("/".join(n), newest[n]), newest[n]))
        return layout.without(tree, read.places[0][:-1])

    tried = [] if value_fn is None else _tried(value_fn, result, {regularization, *GRID})
    used = min(tried, key=lambda candidate: candidate.value).regularization if tried else regularization
    weights, calmer = _weights(history, used, relative)
    kinds = layout.kinds(read.history[-1])
    inside = [n for n, kind in kinds.items() if kind in (leaf_kinds.STATISTIC, leaf_kinds.VARIANCE)]
    beside = read.places[1:]
    arrays = [leaf for n, leaf in read.history[-1].items() if n[: len(read.places[0])] == read.places[0]]
    done = Extrapolated(
        path=out,
        names=[path.name for path in read.paths],
        weights=weights,
        where="/".join(read.places[0]),
        arrays=len(arrays),
        numbers=sum(np.size(leaf) for leaf in arrays),
        statistics="/".join(beside[0]) if beside else "",
        left_out=found.left_out,
        inside=["/".join(n) for n in inside if not any(n[: len(place)] == place for place in beside)],
        skipped=read.skipped,
        kept=sorted("/".join(n) for n in read.history[-1] if n in read.kept or kinds[n] == leaf_kinds.NEWEST),
        regularization=used,
        calmer=calmer,
        candidates=tried,
    )
    _write(kind, out, result(used), read.paths[-1], done)
    return done


# --- Weighing ---------------------------------------------------------------------------------------------------------


def _weights(history: list[Tree], strength: float | None, relative: bool) -> tuple[list[float], Any]:
    """Return the weights, and a calmer regularisation where they are wild."""
    if strength is None:
        return [0.0] * (len(history) - 2) + [1.0], None

    def weights(strength: float) -> np.ndarray:
        return np.asarray(methods.extrapolation_weights(history, regularization=strength, relative=relative), float)

    found = weights(strength)
    if np.abs(found).sum() <= CALM:
        return found.tolist(), None
    power = math.floor(math.log10(max(strength, 1e-18)))
    for larger in (10.0**k for k in range(power + 2, power + 22, 2)):
        calm = float(np.abs(weights(larger)).sum())
        if calm <= CALM:
            return found.tolist(), (larger, calm)
    return found.tolist(), (larger, calm)


def _tried(value_fn: Callable[[Tree], Any], result: Callable[[Any], Tree], grid: set[float]) -> list[Candidate]:
    """Return the loss of the newest checkpoint and of every extrapolation."""
    tried = []
    for strength in (None, *sorted(grid)):
        value = np.asarray(value_fn(result(strength)))
        if value.size != 1 or not np.issubdtype(value.dtype, np.number) or np.iscomplexobj(value):
            raise ValueError(
                f"The loss returned {value.dtype} {value.shape}, but it chooses by one number. Return a float, lower "
                "is better."
            )
        value = float(value.reshape(()))
        tried.append(Candidate(strength, value if math.isfinite(value) else math.inf))
    return tried


# --- Writing ----------------------------------------------------------------------------------------------------------


def _output(out: Path | None, found: Found, folder: Path) -> tuple[Path, formats.Format]:
    """Return where to write and how, and refuse what would be in the way of anything."""
    kind = found.format if out is None else formats.for_writing(out, found.format)
    out = folder / f"{order.RESULT}{found.format.ending}" if out is None else out
    if out.exists():
        raise FileExistsError(f"{out} exists already, and nothing is written over. Remove it, or pass another --out.")
    if out.parent.resolve() == folder.resolve() and not out.name.startswith(order.RESULT):
        raise ValueError(
            f"{out} would lie among the checkpoints and be taken for one of them. Begin its name with "
            f"{order.RESULT!r}, or write it elsewhere."
        )
    return out, kind


def _wide(leaf: Any) -> Any:
    """Return float8 as float32: JAX does not mix it with anything."""
    return leaf.astype(np.float32) if leaf_kinds.is_inexact(leaf) and np.asarray(leaf).dtype.itemsize == 1 else leaf


def _stored(leaf: Any, like: Any) -> Any:
    """Return an array of NumPy for one of JAX, in the dtype of the newest checkpoint."""
    return np.asarray(leaf).astype(like.dtype, copy=False) if isinstance(leaf, (jax.Array, np.generic)) else leaf


def _write(kind: formats.Format, out: Path, tree: Tree, like: Path, done: Extrapolated) -> None:
    """Write whole or not at all, and then a note of what was done."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{order.RESULT}-", dir=out.parent) as folder:
        temporary = Path(folder) / out.name
        kind.write(temporary, tree, like)
        note = Path(folder) / "note"
        note.write_text(json.dumps(dict(_note(done)), indent=1) + "\n")
        temporary.rename(out)
        note.rename(out.with_name(out.name + ".json"))


def _note(done: Extrapolated) -> Iterator[tuple[str, Any]]:
    yield "program", f"optaxaccel {optaxaccel.__version__} extrapolate"
    yield "checkpoints", done.names
    yield "weights", done.weights
    yield "regularization", done.regularization
    yield "parameters", done.where or "all"
    statistics: Mapping[str, Any] = {
        "names": [name for name in (done.statistics, *done.inside) if name],
        "treatment": "no say in the weights; combined with them; variances kept within the range of the checkpoints",
    }
    yield "statistics", statistics if statistics["names"] else None
    yield "kept from the newest", done.kept
    yield "skipped", done.skipped
