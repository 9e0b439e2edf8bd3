"""Where there are more than ten classes, evaluation counts the labels among the five likeliest as well."""

import jax.numpy as jnp
import numpy as np

from optaxaccel.models.model import Model
from optaxaccel.report import published, tables
from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps.evaluated_state import evaluate_batch
from optaxaccel.training.steps.loss import Batch
from optaxaccel.training.steps.state import TrainState

LOGITS = Model(lambda key, x: ({}, {}), lambda params, net_state, x, *, key, train: (x, net_state))


def train(run, path):
    loop.train(run, path)
    return records.read(path)


def test_the_share_among_the_five_likeliest():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(200, 30)).astype(np.float32)
    labels, weight = generator.integers(0, 30, 200), np.where(np.arange(200) < 150, 1.0, 0.0).astype(np.float32)
    state = TrainState(jnp.int32(3), {}, {}, (), jnp.zeros(2, jnp.uint32))
    sums = evaluate_batch(LOGITS, state, Batch(jnp.asarray(logits), jnp.asarray(labels)), jnp.asarray(weight))
    among = [label in np.argsort(row)[-5:] for row, label in zip(logits, labels, strict=True)]
    assert float(sums["top5"]) == sum(among[:150])
    assert 10 < sum(among[:150]) < 50


def test_records_pages_and_tables_hold_it(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.tile(np.arange(12), 10)
    images = generator.integers(0, 256, (120, 8, 8, 1)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    run = Run(data=str(tmp_path / "x.npz"), model="mlp", model_args={"hidden": (8,)}, batch_size=20, epochs=2)
    record = train(run, tmp_path / "run.jsonl")
    row = record.last("eval")
    assert row["accuracy"] <= row["top5"] < 1.0
    published.write_runs(tmp_path / "p.jsonl", "p", "small", [record], [record], [])
    (again,) = published.read(tmp_path / "p.jsonl").records
    assert abs(again.last("eval")["top5"] - row["top5"]) < 1e-4
    table = tables.contenders([again])
    assert table.rows[0][list(table.columns).index("top-5 %")] == f"{100 * row['top5']:.2f}"
    ten = train(Run(data="digits", model="mlp", batch_size=64, steps=2), tmp_path / "ten.jsonl")
    assert "top5" not in ten.last("eval")
