"""A run that goes on, and a grid, with the file of its data or of its task changed since: refused, not mixed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import cli, training
from optaxaccel.training.steps import fingerprint

TASK = "import jax.numpy as jnp\nfrom optaxaccel.tasks import from_loss\n\n\ndef make():\n"
LOSS = "    return from_loss(lambda x: jnp.sum((x - {}) ** 2), jnp.zeros(2), steps=20)\n"


def images(flipped=False):
    rng, label = np.random.default_rng(0), np.arange(128) % 2
    image = rng.integers(0, 100, (128, 4, 4, 1)).astype(np.uint8)
    image[label == 1] += 100
    label = 1 - label if flipped else label
    np.savez("d.npz", x_train=image, y_train=label, x_test=image[:32], y_test=label[:32])


def table(flipped=False):
    rows = (f"{k % 7},{k % 5},{'xyz'[(2 - k) % 3 if flipped else k % 3]}\n" for k in range(120))
    with open("c.csv", "w") as file:
        file.write("a,b,y\n" + "".join(rows))


def task(flipped=False):
    with open("t.py", "w") as file:
        file.write(TASK + LOSS.format(9.0 if flipped else 1.0))


SGD = ["--method", "optax.sgd"]
CASES = {
    "images": (images, ["--data", "d.npz", "--model-args", "hidden=(4,)", "--batch-size", "32", *SGD]),
    "table": (table, ["--task", "table", "--task-args", "data='c.csv',batch_size=16", *SGD]),
    "task": (task, ["--task", "t.py:make", *SGD]),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, words = CASES[request.param]
    write()
    return write, ["train", *words]


def first_row(path):
    return json.loads(path.read_text().splitlines()[0])


def without_hash(path):
    first, *rest = path.read_text().splitlines()
    row = {name: value for name, value in json.loads(first).items() if name != "data_hash"}
    path.write_text("\n".join([json.dumps(row), *rest]) + "\n")


def test_a_run_is_not_gone_on_with(case, tmp_path, capsys):
    write, words = case
    words = [*words, "--method-args", "learning_rate=0.01", "--out", "r"]
    record = tmp_path / "r" / "record.jsonl"
    assert cli.run([*words, "--steps", "4"]) == 0
    assert len(first_row(record)["data_hash"]) == 12
    write()  # anew, and the same
    assert cli.run([*words, "--steps", "6", "--resume"]) == 0
    write(flipped=True)
    before = record.read_text()
    capsys.readouterr()
    assert cli.run([*words, "--steps", "8", "--resume"]) == 2
    assert "began with other data" in capsys.readouterr().err
    assert record.read_text() == before
    without_hash(record)  # of an older version: it goes on as before
    assert cli.run([*words, "--steps", "8", "--resume"]) == 0


def test_a_network_that_they_trained_is_not_loaded(case, tmp_path, capsys):
    """Scales of columns, codes of words and what is measured would be others; a task of one's own still fits."""
    write, words = case
    words = [*words, "--method-args", "learning_rate=0.01", "--steps", "4", "--out", "r"]
    assert cli.run(words) == 0
    write()
    before = training.load("r", "last")
    with jax.default_matmul_precision("highest"):
        assert training.load("r", "last").step == 4  # a setting of the process is no other task
    write(flipped=True)
    if ":" in before.run.task:
        with pytest.warns(UserWarning, match="began with other data"):
            assert training.load("r", "last").step == 4
    else:
        with pytest.raises(ValueError, match="began with other data"):
            training.load("r", "last")
        capsys.readouterr()
        assert cli.run(["evaluate", "r", "--which", "last"]) == 2
        assert "began with other data" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="parameters are taken as they are"):  # to train on with new rows
        assert cli.run(["train", "--from", "r", "--steps", "2", "--out", "s"]) == 0


def test_records_of_a_grid_are_not_mixed(case, tmp_path, capsys):
    write, words = case
    words = [*words, "--steps", "4", "--out", "g", "--grid"]
    assert cli.run([*words, "learning_rate=0.01,0.02"]) == 0
    write()
    assert cli.run([*words, "learning_rate=0.01,0.02,0.03", "--resume"]) == 0
    write(flipped=True)
    capsys.readouterr()
    assert cli.run([*words, "learning_rate=0.01,0.04", "--resume"]) == 2
    assert "began with other data" in capsys.readouterr().err
    assert len(list((tmp_path / "g").glob("*.jsonl"))) == 3
    for path in (tmp_path / "g").glob("*.jsonl"):
        assert len(first_row(path)["data_hash"]) == 12
        without_hash(path)
    assert cli.run([*words, "learning_rate=0.01,0.04", "--resume"]) == 0


def test_shapes_that_changed_are_said_where_a_run_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table()
    words = ["--method-args", "learning_rate=0.01", "--steps", "4", "--out", "r"]
    assert cli.run(["train", *CASES["table"][1], *words]) == 0
    text = (tmp_path / "c.csv").read_text()
    without_hash(tmp_path / "r" / "record.jsonl")
    (tmp_path / "c.csv").write_text("c," + text.replace("\n", "\n1,", 120).removesuffix("1,"))
    assert cli.run(["evaluate", "r", "--which", "last"]) == 2
    assert "network of other shapes" in capsys.readouterr().err


def test_another_machine_or_version_is_let_pass(tmp_path, monkeypatch):
    """There, data that are computed differ in their last digits."""
    monkeypatch.chdir(tmp_path)
    task()
    words = ["train", "--task", "t.py:make", *SGD, "--method-args", "learning_rate=0.01", "--out", "r"]
    assert cli.run([*words, "--steps", "4"]) == 0
    task(flipped=True)
    record = tmp_path / "r" / "record.jsonl"
    first, *rest = record.read_text().splitlines()
    record.write_text("\n".join([json.dumps({**json.loads(first), "machine": "another"}), *rest]) + "\n")
    assert cli.run([*words, "--steps", "6", "--resume"]) == 0


def test_what_ships_has_no_hash_and_types_and_shapes_count(tmp_path):
    assert cli.run(["train", *SGD, "--method-args", "learning_rate=0.1", "--steps", "2", "--out", str(tmp_path)]) == 0
    assert "data_hash" not in first_row(tmp_path / "record.jsonl")
    zeros = [np.zeros(4, np.int32), np.zeros((2, 2), np.int32), np.zeros(4, np.float32), jnp.zeros((), jnp.bfloat16)]
    assert len({fingerprint.of_arrays([array]) for array in zeros}) == len(zeros)
    assert fingerprint.of_arrays({"a": zeros[1][:, :1]}) == fingerprint.of_arrays([np.zeros((2, 1), np.int32)])
