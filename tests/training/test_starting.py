"""`optaxaccel train --from RUN`: a run starts where another one stands, with other settings, and says so."""

import json

import jax
import numpy as np
import pytest

from optaxaccel import cli, training
from optaxaccel.training.keeping import records

IMAGES = ["--method", "agd", "--method-args", "learning_rate=0.1,momentum=0.8", "--model-args", "hidden=(8,)"]
TASK = ["--task", "rosenbrock", "--method", "agd", "--method-args", "learning_rate=0.0001,momentum=0.5"]


def train(*words):
    return cli.run(["train", *map(str, words)])


@pytest.fixture(scope="module", params=["images", "task"])
def first(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("first") / request.param
    words = [*IMAGES, "--epochs", "2"] if request.param == "images" else [*TASK, "--steps", "20"]
    assert train(*words, "--keep-every", "11", "--out", folder) == 0
    return folder


def spec(folder):
    return records.read(folder / "record.jsonl").start["spec"]


def evaluations(folder):
    return [row for row in records.read(folder / "record.jsonl").rows if row["kind"] == "eval"]


@pytest.mark.parametrize("which", ["last", "11"])
def test_a_run_starts_where_another_stands_with_other_settings(first, which, tmp_path):
    out = tmp_path / "second"
    words = ["--from", first, "--from-which", which, "--method-args", "learning_rate=0.00001", "--out", out]
    assert train(*words) == 0
    loaded = training.load(first, int(which) if which.isdigit() else which)
    start, end = evaluations(out)[0], evaluations(out)[-1]
    assert (start["step"], end["step"]) == (0, evaluations(first)[-1]["step"])
    assert start["loss"] == pytest.approx(loaded.evaluate()["loss"], rel=1e-6)
    assert end["loss"] < start["loss"]
    ours, theirs = spec(out), spec(first)
    about = ours.pop("start_from")
    assert about == {"run": str(first), "which": which, "step": loaded.step, "digest": loaded.run.digest()}
    assert ours.pop("method_args") == {**theirs.pop("method_args"), "learning_rate": 0.00001}
    assert ours == theirs
    assert train(*words, "--resume") == 0  # done already, and the very same run
    assert train(*words[:4], "--method-args", "learning_rate=0.5", "--out", out) == 2


@pytest.mark.parametrize("first", ["images"], indirect=True)
def test_the_optimiser_begins_anew_at_these_parameters(first, tmp_path):
    """Its first step is that of the method at these parameters, with an empty memory."""
    loaded = training.load(first, "last")
    assert train("--from", first, "--method", "optax.sgd", "--method-args", "learning_rate=0.0", "--out", tmp_path) == 0
    still = training.load(tmp_path, "last")
    jax.tree.map(np.testing.assert_array_equal, still.params, loaded.params)
    assert still.run.method_args == {"learning_rate": 0.0}  # of another method nothing is taken over


@pytest.mark.parametrize("first", ["images"], indirect=True)
def test_a_grid_starts_there_too(first, tmp_path):
    out = tmp_path / "grid"
    assert train("--from", first, "--grid", "learning_rate=0.0,0.00001", "--out", out) == 0
    made = records.read_all(out)
    assert len(made) == 2
    starts = [next(row for row in record.rows if row["kind"] == "eval")["loss"] for record in made]
    assert starts == pytest.approx([training.load(first, "last").evaluate()["loss"]] * 2, rel=1e-6)


def test_what_cannot_be_started_from_is_refused(first, tmp_path, capsys):
    cases = {
        ("--from", tmp_path / "nowhere"): "no record.jsonl",
        ("--from", first, "--from-which", "beste"): "Pass last, best, or the step",
        ("--from", first, "--from-which", "7"): "there are 11",
    }
    if first.name == "images":
        cases["--from", first, "--model-args", "hidden=(9,)"] = "another network"
    for words, text in cases.items():
        assert train(*words, "--out", tmp_path / "out") == 2
        assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_has_gone_on_since_is_told_of(tmp_path, capsys):
    first, out = tmp_path / "first", tmp_path / "second"
    assert train(*TASK, "--steps", 4, "--out", first) == 0
    assert train("--from", first, "--out", out) == 0
    rows = (out / "record.jsonl").read_text().splitlines()
    assert json.loads(rows[0])["spec"]["start_from"]["step"] == 4
    assert train(*TASK, "--steps", 8, "--out", first, "--resume") == 0
    assert train("--from", first, "--steps", 4, "--out", out) == 2
    assert "start_from" in capsys.readouterr().err
