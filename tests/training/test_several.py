"""Many steps in one call: the same run as step by step, and no call beyond what is due."""

import jax
import numpy as np
import pytest

from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.keeping.keep import Keep
from optaxaccel.training.keeping.trace import Trace
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import program

RUN = Run(
    method="optax.sgd",
    method_args={"learning_rate": 0.1, "momentum": 0.9},
    model_args={"hidden": (8,)},
    batch_size=64,
    steps=50,
    eval_every=1e9,
)


@pytest.fixture
def calls(monkeypatch):
    """Return how many steps each call makes, as they are made."""
    counts, whole = [], program.program

    def watched(*arguments):
        compiled = whole(*arguments)
        assert compiled.several is not None

        def several(state, numbers, count, *source):
            counts.append(int(count))
            return compiled.several(state, numbers, count, *source)

        return compiled._replace(several=several)

    monkeypatch.setattr(program, "program", watched)
    return counts


def test_a_run_is_the_same_step_by_step(tmp_path):
    """Rows of two steps are asked for on one side, and what the loop chooses itself on the other."""
    together = loop.train(RUN, tmp_path / "together.jsonl")
    alone = loop.train(RUN.replace(log_every=2), tmp_path / "alone.jsonl")
    for ours, theirs in zip(jax.tree.leaves(together.state.params), jax.tree.leaves(alone.state.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-7)
    ours, theirs = (records.read(tmp_path / f"{name}.jsonl").rows for name in ("together", "alone"))
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for name in ("loss", "accuracy", "grad_norm"):
        pairs = [(a[name], b[name]) for a, b in zip(ours, theirs, strict=True) if name in a]
        np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=2e-4)


def test_a_call_ends_where_something_is_due(tmp_path, calls):
    """The first step alone, then up to the end of an epoch of 22, an evaluation, a checkpoint that stays, a profile."""
    loop.train(RUN, tmp_path / "a.jsonl")
    assert sum(calls) == 50
    assert calls[:1] + [at for at in np.cumsum(calls) if at in (22, 44)] == [1, 22, 44]
    calls.clear()
    keep = Keep(tmp_path / "kept", every=10)
    loop.train(RUN.replace(eval_every=0.25), tmp_path / "b.jsonl", keep=keep, trace=Trace(tmp_path / "trace", 13, 15))
    wanted = {6, 10, 11, 13, 15, 17, 20, 22, 28, 30, 33, 39, 40, 44, 50}
    assert wanted <= set(np.cumsum(calls).tolist())


def test_every_step_is_a_call_where_rows_or_seconds_are_asked_for(tmp_path, monkeypatch):
    seen, whole = [], program.program
    monkeypatch.setattr(program, "program", lambda *a: seen.append(whole(*a)) or seen[-1])
    loop.train(RUN.replace(log_every=5, steps=6), tmp_path / "a.jsonl")
    loop.train(RUN.replace(seconds=0.05, steps=None), tmp_path / "b.jsonl")
    loop.train(RUN.replace(model="cnn", model_args={}, steps=2), tmp_path / "c.jsonl")
    assert [compiled.several for compiled in seen] == [None, None, None]
