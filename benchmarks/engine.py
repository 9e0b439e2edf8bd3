"""The training loop against the bare compiled step: its overhead, the wait for data, and what checkpoints cost.

The bare step is the loop's own compiled program called with the same batches and nothing else: no metrics are read, no
row is written. Evaluations and the first step do not count on either side.
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from benchmarks.measure import Row, alternate, rows_of
from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.keeping.keep import Keep
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import feed, parallel, program

METHOD = {"method": "optax.sgd", "method_args": {"learning_rate": 1e-3, "momentum": 0.9}}


def run(rounds: int) -> list[Row]:
    """Return one row a variant."""
    rounds = max(3, rounds // 6)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = Run(model="mlp", data="digits", batch_size=64, steps=2000, eval_every=1e9, **METHOD)
        large = small.replace(model="cnn", data=str(_images(folder / "images.npz")), batch_size=128, steps=60)
        return [
            *_compare("mlp, 1,437 digits, batch 64", small, folder, rounds),
            *_compare("three-convolution network, 20,000 images 32x32x3, batch 128", large, folder, rounds),
        ]


def _images(path: Path) -> Path:
    """Write images of noise, as many as an epoch of usual length needs."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20_480, 32, 32, 3), dtype=np.uint8)
    label = rng.integers(0, 10, len(image))
    np.savez(path, x_train=image[:20_000], y_train=label[:20_000], x_test=image[20_000:], y_test=label[20_000:])
    return path


def _compare(title: str, spec: Run, folder: Path, rounds: int) -> list[Row]:
    path, waits = folder / "record.jsonl", []

    def trained(keep: Keep | None) -> Callable[[], float]:
        def seconds() -> float:
            loop.train(spec, path, keep=keep)
            end = records.read(path).end
            waits.append(end["wait_seconds"] / end["seconds"])
            return end["seconds"] / (end["step"] - 1)

        return seconds

    timings = alternate(
        {
            "bare compiled step": _bare(spec),
            "training loop": trained(None),
            "training loop, a checkpoint every second": trained(Keep(folder, seconds=1.0)),
        },
        rounds=rounds,
        warm_up=1,
    )
    goals = {"training loop": 1.03, "training loop, a checkpoint every second": 1.06}
    wait = {"benchmark": f"share of training that waits for data, {title}", "variant": "resident data"}
    return [
        *rows_of(f"training loop, {title}", timings, goals=goals),
        {**wait, "share %": 100 * float(np.median(waits)), "goal": 2.0},
    ]


def _bare(spec: Run) -> Callable[[], float]:
    """Return a function that makes the run's steps and nothing else, and returns the seconds of one."""
    made, layout = feed.feed(spec, None)
    recipe = optimizer.recipe(spec, total_steps=spec.steps or 1, steps_per_epoch=made.examples // spec.batch_size)
    compiled = program.program(spec, recipe, made, layout, next(made.open(0)))
    numbers = program.numbers_of(spec, recipe)

    def seconds() -> float:
        state = compiled.spread(compiled.init(np.uint32(spec.seed), numbers))
        sources = list(itertools.islice(made.open(0), spec.steps))
        pending = []
        started = time.perf_counter()
        for step, source in enumerate(sources):
            state, metrics = compiled.step(state, numbers, *source)
            pending.append(metrics)
            parallel.wait_for_oldest(pending)
            if step == 0:
                jax.block_until_ready(state)
                started = time.perf_counter()
        jax.block_until_ready(state)
        return (time.perf_counter() - started) / (len(sources) - 1)

    return seconds
