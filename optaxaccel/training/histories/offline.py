"""RNA after training: extrapolate checkpoints that any training run has left in a folder.

Three formats are read, none of which can run code: step folders of orbax, Flax's msgpack files, and `.npz` files
(`allow_pickle=False`). The order is that of the last number in their names. The result is written beside them, in the
same format, and never over anything.
"""

import itertools
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from optaxaccel import methods
from optaxaccel.training.histories import formats

Tree = Any
STATISTICS = ("batch_stats", "net_state")  # what Flax and this package call the running statistics
_OPTIMISERS = ("opt_state", "optimizer", "optimizer_state", "optim", "opt")


class Found(NamedTuple):
    """The checkpoints in a folder.

    Attributes:
      paths: those taken, oldest first.
      format: how they are written.
      left_out: names of what else lies there and looks like a checkpoint without a number.
    """

    paths: list[Path]
    format: formats.Format
    left_out: list[str]


class Extrapolated(NamedTuple):
    """What was made of a folder.

    Attributes:
      path: where the result lies.
      names: the checkpoints, oldest first.
      weights: those of `extrapolation_weights`, one a difference of successive checkpoints; they sum to 1.
      where: the part of a checkpoint that was taken for the parameters, "" for all of it.
      arrays: number of arrays in it.
      numbers: number of entries in them.
      statistics: the running statistics that were combined with the same weights, "" where there are none.
      left_out: names of what lies in the folder and has no number.
    """

    path: Path
    names: list[str]
    weights: list[float]
    where: str
    arrays: int
    numbers: int
    statistics: str
    left_out: list[str]


def extrapolate_folder(
    folder: Path,
    *,
    last: int = 11,
    regularization: float = 1e-8,
    relative: bool = True,
    iterate: str = "tail",
    params: str | None = None,
    out: Path | None = None,
) -> Extrapolated:
    """Extrapolate the last checkpoints of a folder and write the result beside them.

    Args:
      folder: holds step folders of orbax (`100/`, `epoch_3/`), Flax msgpack files (`*.msgpack`, `checkpoint_100`) or
        `.npz` files, whose arrays may have names like "params/dense/kernel".
      last: how many to take, K + 1; the paper takes 11. All, where there are fewer.
      regularization: see `optaxaccel.extrapolate`, as the next two.
      relative: see there.
      iterate: see there.
      params: path of the parameters in a checkpoint, as in "state/params". By default the nearest entry called
        "params", or all of the checkpoint where there is none. Running statistics called "batch_stats" or "net_state"
        beside them are combined with the same weights.
      out: where to write; by default `extrapolated` in the folder, with the ending of the format.

    Returns:
      What was found, weighed and written.

    Raises:
      FileNotFoundError: there is no folder, or nothing in it that can be read as a checkpoint.
      FileExistsError: something lies where the result should go.
      ValueError: too few checkpoints, unlike ones, a damaged one, or no telling what the parameters are.
    """
    found = find(folder)
    if last < 3:
        raise ValueError(f"last={last} is under 3: with one difference its weight is 1, whatever it is. Pass last=11.")
    paths = found.paths[-last:]
    if len(paths) < 3:
        raise ValueError(
            f"{folder} holds {len(paths)} checkpoint(s): {', '.join(p.name for p in paths)}. An extrapolation needs "
            "three or more, because one difference alone has the weight 1. Keep more of them while training."
        )
    out = folder / f"extrapolated{found.format.ending}" if out is None else out
    if out.exists():
        raise FileExistsError(f"{out} exists already, and nothing is written over. Remove it, or pass another --out.")
    newest = found.format.read(paths[-1])
    where = locate(newest, params, paths[-1])
    history, statistics, beside = [], [], ""
    for path in reversed(paths):  # of each checkpoint nothing else stays in memory
        tree = newest if path == paths[-1] else found.format.read(path)
        beside = _statistics_beside(tree, where) if tree is newest else beside
        history.insert(0, _part(tree, where, path))
        statistics.insert(0, _part(tree, beside, path) if beside else None)
    _refuse_unlike(history, paths)
    _refuse_unlike(statistics, paths)
    with jax.enable_x64(_is_double(history[-1])):
        options = {"regularization": regularization, "relative": relative}
        weights = methods.extrapolation_weights(history, **options)
        if beside:
            parts = methods.extrapolate(history, iterate=iterate, statistics=statistics, **options)
            result = {_name(where): parts[0], _name(beside): parts[1]}
        else:
            combined = methods.extrapolate(history, iterate=iterate, **options)
            result = {_name(where): combined} if where else combined
    _write(found.format, out, jax.tree.map(np.asarray, result))
    leaves = jax.tree.leaves(history[-1])
    return Extrapolated(
        path=out,
        names=[path.name for path in paths],
        weights=np.asarray(weights, float).tolist(),
        where=where,
        arrays=len(leaves),
        numbers=sum(np.size(leaf) for leaf in leaves),
        statistics=beside,
        left_out=found.left_out,
    )


# --- Which checkpoints ------------------------------------------------------------------------------------------------


