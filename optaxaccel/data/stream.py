"""Photographs of any size, read, cropped and resized while training: ImageNet and sets like it.

Step k of a run sees the same crops of the same images whenever and wherever it is computed: the order depends on
(seed, epoch), the crop of an image on (seed, position in the order). So a run resumes from its step number alone, and
the number of hosts, workers and threads changes nothing but the speed.
"""

import functools
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from optaxaccel.data import array_records, prepared, splits
from optaxaccel.data.crops import crop_image, crop_range
from optaxaccel.data.prepared import Prepared

T = TypeVar("T")


class Batch(NamedTuple):
    """A batch of a stream.

    Attributes:
      image: uint8 [batch, size, size, 3].
      label: int32 [batch].
      weight: float32 [batch]; 0 marks what only fills up the last batch of an evaluation.
    """

    image: np.ndarray
    label: np.ndarray
    weight: np.ndarray


class _Recipe(NamedTuple):
    """All that the batches depend on."""

    tfds_set: Prepared
    parts: tuple[splits.Part, ...]
    sources: tuple[Any, ...]
    n: int
    batch_size: int
    train: bool
    seed: int
    size: int
    crop: str
    flip: bool


def batches(
    name: str,
    *,
    split: str,
    batch_size: int,
    train: bool,
    size: int = 224,
    seed: int = 0,
    crop: str = "random_resized",
    flip: bool = True,
    start: int = 0,
    stop: int | None = None,
    process: tuple[int, int] = (0, 1),
    threads: int = 0,
    workers: int = 0,
    data_dir: str | None = None,
) -> Iterator[Batch]:
    """Read batches number `start` to `stop` of a run, or of one pass over an evaluation split.

    Args:
      name: a set that TFDS has prepared.
      split: in TFDS notation.
      batch_size: images a step over all processes.
      train: shuffled epochs without end and random crops, or one pass in order and central crops. The last, smaller
        batch of a training epoch is dropped; that of an evaluation is filled up with images of weight 0.
      size: side of the crops, in pixels.
      seed: of order and crops.
      crop: of training images. "random_resized": 8 to 100 % of the area at an aspect ratio of 3/4 to 4/3, resized
        (Szegedy et al. 2015, the usual one for ResNets). "resize:S": short side resized to S, random square (PAL's
        ImageNet runs: resize:226 without flip; AlexNet: resize:256). "resize:A-B": the short side drawn from A to B
        (He et al. 2016: resize:256-480).
      flip: mirror half of the training images.
      start: the first batch, counted from the beginning of the run: to resume, pass the step.
      stop: the batch to stop before (default: never in training, the end in an evaluation).
      process: (index of this process, number of processes); each reads its equal share of every batch.
      threads: batches that are read and decoded at the same time, in each worker; 0 takes the number of cores, at most
        16. As many again may wait, done.
      workers: processes that read and decode; 0 does it in this one. A script that uses them guards its start with
        `if __name__ == "__main__":`.
      data_dir: where prepared sets are (default as in `load`).

    Yields:
      Batches of batch_size / processes images, as uint8: `prepare` normalises them on the device.
    """
    index, count = process
    if batch_size < 1 or batch_size % count or not 0 <= index < count:
        raise ValueError(
            f"batch_size={batch_size} over process={process!r}: each of the {count} processes reads an equal share. "
            "Pass a multiple of the number of processes, and (index, number) with index < number."
        )
    recipe = _recipe(prepared.find(name, directory=data_dir), split, batch_size, train, seed, size, crop, flip)
    whole = math.ceil(recipe.n / batch_size)
    stop = stop if stop is not None else (2**40 // batch_size if train else whole)
    if not train and stop > whole:
        raise ValueError(f"stop={stop} is beyond the {whole} batches of {split!r}. Pass stop=None for one pass.")
    return _background(functools.partial(_batch, recipe, index, count), range(start, stop), threads, workers)


def steps_per_epoch(name: str, *, split: str, batch_size: int, data_dir: str | None = None) -> int:
    """Return how many whole batches an epoch has."""
    tfds_set = prepared.find(name, directory=data_dir)
    return sum(part.stop - part.start for part in splits.parse(split, tfds_set.splits)) // batch_size


def prefetch(source: Iterator[T], *, put: Callable[[T], T], ahead: int = 2) -> Iterator[T]:
    """Put batches on the device before they are asked for, so that their transfer runs beside the computation.

    Args:
      source: the batches.
      put: moves one; `lambda batch: jax.device_put(batch, sharding)`, or on many hosts
        `lambda batch: jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)`.
      ahead: how many wait on the device (>= 1).

    Example:
      >>> list(prefetch(iter([1, 2, 3]), put=lambda x: 10 * x))
      [10, 20, 30]
    """
    waiting: deque[T] = deque()
    for item in source:
        waiting.append(put(item))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def _recipe(
    tfds_set: Prepared, split: str, batch_size: int, train: bool, seed: int, size: int, crop: str, flip: bool
) -> _Recipe:
    """Open the splits and check what can be checked before the first image."""
    parts = tuple(splits.parse(split, tfds_set.splits))
    n = sum(part.stop - part.start for part in parts)
    if train:
        crop_range(crop, size)
        if n < batch_size:
            raise ValueError(f"batch_size={batch_size} exceeds the {n:,} images of {split!r}. Pass at most {n}.")
    sources = tuple(array_records.open_split(tfds_set, part.split) for part in parts)
    return _Recipe(tfds_set, parts, sources, n, batch_size, train, seed, size, crop, flip)


def _background(read: Callable[[int], Batch], steps: range, threads: int, workers: int) -> Iterator[Batch]:
    """Read the batches of some steps in threads or processes, in order."""
    try:
        import grain
        from absl import flags
    except ImportError as error:
        raise ImportError("Streams of images need grain: pip install 'optaxaccel[train]'.") from error
    threads = threads or min(os.cpu_count() or 1, 16)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2, threads))
    stream = grain.MapDataset.range(steps.start, steps.stop).map(read).to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():  # grain reads flags of absl, which an ordinary script never parses
            flags.FLAGS.mark_as_parsed()
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(stream)


