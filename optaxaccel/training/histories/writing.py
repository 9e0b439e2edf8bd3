"""Where a result goes: beside the checkpoints or elsewhere, whole or not at all, and never over anything."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from optaxaccel.methods import leaf_kinds
from optaxaccel.training.histories import checkpoint_order, formats, layout, newest_checkpoints, npz_files
from optaxaccel.training.histories.checkpoint_order import CheckpointFiles
from optaxaccel.training.histories.in_memory import InMemory, Point
from optaxaccel.training.histories.streamed import NotFiniteError, Streamed, in_a_file

IN_MEMORY = 1 << 26  # bytes of files up to which all checkpoints are read at once
REPORTS = 500  # times that progress is told of
Progress = Callable[[int, int], None]  # bytes read, of how many
Shard = tuple[int, int]


class Output(NamedTuple):
    """Where to write, how, and which part of it: number i of n files, or all."""

    path: Path
    kind: formats.Format
    shard: Shard | None = None

    @property
    def file(self) -> Path:
        """The file that is written."""
        if self.shard is None:
            return self.path
        number, count = self.shard
        return self.path.with_name(f"{self.path.stem}-{number:05}-of-{count:05}{self.path.suffix}")


def output(out: Path | None, files: CheckpointFiles, folder: Path, name: str, shard: Shard | None = None) -> Output:
    """Return where to write and how, and refuse what would be in the way of anything.

    Raises:
      FileExistsError: something lies there.
      ValueError: it would be taken for a checkpoint, or cannot be written in parts.
    """
    kind = files.format if out is None else formats.for_writing(out, files.format)
    to = Output(folder / f"{name}{files.format.ending}" if out is None else out, kind, shard)
    if shard is not None and (kind is not formats.SAFETENSORS or not 1 <= shard[0] <= shard[1]):
        raise ValueError(
            f"Part {shard[0]} of {shard[1]} cannot be written as {kind.name}: only safetensors come in parts, which "
            "count from 1. Pass --out FILE.safetensors and --shard 1/4."
        )
    path, index = to.file, _index(to)
    if path.exists() or (index is not None and index.exists()):
        path = path if path.exists() else index
        raise FileExistsError(f"{path} exists already, and nothing is written over. Remove it, or pass another --out.")
    if path.parent.resolve() == folder.resolve() and not path.name.startswith(checkpoint_order.RESULTS):
        raise ValueError(
            f"{path} would lie among the checkpoints and be taken for one of them. Begin its name with "
            f"{name!r}, or write it elsewhere."
        )
    return to


def _index(to: Output) -> Path | None:
    """Return where the index of several files goes; the first part brings it."""
    first = to.shard is not None and to.shard[0] == 1
    return to.path.with_name(to.path.name + ".index.json") if first else None


class Work(NamedTuple):
    """A history, and a place to write to that nobody sees.

    Attributes:
      read: the checkpoints.
      source: what merges them.
      place: a folder beside the result; it is gone afterwards.
    """

    read: newest_checkpoints.Read
    source: InMemory | Streamed
    place: Path


def work(
    files: CheckpointFiles,
    to: Output,
    use: Callable[[Work], Any],
    *,
    last: int,
    params: str | None,
    skip: bool,
    in_memory: int,
    progress: Progress | None,
    passes: int,
    squared: bool = True,
) -> Any:
    """Read the newest checkpoints, in whichever way they can be held, and return what is made of them."""
    with checkpoint_order.still_there(files.paths[-last:]):
        streamed = to.shard is not None or sum(map(_on_disk, files.paths[-last:])) > in_memory
        skipped: dict[str, str] = {}
        while True:
            to.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{checkpoint_order.RESULTS[0]}-", dir=to.path.parent) as place:
                if not streamed:
                    read = newest_checkpoints.read(files, last, params, skip, squared=squared)
                    return use(Work(read, InMemory(read), Path(place)))
                read = newest_checkpoints.mapped(files, last, params, skipped)
                source = Streamed(read, Path(place), lambda count: None)
                source.tick = _counted(progress, passes * source.size)
                try:
                    return use(Work(read, source, Path(place)))
                except NotFiniteError as error:
                    number, trouble = error.args
                    if not skip:
                        raise newest_checkpoints.refused(read.paths[number], trouble) from None
                    skipped[read.paths[number].name] = trouble


def write(task: Work, to: Output, point: Point, program: str, weights: list[float]) -> None:
    """Write the result in a place where nobody sees it, with its weights and sources where the format has room."""
    names = [path.name for path in task.read.paths]
    about = {"optaxaccel": json.dumps({"program": program, "checkpoints": names, "weights": weights})}
    temporary, like = task.place / to.file.name, task.read.paths[-1]
    if isinstance(task.source, InMemory):
        task.source.write(to.kind, temporary, point, like, about)
    else:
        _stream(task.source, to, temporary, point.weights, like, about)


def publish(task: Work, to: Output, note: Mapping[str, Any]) -> None:
    """Move what was written, and a note of what was done, to where they belong."""
    text = task.place / "note"
    text.write_text(json.dumps(dict(note), indent=1) + "\n")
    if to.file.exists():  # another process was faster
        raise FileExistsError(f"{to.file} exists already, and nothing is written over. Remove it.")
    (task.place / to.file.name).rename(to.file)
    text.rename(to.file.with_name(to.file.name + ".json"))
    index = _index(to)
    if index is not None:
        (task.place / "index").rename(index)


def _stream(
    source: Streamed, to: Output, path: Path, weights: np.ndarray, like: Path, about: Mapping[str, str]
) -> None:
    tree = layout.mapped(source.read.newest, _Place)
    flat = npz_files.flat(layout.without(tree, source.read.places[0][:-1]))
    newest = source.read.history[-1]
    if to.kind.stream is None:
        to.kind.write(path, _spooled(source, path.parent, weights), like, about)
        return
    for name, place in flat.items():
        if not layout.is_array(newest[place.names]):
            npz_files.flat_arrays({name: newest[place.names]})  # raises, and says why
    arrays = {name: np.asarray(x) if not hasattr(x := newest[p.names], "dtype") else x for name, p in flat.items()}
    kinds = {name: (np.dtype(array.dtype), np.shape(array)) for name, array in arrays.items()}
    if to.shard is not None:
        kinds = _part(kinds, to, path.parent)
    with to.kind.stream(path, kinds, like, about) as (names, put):
        for name in names:
            empty = True
            for block in source.blocks(flat[name].names, weights):
                empty = False
                put(name, block)
            if empty:
                put(name, np.zeros(0, kinds[name][0]))


@dataclasses.dataclass(frozen=True)
class _Place:
    """The names of an array, in its place in a tree."""

    names: layout.Names


def _spooled(source: Streamed, folder: Path, weights: np.ndarray) -> Any:
    """Return the result as a tree of arrays in a file that nobody sees."""
    newest, read = source.read.history[-1], source.read

    def leaf(names: layout.Names) -> Any:
        if not layout.is_array(newest[names]):
            return newest[names]
        shape = np.shape(newest[names])
        if 0 in shape:
            return np.asarray(newest[names])
        return in_a_file(folder, source.blocks(names, weights)).reshape(shape)

    return layout.without(layout.mapped(read.newest, leaf), read.places[0][:-1])


def _part(kinds: formats.Kinds, to: Output, folder: Path) -> dict[str, Any]:
    """Return the arrays of one of several files, of about equal sizes; the first writes the index, too."""
    assert to.shard is not None
    number, count = to.shard
    sizes = {name: dtype.itemsize * int(np.prod(shape)) for name, (dtype, shape) in kinds.items()}
    total, before, places = sum(sizes.values()), 0, {}
    for name, size in sizes.items():
        places[name] = min(count, 1 + count * (2 * before + size) // max(1, 2 * total))
        before += size
    if number == 1:
        files = {name: to._replace(shard=(place, count)).file.name for name, place in places.items()}
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": files}, indent=1)
        (folder / "index").write_text(text + "\n")
    return {name: kinds[name] for name, place in places.items() if place == number}


def _on_disk(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if path.name.endswith(".index.json"):
        return _on_disk(path.parent)
    return path.stat().st_size


def _counted(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = reported = 0

    def tick(count: int) -> None:
        nonlocal done, reported
        done += count
        if progress is not None and (done - reported) * REPORTS >= total:
            reported = done
            progress(min(done, total), total)

    return tick


def about(read: newest_checkpoints.Read) -> dict[str, Any]:
    """Return what a result tells of the checkpoints that it was made of."""
    kinds = layout.kinds(read.history[-1])
    inside = [n for n, kind in kinds.items() if kind in (leaf_kinds.STATISTIC, leaf_kinds.VARIANCE)]
    beside = read.places[1:]
    arrays = [leaf for n, leaf in read.history[-1].items() if n[: len(read.places[0])] == read.places[0]]
    return {
        "names": [path.name for path in read.paths],
        "where": "/".join(read.places[0]),
        "arrays": len(arrays),
        "numbers": sum(int(np.prod(np.shape(leaf))) for leaf in arrays),
        "statistics": "/".join(beside[0]) if beside else "",
        "inside": ["/".join(n) for n in inside if not any(n[: len(place)] == place for place in beside)],
        "skipped": read.skipped,
        "kept": sorted("/".join(n) for n in read.history[-1] if n in read.kept or kinds[n] == leaf_kinds.NEWEST),
    }
