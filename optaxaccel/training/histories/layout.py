"""Which part of a checkpoint is the parameters, and how to say so where that is not clear.

A checkpoint is a tree, or a flat dictionary whose names have slashes or dots ("model.conv1.weight"); both are looked at
as paths of names. An optimiser's state that is taken for weights bends the result without any sign of it. So all of a
checkpoint is taken only where everything in it looks like the layers of one network.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optaxaccel.methods import leaf_kinds

Tree = Any
Names = tuple[str, ...]
STATISTICS = ("batch_stats", "net_state")  # what Flax and this package call the running statistics beside "params"
_SHOWN = 20  # lines of a tree in a message

_OPTIMISER = re.compile(
    r"opt|.*optim(izer|iser)?s?(_?states?)?(_dict)?|.*opt(im)?_states?(_dict)?|param_states|slots|grad(ient)?s?|"
    r"exp_avg(_sq)?|max_exp_avg_sq|momentum_buffer|square_avg|acc_delta|adam.*|(lr_)?schedulers?",
    re.IGNORECASE,
)
_NO_LAYER = re.compile(
    r"(max_)?exp_avg(_sq)?|momentum_buffer|param_states|opt(imi[sz]er)?_states?(_dict)?", re.IGNORECASE
)
_MOMENTS = {"m", "v", "mu", "nu", "trace", "momentum", "velocity", "v_row", "v_col", "accumulator"}
_BOOKKEEPING = re.compile(
    r"((best|val|train|test|last)_?)?(loss|acc|accuracy|score|metric)|lr|learning_rate|epoch|(global_)?step|iteration|time",
    re.IGNORECASE,
)
_COPIES = re.compile(
    r".*ema(_.*)?|.*swa(_.*)?|.*averaged?|target(_.*)?|teacher|student|online|generator|discriminator|critic|actor",
    re.IGNORECASE,
)
_CONTAINERS = re.compile(r"model(_.*)?|net(work)?|state(_dict)?|weights|module|train_state", re.IGNORECASE)
_LAYER = {
    *("kernel", "bias", "weight", "scale", "embedding", "embeddings", "gamma", "beta", "weights", "alpha"),
    *("depthwise_kernel", "pointwise_kernel", "recurrent_kernel", "pos_embedding", "cls_token"),
}
_MODELS = ("params", "model", "state_dict", "model_state_dict", "target", "weights", "parameters", "net", "network")


# --- Looking at a tree as paths ---------------------------------------------------------------------------------------


def leaves(tree: Tree) -> dict[Names, Any]:
    """Return every leaf by the names on the way to it; names with slashes or dots are taken apart."""

    def walk(node: Tree, path: Names) -> Iterator[tuple[Names, Any]]:
        children = _children(node)
        if children is None:
            yield path, node
            return
        for key, child in children:
            yield from walk(child, (*path, *split(key)))

    return dict(walk(tree, ()))


def split(name: Any) -> Names:
    """Take a name with slashes or dots apart."""
    return tuple(part for part in re.split(r"[./]", str(name)) if part) or (str(name),)


def pruned(tree: Tree, where: Sequence[Names]) -> Tree:
    """Return a tree with nothing but what lies at some places, under the keys that it has."""

    def walk(node: Tree, path: Names) -> Tree:
        if any(path[: len(place)] == place for place in where):
            return node
        below_here = {}
        for key, child in _children(node) or ():
            below = (*path, *split(key))
            if any(place[: len(below)] == below or below[: len(place)] == place for place in where):
                below_here[key] = walk(child, below)
        return below_here

    return walk(tree, ())


def without(tree: Tree, above: Names) -> Tree:
    """Return what lies at a place that all of a tree lies at, where its keys allow that."""
    while above and isinstance(tree, Mapping) and len(tree) == 1:
        key = split(next(iter(tree)))
        if above[: len(key)] != key:
            break
        above, tree = above[len(key) :], next(iter(tree.values()))
    return tree


def mapped(tree: Tree, f: Callable[[Names], Any]) -> Tree:
    """Return a tree with f(names) for every leaf, its names in order, as JAX's functions leave them."""

    def walk(node: Tree, path: Names) -> Tree:
        if isinstance(node, Mapping):
            return {key: walk(node[key], (*path, *split(key))) for key in sorted(node, key=str)}
        if isinstance(node, (list, tuple)):
            return [walk(child, (*path, str(k))) for k, child in enumerate(node)]
        return f(path)

    return walk(tree, ())


def _children(node: Tree) -> list[tuple[Any, Tree]] | None:
    if isinstance(node, Mapping):
        return list(node.items())
    return list(enumerate(node)) if isinstance(node, (list, tuple)) else None


# --- Which part -------------------------------------------------------------------------------------------------------


