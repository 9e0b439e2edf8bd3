"""A run of a task: records, checkpoints, resume and the command line, as for images."""

import json
import re

import jax
import numpy as np
import pytest

from optaxaccel import cli
from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.keeping.keep import Keep, Keeper
from optaxaccel.training.run.spec import Run

FILE = """
import jax, jax.numpy as jnp, numpy as np
from optaxaccel.tasks import Task


def make_task(*, curve=4.0, precision="float64"):
    def loss(params, net_state, batch, *, key, train):
        noise = jax.random.normal(key, ()) * 0.01 if train else 0.0
        value = 0.5 * jnp.mean((params * batch["x"]) ** 2) * curve + noise * jnp.sum(params)
        return value, (net_state, {"size": jnp.abs(params).sum()})

    data = {"x": np.arange(1.0, 13.0)}
    return Task(lambda key: (jax.random.normal(key, (1,)), {}), loss, train=data, batch_size=3, precision=precision,
                score="size")
"""
TIMED = {*records.TIMED, "dirty", "commit"}


@pytest.fixture
def place(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return f"{path}:make_task"


def run_of(place, **changes):
    return Run(
        task=place, method="optax.sgd", method_args={"learning_rate": 0.003, "momentum": 0.5}, epochs=3, **changes
    )


def untimed(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMED} for row in rows]


def test_a_run_follows_numpy_and_its_record_is_read(place, tmp_path):
    outcome = loop.train(run_of(place, log_every=2), tmp_path / "r.jsonl")
    record = records.read_all(tmp_path / "r.jsonl")[0]
    assert (outcome.status, outcome.step, record.status) == ("done", 12, "done")
    assert [row["step"] for row in record.rows if row["kind"] == "eval"] == [0, 4, 8, 12]
    assert [row["step"] for row in record.rows if row["kind"] == "train"] == [2, 4, 6, 8, 10, 12]
    with jax.enable_x64(True):
        key = jax.random.key(0)
        x = np.asarray(jax.random.normal(jax.random.fold_in(key, 0), (1,)))
        run_key, v = jax.random.fold_in(key, 1), np.zeros(1)
        order_key = jax.random.fold_in(run_key, 1)
        for k in range(12):
            if k % 4 == 0:
                order = np.asarray(jax.random.permutation(jax.random.fold_in(order_key, k // 4), 12))
            batch = np.arange(1.0, 13.0)[order[k % 4 * 3 :][:3]]
            noise = 0.01 * float(jax.random.normal(jax.random.fold_in(run_key, k), ()))
            v = 0.5 * v + 4.0 * x * np.mean(batch**2) + noise
            x = x - 0.003 * v
    assert record.last("eval")["size"] == pytest.approx(abs(float(x[0])), rel=1e-9)
    assert record.last("eval")["loss"] == pytest.approx(
        2.0 * float(x[0]) ** 2 * np.mean(np.arange(1.0, 13.0) ** 2), rel=1e-9
    )


def test_a_run_that_was_stopped_goes_on_to_the_same_record(place, tmp_path, monkeypatch):
    run = run_of(place, log_every=1)
    whole = loop.train(run, tmp_path / "whole" / "record.jsonl")
    asked = iter([False] * 9 + [True] * 99)
    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "asked_to_stop", lambda self: next(asked))
        cut = loop.train(run, tmp_path / "cut" / "record.jsonl", keep=Keep(tmp_path / "cut"))
    assert cut.status == "stopped"
    assert 0 < cut.step < 12
    again = loop.train(run, tmp_path / "cut" / "record.jsonl", keep=Keep(tmp_path / "cut", resume=True))
    assert again.status == "done"
    assert untimed(tmp_path / "cut" / "record.jsonl") == untimed(tmp_path / "whole" / "record.jsonl")
    np.testing.assert_array_equal(again.state.params, whole.state.params)


def test_the_command_trains_reports_and_refuses(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", "--task", place, "--method", "optax.sgd", "--method-args", "learning_rate=0.003", "--steps", "6"]
    assert cli.run([*words, "--task-args", "curve=1.0", "--out", "one"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"test loss \S+  size \S+, \S+ s of training", out)
    assert cli.run(["report", "one"]) == 0
    assert "optax.sgd" in capsys.readouterr().out
    assert (tmp_path / "one" / "figure.png").exists()
    for more, said in {
        ("--model", "cnn"): "model='cnn' is for images",
        ("--task-args", "curv=1.0"): "Did you mean 'curve'",
        ("--decay", "decoupled", "--weight-decay", "0.1"): "--decay loss",
        ("--profile", "1:2"): "is for images",
    }.items():
        assert cli.run([*words, *more, "--out", "two"]) == 2
        assert said in capsys.readouterr().err
    wild = ["--method-args", "learning_rate=1e35"]
    assert cli.run([*words, *wild, "--out", "three"]) == 3
    assert records.read(tmp_path / "three" / "record.jsonl").status == "diverged"
