"""What the loop does in every step is little: fractions, above all, take as long as a small network's step."""

import jax.numpy as jnp
import numpy as np

from optaxaccel.training import loop
from optaxaccel.training.keeping import journal, records
from optaxaccel.training.run.spec import Run


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
    read = journal.Journal.read(lambda x: x, [jnp.asarray(values, jnp.float32), values])
    assert [type(x) for row in read for x in row] == [float] * 8
    np.testing.assert_array_equal(read[0], np.asarray(values, np.float32).astype(float))
    np.testing.assert_array_equal(read[1], values)


def test_values_of_a_row_are_what_json_knows(tmp_path):
    with records.Writer(tmp_path / "a.jsonl") as writer:
        writer.write("start", a=1, b=True, c=None, d="x", e=1.5, f=np.inf, g=-np.inf, h=np.nan, i=np.float64(2.0))
    (start,) = [record.start for record in [records.read(tmp_path / "a.jsonl")]]
    want = {"a": 1, "b": True, "c": None, "d": "x", "e": 1.5, "f": "inf", "g": "-inf", "h": "nan", "i": 2.0}
    assert start == {"kind": "start", **want}
