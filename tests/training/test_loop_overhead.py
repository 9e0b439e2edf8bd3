"""What the loop does in every step is little: fractions, above all, take as long as a small network's step."""

import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel.training import loop
from optaxaccel.training.keeping import journal, metrics, records
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import diagnosing


def test_the_next_evaluation_is_reckoned_once_for_each(tmp_path, monkeypatch):
    reckoned, plain = [], Run.next_evaluation

    def counted(run, step, epoch):
        reckoned.append(step)
        return plain(run, step, epoch)

    monkeypatch.setattr(Run, "next_evaluation", counted)
    run = Run(method="optax.sgd", method_args={"learning_rate": 0.1}, model="mlp", data="digits", batch_size=512)
    run = run.replace(model_args={"hidden": (4,)}, steps=13, eval_every=1.5)  # three steps an epoch: 5, 9 and the end
    loop.train(run, tmp_path / "a.jsonl")
    evaluations = [row["step"] for row in records.read(tmp_path / "a.jsonl").rows if row["kind"] == "eval"]
    assert evaluations[0] == 0
    assert evaluations[-1] == 13
    assert len(evaluations) > 3
    want, step = [], 0
    while step < 13:
        step = plain(run, step, 1437 // 512)
        want.append(step)
    assert evaluations[1:] == [s for s in want if s < 13] + [13]
    assert len(reckoned) == len(want)


def test_metrics_arrive_as_numbers_from_the_device_and_from_a_checkpoint():
    values = [0.1, np.nan, np.inf, 3.0]
    read = metrics.read(lambda x: x, [jnp.asarray(values, jnp.float32), values])
    assert [type(x) for row in read for x in row] == [float] * 8
    np.testing.assert_array_equal(read[0], np.asarray(values, np.float32).astype(float))
    np.testing.assert_array_equal(read[1], values)


PATIENT, AT_ONCE = np.inf, -1.0
SMALL = Run(method="optax.sgd", model="mlp", model_args={"hidden": (4,)}, data="digits", batch_size=256, steps=13)


@pytest.mark.parametrize("rate", [0.1, 1e30])
def test_rows_that_waited_for_others_are_those_that_did_not(tmp_path, monkeypatch, rate):
    run, read, outcomes = SMALL.replace(method_args={"learning_rate": rate}), metrics.read, {}
    for patience in (PATIENT, AT_ONCE):
        counts = []
        monkeypatch.setattr(journal, "PATIENCE", patience)
        monkeypatch.setattr(metrics, "read", lambda c, p, counts=counts: counts.append(len(p)) or read(c, p))
        outcome = loop.train(run, tmp_path / "a.jsonl")
        record = records.read(tmp_path / "a.jsonl")
        rows = [{k: v for k, v in row.items() if k not in records.TIMED} for row in (*record.rows, record.end)]
        outcomes[patience] = outcome.status, outcome.step, rows
        seconds = [row["seconds"] for row in record.rows]
        assert seconds == sorted(seconds)
        assert max(counts) == (1 if patience == AT_ONCE else 5), "five steps an epoch, each of which has a row"
    assert outcomes[PATIENT] == outcomes[AT_ONCE]
    assert outcomes[PATIENT][0] == ("done" if rate == 0.1 else "diverged")


def test_rows_whose_number_was_set_wait_for_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "PATIENCE", PATIENT)
    reported, waiting = [], []
    plain = journal.Journal.due

    def due(self):
        waiting.append(len(self.pending))
        return plain(self)

    monkeypatch.setattr(journal.Journal, "due", due)
    run = SMALL.replace(method_args={"learning_rate": 0.1}, log_every=2, eval_every=1e9)
    loop.train(run, tmp_path / "a.jsonl", progress=lambda *, step, **_: reported.append(step))
    assert [step for step in reported if step] == [2, 4, 6, 8, 10, 12, 13, 13, 13]
    assert max(waiting) == 3


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 40])
def test_the_mean_of_a_row_is_that_of_numpy_to_the_last_bit(count):
    values = np.random.default_rng(count).normal(size=count) * 10.0 ** np.arange(count)
    assert diagnosing.mean(values.tolist()) == values.mean()
    assert diagnosing.mean(values[::2].tolist()) == values[::2].copy().mean()


def test_values_of_a_row_are_what_json_knows(tmp_path):
    with records.Writer(tmp_path / "a.jsonl") as writer:
        writer.write("start", a=1, b=True, c=None, d="x", e=1.5, f=np.inf, g=-np.inf, h=np.nan, i=np.float64(2.0))
    (start,) = [record.start for record in [records.read(tmp_path / "a.jsonl")]]
    want = {"a": 1, "b": True, "c": None, "d": "x", "e": 1.5, "f": "inf", "g": "-inf", "h": "nan", "i": 2.0}
    assert start == {"kind": "start", **want}
