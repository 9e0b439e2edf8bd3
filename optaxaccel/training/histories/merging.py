"""Merging after training: one checkpoint as a weighted mean of the last ones that a run has left in a folder."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import optaxaccel
from optaxaccel import methods, registry
from optaxaccel.methods import _merge_by_loss as by_loss
from optaxaccel.methods import _merge_weights as by_order
from optaxaccel.training.histories import writing
from optaxaccel.training.histories.checkpoint_order import find
from optaxaccel.training.histories.in_memory import InMemory, Point, of_trees
from optaxaccel.training.histories.newest_checkpoints import Read
from optaxaccel.training.histories.streamed import Streamed

__all__ = ["Merged", "merge_folder"]

Tree = Any
PROGRAM = f"optaxaccel {optaxaccel.__version__} merge"
KINDS = (*by_order.KINDS, "rna", *by_loss.CHOICES)


class Merged(NamedTuple):
    """What was made of a folder.

    Attributes:
      path: where the result lies.
      names: the checkpoints, oldest first.
      weights: one a checkpoint; they sum to 1.
      kind: which weights they are: a name of `optaxaccel.merge`, "given", or what an adaptive choice chose.
      candidates: the losses of what was tried, by name, where a loss chose among several weights.
      where: the part of a checkpoint that was taken for the parameters, "" for all of it.
      arrays: number of arrays in it.
      numbers: number of entries in them.
      statistics: the running statistics beside the parameters that were merged with the same weights, "" for none.
      left_out: names of what lies in the folder and has no place in the order.
      inside: names of the running statistics among the parameters, which were merged likewise.
      skipped: what was left out because it is not finite, and why.
      kept: names of what is no weight and is that of the newest checkpoint.
    """

    path: Path
    names: list[str]
    weights: list[float]
    kind: str
    candidates: list[tuple[str, float]]
    where: str
    arrays: int
    numbers: int
    statistics: str
    left_out: list[str]
    inside: list[str]
    skipped: dict[str, str]
    kept: list[str]


def merge_folder(
    folder: Path,
    weights: str | Sequence[float] = "mean",
    *,
    last: int = 10,
    decay: float = 0.9,
    debias: bool = False,
    points: str = "inside",
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
) -> Merged:
    """Merge the last checkpoints of a folder and write the result beside them.

    Args:
      folder: see `offline.extrapolate_folder`, as params, order, skip_not_finite, shard, in_memory and progress.
      weights: see `optaxaccel.merge`; numbers are one a checkpoint, oldest first.
      last: how many of the newest to take, all where there are fewer; numbers take as many as they are.
      decay: see `optaxaccel.merge_weights`, as the next two.
      debias: see there.
      points: see there.
      regularization: see `optaxaccel.extrapolate`, as the next two; for "rna" alone.
      relative: see there.
      iterate: see there.
      params: see above.
      order: see above.
      skip_not_finite: see above; numbers do not go with it.
      value_fn: a loss of the tree that would be written, for "greedy" and "adaptive".
      out: where to write; its ending says in which format. By default `merged` in the folder, in the format of the
        checkpoints. A note of what was done lies beside it, as JSON.
      shard: see above.
      in_memory: see above.
      reader: see above.
      progress: see above.

    Returns:
      What was found, weighed and written.

    Raises:
      FileNotFoundError: there is no folder, or nothing in it that can be read as a checkpoint.
      FileExistsError: something lies where the result should go.
      ValueError: an argument is of no use, too few checkpoints, unlike ones, a damaged one, one that is not finite, or
        no telling their order or what the parameters are.
    """
    kind, numbers = (weights, None) if isinstance(weights, str) else ("given", np.asarray(weights, float))
    _check(kind, numbers, last, skip_not_finite, value_fn)
    last = last if numbers is None else len(numbers)
    about = {"decay": decay, "debias": debias, "points": points}
    files = find(folder, order, reader)
    to = writing.output(out, files, folder, "merged", shard)

    def made(task: writing.Work) -> Merged:
        count = len(task.read.paths)
        if count < (least := 3 if kind == "rna" else 1 if numbers is None else len(numbers)):
            raise ValueError(
                f"{folder} holds {count} checkpoint(s) that can be used, and weights={kind!r} needs {least}. Keep more "
                "of them while training, or pass --weights mean."
            )
        tried: list[tuple[str, float]] = []
        extrapolated = {"regularization": regularization, "relative": relative, "iterate": iterate}
        if numbers is not None:
            point, chosen = Point(numbers), kind
        elif kind == "rna":
            point, chosen = _rna(task.source, extrapolated), kind
        elif kind == "greedy":
            point, chosen = Point(by_loss.greedy(count, _value_of(task.source, value_fn))), kind
        elif kind == "adaptive":
            point, chosen = _best(task.source, count, value_fn, tried, extrapolated)
        else:
            point, chosen = Point(methods.merge_weights(kind, count, **about)), kind
        writing.write(task, to, point, PROGRAM, point.weights.tolist())
        done = Merged(
            path=to.file,
            weights=point.weights.tolist(),
            kind=chosen,
            candidates=tried,
            left_out=files.left_out,
            **writing.about(task.read),
        )
        writing.publish(task, to, dict(_note(done, task.read)))
        return done

    how: Any = {"last": last, "params": params, "skip": skip_not_finite, "in_memory": in_memory, "progress": progress}
    passes = {"rna": 2, "greedy": 2 * last, "adaptive": 11}.get(kind, 1)
    return writing.work(files, to, made, passes=passes, squared=kind in ("rna", "adaptive"), **how)


def _check(kind: str, numbers: np.ndarray | None, last: int, skip: bool, value_fn: Any) -> None:
    if numbers is None and kind not in KINDS:
        raise ValueError(
            f"weights={kind!r} are unknown.{registry.suggestion(kind, KINDS)} Pass one of {', '.join(KINDS)}, or "
            "numbers: --weights 0.2,0.3,0.5."
        )
    if numbers is not None and (
        not numbers.size or not abs(numbers.sum() - 1.0) <= 1e-5 * max(1.0, abs(numbers).sum())
    ):
        raise ValueError(
            f"The weights sum to {numbers.sum():.6g}, but the parameters would be scaled by another sum than 1. Divide "
            "them by their sum."
        )
    if numbers is not None and skip:
        raise ValueError(
            "With --skip-not-finite it is not known which checkpoint a given weight belongs to. Move what is not "
            "finite elsewhere, or pass the name of weights."
        )
    if last < 1:
        raise ValueError(f"last={last} is under 1, and there is nothing to merge. Pass last=10.")
    if (value_fn is not None) != (kind in by_loss.CHOICES):
        what = "are chosen by a loss, and there is none" if value_fn is None else "are not chosen by a loss"
        raise ValueError(
            f"weights={kind!r} {what}. Pass --weights greedy or adaptive with --value-fn FILE.py:FUNCTION, or neither."
        )


# --- Choosing ---------------------------------------------------------------------------------------------------------


def _rna(source: InMemory | Streamed, extrapolated: dict[str, Any]) -> Point:
    weights = source.extrapolation(extrapolated["regularization"], extrapolated["relative"])
    return Point(of_trees(weights / weights.sum(), extrapolated["iterate"]), extrapolated)


def _value_of(source: InMemory | Streamed, value_fn: Any) -> by_loss.ValueOf:
    return lambda weights: by_loss.number_of(value_fn(source.tree(Point(weights))))


def _best(
    source: InMemory | Streamed, count: int, value_fn: Any, tried: list[tuple[str, float]], extrapolated: dict[str, Any]
) -> tuple[Point, str]:
    candidates = [(name, Point(weights)) for name, weights in by_loss.by_order(count)]
    strengths = by_loss.REGULARIZATIONS if count > 2 else ()
    for strength in strengths:
        candidates.append((f"rna, {strength:.0e}", _rna(source, {**extrapolated, "regularization": strength})))
    value_of = _value_of(source, value_fn)
    weights, values = by_loss.best([point.weights for _, point in candidates], value_of)
    tried += [(name, value) for (name, _), value in zip(candidates, values, strict=True)]
    return Point(weights), candidates[int(np.argmin(values))][0]


def _note(done: Merged, read: Read) -> Iterator[tuple[str, Any]]:
    yield "program", PROGRAM
    yield "kind", done.kind
    yield "checkpoints", done.names
    yield "paths", [str(path) for path in read.paths]
    yield "weights", done.weights
    yield "parameters", done.where or "all"
    yield "statistics", [name for name in (done.statistics, *done.inside) if name] or None
    yield "losses", dict(done.candidates) or None
    yield "kept from the newest", done.kept
    yield "skipped", done.skipped
