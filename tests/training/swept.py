"""Runs of a sweep, and the records that they would have left alone."""

import pytest

from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.many import sweep
from optaxaccel.training.run.spec import Run

RUN = Run(method="optax.sgd", method_args={"learning_rate": 0.1}, model_args={"hidden": (8,)}, batch_size=256, steps=13)
SGD = RUN.replace(log_every=2, weight_decay=1e-3, validation=0.1)


def train(runs, folder, **options):
    paths = [folder / f"{run.digest()}.jsonl" for run in runs]
    return sweep.train_many(runs, paths, **options), paths


def alone(run, folder):
    loop.train(run, folder / "alone.jsonl", devices=1)
    return records.read(folder / "alone.jsonl")


def assert_equal_but_for_rounding(together, separate):
    """Hold two records equal; what rounding and time may change is near or ignored."""
    assert [row.keys() for row in together.rows] == [row.keys() for row in separate.rows]
    for a, b in zip(together.rows, separate.rows, strict=True):
        for name in a.keys() - set(records.TIMED):
            assert a[name] == (pytest.approx(b[name], rel=2e-5) if isinstance(b[name], float) else b[name]), name
    assert {**together.end, **dict.fromkeys(records.TIMED)} == {**separate.end, **dict.fromkeys(records.TIMED)}
