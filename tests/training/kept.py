"""Runs that are stopped and gone on with, and what must come out of them."""

import json

import jax
import numpy as np

from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.keeping.checkpoint import Checkpoints
from optaxaccel.training.keeping.keep import Keep
from optaxaccel.training.run.spec import Run

RUN = Run(
    method="pal",
    method_args={"measuring_step_size": 0.1},
    model_args={"hidden": (8,)},
    batch_size=256,
    steps=13,
    log_every=2,
    extrapolate={"K": 3, "every": 3},
)


class Stopping:
    """A progress callback that calls `action` once, when the run has come to a step."""

    def __init__(self, step, action):
        self.step, self.action, self.done = step, action, False

    def __call__(self, *, step, total, row):
        if step >= self.step and not self.done:
            self.done = True
            self.action()


def train(run, folder, **options):
    """Train with a checkpoint at every look."""
    every = options.pop("every", 0)
    keep = Keep(folder, resume=options.pop("resume", False), seconds=options.pop("seconds", 0.0), every=every)
    return loop.train(run, folder / "record.jsonl", keep=keep, **options)


def rows(folder):
    """Return all rows of a record but the fields that tell the speed."""
    lines = (folder / "record.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in records.TIMED} for line in lines]


def last(run, folder):
    """Return the newest checkpoint's manager, steps and files."""
    checkpoints = Checkpoints(folder / "checkpoints", run)
    steps = checkpoints.steps()
    checkpoints.close()
    return steps


def assert_equal_states(a, b):
    """Hold two states equal in every bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
