"""Where batches come from: a data set that lives on the devices, or a stream of photographs."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from optaxaccel import data
from optaxaccel.data import stream
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import fingerprint, parallel
from optaxaccel.training.steps.parallel import Layout

EVAL_BATCH = 512
TRAIN_IMAGES = 5000  # training images on which the training loss of tables is evaluated: the same of every run
Source = tuple[jax.Array, ...]


class Resident(NamedTuple):
    """(source, step, share, size) -> images uint8 and labels, from a whole data set and the order of an epoch.

    `share` is None, or the device's index under `pmap`, and `size` the number of images wanted.

    Attributes:
      batch_size: images a step, on all devices.
      cut: where the batch's indices are cut over devices; None where they are whole on each.
    """

    batch_size: int
    cut: NamedSharding | None

    def __call__(self, source: Source, step: jax.Array, share: jax.Array | None, size: int):
        """Return the images and labels of a step."""
        images, labels, order, period = source
        start = (step % period) * self.batch_size
        chosen = jax.lax.dynamic_slice_in_dim(order, start if share is None else start + share * size, size)
        if share is None and self.cut is not None:
            chosen = jax.lax.with_sharding_constraint(chosen, self.cut)
        return images[chosen], labels[chosen]


class Streamed(NamedTuple):
    """(source, step, share, size) -> images uint8 and labels, which a stream brings batch by batch."""

    def __call__(self, source: Source, step: jax.Array, share: jax.Array | None, size: int):
        """Return the images and labels of a step."""
        del step, share, size
        images, labels = source
        return images, labels


Select = Resident | Streamed


class Feed(NamedTuple):
    """What the loop needs of a data set.

    Attributes:
      note: what a reader of results should know of the data.
      classes: number of classes.
      shape: (height, width, channels) of an image as the network sees it.
      mean: normalisation, see `data.prepare`.
      std: likewise.
      examples: number of training images.
      open: (first step) -> iterator over what the compiled step takes, step after step, for ever.
      resident: (images, labels, members) on the devices, where `members` are the indices that train; None for streams.
      select: how the compiled step takes its batch from what it receives.
      held_out: () -> batches of one size (images, labels, weight 1 or 0 for padding).
      held_out_size: number of held-out images.
      held_out_name: "test" or "validation".
      trained: () -> the same of a fixed sample of the training images, all if there are no more than 5,000.
      trained_size: number of these.
    """

    note: str
    classes: int
    shape: tuple[int, ...]
    mean: Any
    std: Any
    examples: int
    open: Callable[[int], Iterator[Source]]
    resident: Source | None
    select: Select
    held_out: Callable[[], Iterator[Source]]
    held_out_size: int
    held_out_name: str
    trained: Callable[[], Iterator[Source]]
    trained_size: int


def feed(run: Run, devices: int | None, whole: Layout | None = None) -> tuple[Feed, Layout]:
    """Return a run's data and where its arrays live.

    Args:
      run: the specification.
      devices: number of devices; None is all of them, but one of several CPU devices for small batches.
      whole: a layout to use instead, over which batches are not cut, for data that are not streamed.

    Raises:
      ValueError: the batch does not divide among the devices, or is larger than the data set.
    """
    if data.card_of(run.data, run.data_dir).streamed:
        layout = parallel.layout(run.parallel, run.batch_size, devices)
        images = _streamed(run, layout)
    else:
        dataset = _load(*_load_arguments(run))
        values = run.batch_size * math.prod(dataset.train.image.shape[1:])
        devices = parallel.default_devices(values) if devices is None else devices
        layout = whole or parallel.layout(run.parallel, run.batch_size, devices)
        images = _resident(run, layout)
    if images.examples < run.batch_size:
        raise ValueError(
            f"batch_size={run.batch_size} exceeds the {images.examples} training images. Pass a smaller one."
        )
    return images, layout


def data_hash(run: Run) -> str:
    """Return a hash of the images of a file or a folder; "" of sets with a name, and of streams."""
    card = data.card_of(run.data, run.data_dir)
    return "" if card.streamed or card.kind == "tfds" or run.data in data.DATASETS else _hash(*_load_arguments(run))


@lru_cache(maxsize=2)
def _hash(*load_arguments: Any) -> str:
    loaded = _load(*load_arguments)
    return fingerprint.of_arrays((loaded.train, loaded.test))


# --- Data that live on the devices ------------------------------------------------------------------------------------


class _Placed(NamedTuple):
    """Training images and labels on the devices, the indices that train, and the held-out batches."""

    train: Source
    members: jax.Array
    held_out: tuple[Source, ...]
    held_out_size: int
    trained: tuple[Source, ...]
    trained_size: int


def _load_arguments(run: Run) -> tuple:
    """Return what `_load` takes; the files' state is a part of it, since they may be written again."""
    return data.contents_key(run.data, run.data_dir), run.data, run.train_split, run.test_split, run.data_dir


@lru_cache(maxsize=2)
def _load(key: tuple, name: str, train_split: str, test_split: str, data_dir: str | None) -> data.Dataset:
    return data.load(name, train_split=train_split, test_split=test_split, data_dir=data_dir)