def locate(tree: Tree, asked: str | None, path: Path) -> list[Names]:
    """Return the places of the parameters, and of running statistics beside them; [()] for all of a checkpoint.

    Args:
      tree: a checkpoint.
      asked: a path such as "state/params", "." for all of it, or None to look for "params".
      path: the checkpoint's, for messages.

    Raises:
      ValueError: what was asked for is not there, or it is not clear what the parameters are.
    """
    by_names = leaves(tree)
    if asked is not None:
        place = () if asked in ("", ".") else split(asked)
        if not any(names[: len(place)] == place for names in by_names):
            raise _refused(by_names, path, f"holds no {asked!r}")
        return [place, *_beside(by_names, place)]
    named = {names[: names.index("params") + 1] for names in by_names if "params" in names}
    nearest = sorted(place for place in named if len(place) == min(map(len, named)))
    if len(nearest) == 1 and not any(map(_OPTIMISER.fullmatch, nearest[0])):
        for names in by_names:
            if names[: len(nearest[0])] == nearest[0] and any(map(_NO_LAYER.fullmatch, names)):
                raise _refused(by_names, path, f"holds {'/'.join(names)}, which is an optimiser's by its name")
        return [nearest[0], *_beside(by_names, nearest[0])]
    if nearest:
        several = " and ".join("/".join(place) for place in nearest[:3])
        raise _refused(by_names, path, f"holds {several}, of which it is not clear that they are the parameters")
    reason = _why_not_all(tree, by_names)
    if reason:
        raise _refused(by_names, path, reason)
    return [()]


def _beside(by_names: Mapping[Names, Any], place: Names) -> list[Names]:
    if not place:
        return []
    beside = [(*place[:-1], name) for name in STATISTICS]
    return [other for other in beside if any(names[: len(other)] == other for names in by_names)][:1]


def _why_not_all(tree: Tree, by_names: Mapping[Names, Any]) -> str:
    """Say why all of a checkpoint cannot be the parameters; "" where it can."""
    weights = [names for names, kind in kinds(by_names).items() if kind == leaf_kinds.WEIGHT]
    ends = {names[-1].lower() for names in weights}
    for names in weights:
        name = names[-1].lower()
        moment = name in _MOMENTS and (len(names) > 1 or len(name) > 2 or {"m", "v"} <= ends or {"mu", "nu"} <= ends)
        if moment or any(map(_OPTIMISER.fullmatch, names)) or _BOOKKEEPING.fullmatch(name):
            return f"holds no 'params', but {'/'.join(names)}, which is no parameter by its name"
    top = sorted({names[0] for names in by_names})
    copies = [name for name in top if _COPIES.fullmatch(name)]
    flat = all(_children(child) is None for _, child in _children(tree) or ())
    if len(top) == 1 or (flat and not copies):
        return ""
    strange = copies or [name for name in top if _CONTAINERS.fullmatch(name)]
    if strange or not all(bare(names)[-1] in _LAYER for names in weights):
        return f"holds no 'params', but several entries ({', '.join(top[:5])})"
    return ""


def kinds(by_names: Mapping[Names, Any]) -> dict[Names, str]:
    """Return the kind of every leaf, see `leaf_kinds`; of what is no array it is "newest"."""
    arrays = {"/".join(names): names for names, leaf in by_names.items() if is_array(leaf)}
    order = sorted(arrays)  # as JAX does
    known = leaf_kinds.kinds({name: by_names[arrays[name]] for name in order})
    return {**dict.fromkeys(by_names, leaf_kinds.NEWEST), **{arrays[n]: k for n, k in zip(order, known, strict=True)}}


def is_array(leaf: Any) -> bool:
    """Tell whether a leaf is an array, or a number, and not a text, a date or nothing."""
    return isinstance(leaf, (bool, int, float, complex)) or hasattr(leaf, "dtype")


def bare(names: Names) -> Names:
    """Return the names of a leaf without what NNX adds to them."""
    return names[:-1] if len(names) > 1 and names[-1] in ("value", "raw_value") else names


# --- Messages ---------------------------------------------------------------------------------------------------------


def _refused(by_names: Mapping[Names, Any], path: Path, reason: str) -> ValueError:
    lines = [f"  {'/'.join(names)}  {_described(leaf)}" for names, leaf in list(by_names.items())[:_SHOWN]]
    if len(by_names) > _SHOWN:
        lines.append(f"  ... and {len(by_names) - _SHOWN} more")
    top = ", ".join(dict.fromkeys(names[0] for names in by_names if names)) or "one array"
    tree = "\n".join(lines)
    return ValueError(
        f"{path} {reason}. It holds: {top}.\n{tree}\nSay which are the parameters, --params PATH: {_remedy(by_names)}."
    )


def _described(leaf: Any) -> str:
    if isinstance(leaf, (str, bytes)) or not hasattr(leaf, "dtype"):
        return type(leaf).__name__
    return f"{leaf.dtype} {np.shape(leaf)}"


def _remedy(by_names: Mapping[Names, Any]) -> str:
    """Name the places that could be the parameters: those called like a model first."""
    places = sorted({names[:depth] for names in by_names for depth in range(1, min(len(names), 4))}, key=len)
    fit = [place for place in places if not any(map(_OPTIMISER.fullmatch, place))]
    called = [place for place in fit if place[-1] in _MODELS]
    shown = (called or [place for place in fit if len(place) == 1])[:3]
    return " or ".join(["--params " + "/".join(place) for place in shown] + ["--params . for all of it"])