def find(folder: Path) -> Found:
    """Return the checkpoints of a folder in the order of the last number in their names.

    Raises:
      FileNotFoundError: no folder, or no checkpoint in it.
      ValueError: two formats, or two checkpoints with the same number.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder. Pass the folder that holds the checkpoints.")
    known = [(path, formats.of(path)) for path in sorted(folder.iterdir())]
    numbered = [(_number(path), path, kind) for path, kind in known if kind is not None]
    left_out = [path.name for number, path, _ in numbered if number is None and path.stem != "extrapolated"]
    taken = [(number, path, kind) for number, path, kind in numbered if number is not None]
    if not taken:
        raise FileNotFoundError(
            f"{folder} holds no checkpoint with a number in its name, only: "
            f"{', '.join(path.name for path, _ in known[:10]) or 'nothing'}. Pass the folder that holds orbax steps "
            "(100/), Flax files (checkpoint_100, *.msgpack) or .npz files."
        )
    kinds = {kind.name: kind for _, _, kind in taken}
    if len(kinds) > 1:
        raise ValueError(f"{folder} holds checkpoints of several formats: {', '.join(kinds)}. Move one kind elsewhere.")
    taken.sort(key=lambda entry: entry[0])
    for (number, path, _), (other, twin, _) in itertools.pairwise(taken):
        if number == other:
            raise ValueError(f"{path} and {twin} both have the number {number}, so their order is unknown. Rename one.")
    return Found([path for _, path, _ in taken], next(iter(kinds.values())), left_out)


def _number(path: Path) -> int | None:
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else None


# --- Which part of a checkpoint ---------------------------------------------------------------------------------------


def locate(tree: Tree, asked: str | None, path: Path) -> str:
    """Return the path of the parameters inside a checkpoint, "" for all of it.

    Raises:
      ValueError: what was asked for is not there, or there is an optimiser's state and no "params".
    """
    if asked is not None:
        try:
            _at(tree, asked)
        except KeyError:
            raise ValueError(
                f"{path} holds no {asked!r}. It holds: {', '.join(_paths(tree)) or 'one array'}. Pass --params PATH."
            ) from None
        return asked
    level = [("", tree)]
    while level:
        for prefix, node in level:
            if "params" in _entries(node):
                return _join(prefix, "params")
        level = [(_join(prefix, key), child) for prefix, node in level for key, child in _entries(node).items()]
    suspects = [name for name in _paths(tree, 2) if name.rpartition("/")[2] in _OPTIMISERS]
    if suspects:
        raise ValueError(
            f"{path} holds no 'params', but {suspects[0]!r}, which are no parameters. It holds: "
            f"{', '.join(_paths(tree))}. Say which are the parameters: --params PATH."
        )
    return ""


def _entries(node: Tree) -> Mapping[str, Tree]:
    if isinstance(node, Mapping):
        return {str(key): child for key, child in node.items()}
    if isinstance(node, (list, tuple)):
        return {str(i): child for i, child in enumerate(node)}
    return {}


def _at(tree: Tree, where: str) -> Tree:
    for key in where.split("/") if where else ():
        tree = _entries(tree)[key]
    return tree


def _paths(tree: Tree, depth: int = 1, prefix: str = "") -> list[str]:
    """Return the paths of all entries down to a depth."""
    found = []
    for key, child in _entries(tree).items():
        found.append(_join(prefix, key))
        found += _paths(child, depth - 1, found[-1]) if depth > 1 else []
    return found


def _join(prefix: str, key: str) -> str:
    return f"{prefix}/{key}" if prefix else key


def _parent(where: str) -> str:
    return where.rpartition("/")[0]


def _name(where: str) -> str:
    return where.rpartition("/")[2]


def _part(tree: Tree, where: str, path: Path) -> Tree:
    try:
        return _at(tree, where)
    except KeyError:
        raise ValueError(
            f"{path} holds no {where!r}, unlike the newest checkpoint: these are not checkpoints of one model. Pass a "
            "smaller --last, or move it elsewhere."
        ) from None


def _statistics_beside(tree: Tree, where: str) -> str:
    """Return the path of the running statistics next to the parameters, "" where there are none."""
    for name in STATISTICS if where else ():
        path = _join(_parent(where), name)
        if name in _entries(_at(tree, _parent(where))) and jax.tree.leaves(_at(tree, path)):
            return path
    return ""


def _refuse_unlike(trees: Sequence[Tree], paths: Sequence[Path]) -> None:
    """Raise ValueError unless all trees have the structure, shapes and dtypes of the newest."""

    def describe(tree: Tree) -> dict[str, str]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {jax.tree_util.keystr(path): f"{np.asarray(x).dtype} {np.shape(x)}" for path, x in leaves}

    newest = describe(trees[-1])
    for tree, path in zip(trees, paths, strict=True):
        other = describe(tree)
        for name in [*newest, *other]:
            here, there = newest.get(name, "nothing"), other.get(name, "nothing")
            if here != there:
                raise ValueError(
                    f"{path} holds {there} at {name}, {paths[-1].name} holds {here}: these are not checkpoints of one "
                    f"model. Pass a "
                    "smaller --last to take the newest ones only, or move the others elsewhere."
                )


def _is_double(tree: Tree) -> bool:
    return any(np.asarray(leaf).dtype in (np.float64, np.complex128) for leaf in jax.tree.leaves(tree))


def _write(kind: formats.Format, out: Path, tree: Tree) -> None:
    """Write whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".extrapolated-", dir=out.parent) as folder:
        temporary = Path(folder) / out.name
        kind.write(temporary, tree)
        temporary.rename(out)