@lru_cache(maxsize=4)
def _place(load_arguments: tuple, validation: float, layout: Layout) -> _Placed:
    """Place a data set; held-out training images stay where they are, so that all runs share one compiled step."""
    dataset = _load(*load_arguments)
    held_out, members = dataset.test, np.arange(len(dataset.train.label), dtype=np.int32)
    if validation > 0:
        order = np.random.default_rng(0).permutation(members)
        size = round(validation * len(order))
        if not 0 < size < len(order):
            raise ValueError(
                f"validation={validation:g} of {len(order):,} training images holds {size:,} of them out. Pass a share "
                f"that leaves images on both sides, from {1 / len(order):.2g} on."
            )
        held_out = data.Images(dataset.train.image[order[:size]], dataset.train.label[order[:size]])
        members = order[size:]
    spread = layout.stack if layout.mode == "pmap" else layout.put
    held_batches = tuple(_batches(held_out, layout))
    sample = np.sort(np.random.default_rng(1).permutation(members)[:TRAIN_IMAGES])
    trained = tuple(_batches(data.Images(dataset.train.image[sample], dataset.train.label[sample]), layout))
    train = spread(tuple(dataset.train))
    return _Placed(train, layout.put(members), held_batches, len(held_out.label), trained, len(sample))


def _batches(images: data.Images, layout: Layout) -> Iterator[Source]:
    """Cut images into evaluation batches of one size for all data sets; padding has weight 0."""
    count = len(images.label)
    size = -(-EVAL_BATCH // layout.count) * layout.count
    for start in range(0, count, size):
        position = np.arange(start, start + size)
        index = np.minimum(position, count - 1)
        weight = (position < count).astype(np.float32)
        yield layout.put((images.image[index], images.label[index], weight), cut=True)


def _resident(run: Run, layout: Layout) -> Feed:
    load_arguments = _load_arguments(run)
    dataset = _load(*load_arguments)
    placed = _place(load_arguments, run.validation, layout)
    mean, std = data.normalisation(dataset, run.normalise)
    examples = len(placed.members)
    steps_per_epoch = examples // run.batch_size
    spread = layout.stack if layout.mode == "pmap" else lambda tree: tree

    def sources(first: int) -> Iterator[Source]:
        order_of = _order(len(dataset.train.label), examples, layout)
        period, epoch = spread(layout.put(np.int32(steps_per_epoch))), first // steps_per_epoch

        def order(epoch: int) -> Any:
            return spread(order_of(np.uint32(run.seed), np.uint32(epoch), placed.members))

        now, left = order(epoch), steps_per_epoch - first % steps_per_epoch
        while True:
            source = (*placed.train, now, period)
            yield source
            epoch, now = epoch + 1, order(epoch + 1)  # it is drawn while the steps of this epoch are made
            yield from repeat(source, left - 1)
            left = steps_per_epoch

    return Feed(
        note=dataset.note,
        classes=dataset.classes,
        shape=dataset.train.image.shape[1:],
        mean=mean,
        std=std,
        examples=examples,
        open=sources,
        resident=(*placed.train, placed.members),
        select=Resident(run.batch_size, layout.batch),
        held_out=lambda: iter(placed.held_out),
        held_out_size=placed.held_out_size,
        held_out_name="validation" if run.validation > 0 else "test",
        trained=lambda: iter(placed.trained),
        trained_size=placed.trained_size,
    )


@lru_cache(maxsize=8)
def _order(total: int, examples: int, layout: Layout) -> Callable[..., jax.Array]:
    """Return the order of an epoch over `members`, filled up to `total`, as a compiled (seed, epoch, members)."""

    def order(seed, epoch, members):
        return jnp.pad(members[data.epoch_order(seed, epoch, examples)], (0, total - examples))

    return jax.jit(order, out_shardings=layout.replicated)


# --- Photographs ------------------------------------------------------------------------------------------------------


def _streamed(run: Run, layout: Layout) -> Feed:
    card = data.card_of(run.data, run.data_dir)
    if run.validation > 0:
        raise ValueError(
            f"validation={run.validation} holds images out at random, which a stream cannot. Name two parts instead: "
            "--train-split 'train[:90%]' --test-split 'train[90%:]'."
        )
    common = {"size": run.image_size, "data_dir": run.data_dir, "seed": run.seed, "crop": run.crop, "flip": run.flip}
    common["process"] = (jax.process_index(), jax.process_count())
    # A pass over the evaluation images of one batch tells how many there are without decoding them twice.
    count = stream.steps_per_epoch(run.data, split=run.test_split, batch_size=1, data_dir=run.data_dir)
    size = -(-min(EVAL_BATCH // 4, count) // layout.count) * layout.count

    def sources(first: int) -> Iterator[Source]:
        read = stream.batches(
            run.data, split=run.train_split, batch_size=run.batch_size, train=True, start=first, **common
        )
        cut = layout.split if layout.mode == "pmap" else layout.put_local
        return stream.prefetch((tuple(batch[:2]) for batch in read), put=cut)

    examples = stream.steps_per_epoch(run.data, split=run.train_split, batch_size=1, data_dir=run.data_dir)
    several = -(-TRAIN_IMAGES // size)  # whole batches: a little more than the number of images wanted

    def in_order(split: str, stop: int | None = None) -> Iterator[Source]:
        read = stream.batches(run.data, split=split, batch_size=size, train=False, stop=stop, **common)
        return (layout.put_local(tuple(batch)) for batch in read)

    return Feed(
        note=card.note,
        classes=card.classes,
        shape=(run.image_size, run.image_size, card.shape[-1]),
        mean=np.array(card.mean, np.float32),
        std=np.array(card.std, np.float32),
        examples=examples,
        open=sources,
        resident=None,
        select=Streamed(),
        held_out=lambda: in_order(run.test_split),
        held_out_size=count,
        held_out_name="test",
        trained=lambda: in_order(run.train_split, several),
        trained_size=min(examples, several * size),
    )