def _batch(recipe: _Recipe, process: int, processes: int, step: int) -> Batch:
    """Load this process's share of the batch of a step."""
    positions = range(int(step) * recipe.batch_size + process, (int(step) + 1) * recipe.batch_size, processes)
    images = _read(recipe, [_index(recipe, position) for position in positions])
    image = np.empty((len(positions), recipe.size, recipe.size, 3), np.uint8)
    label = np.empty(len(positions), np.int32)
    for row, (position, (split, index, record)) in enumerate(zip(positions, images, strict=True)):
        draw = np.random.Generator(np.random.Philox(key=[recipe.seed, position])) if recipe.train else None
        opened = array_records.open_image(recipe.tfds_set, split, index, record[recipe.tfds_set.image])
        image[row] = crop_image(opened, size=recipe.size, crop=recipe.crop, flip=recipe.flip, draw=draw)
        label[row] = array_records.check_label(recipe.tfds_set, split, index, record[recipe.tfds_set.label])
    real = [recipe.train or position < recipe.n for position in positions]
    return Batch(image, label, np.array(real, np.float32))


def _index(recipe: _Recipe, position: int) -> int:
    """Return which image of the split has a position in the run."""
    if not recipe.train:
        return min(position, recipe.n - 1)
    epoch, place = divmod(position, recipe.n // recipe.batch_size * recipe.batch_size)
    return int(_order(recipe.seed, epoch, recipe.n)[place])


def _read(recipe: _Recipe, indices: list[int]) -> list[tuple[str, int, Any]]:
    """Return (split, index in it, record) of some images, each split's in one go: reading them singly costs more."""
    records: list[Any] = [None] * len(indices)
    first = 0
    for part, source in zip(recipe.parts, recipe.sources, strict=True):
        last = first + part.stop - part.start
        rows = [row for row, index in enumerate(indices) if first <= index < last]
        wanted = [indices[row] - first + part.start for row in rows]
        if wanted:
            read = array_records.read_records(recipe.tfds_set, part.split, source, wanted)
            for row, index, record in zip(rows, wanted, read, strict=True):
                records[row] = (part.split, index, record)
        first = last
    return records


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order of an epoch; NumPy's, because workers have no business starting a device."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)
