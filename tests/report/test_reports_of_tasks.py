"""`report` of tasks: what shares a table, by which score it is ranked, and what became of runs that are not done."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from made import record

from optaxaccel import cli, training
from optaxaccel.tasks import Task, from_loss
from optaxaccel.training.keeping.records import Record
from optaxaccel.training.many import recorded, sweep
from optaxaccel.training.many.compared import Comparison
from optaxaccel.training.run.spec import Run

FLAGS = np.arange(64) % 2


def classes(score="accuracy"):
    def loss(params, net_state, batch, *, key, train):
        logits = params * batch["x"]
        value = jnp.mean(jax.nn.softplus(logits) - batch["y"] * logits)
        return value, (net_state, {"accuracy": jnp.mean((logits > 0) == batch["y"])})

    data = {"x": 2.0 * FLAGS - 1.0, "y": FLAGS * 1.0}
    return Task(lambda key: (jnp.zeros(()), {}), loss, data, score=score, higher_is_better=score != "loss", name="mine")


def bowl(scale):
    def loss(params):
        return scale * jnp.sum(params**2)

    return from_loss(loss, jnp.ones(2), steps=3)


SGD = {"sgd": (optax.sgd, {"learning_rate": 0.01})}


def report(folder, capsys):
    capsys.readouterr()
    assert cli.run(["report", str(folder)]) == 0
    return capsys.readouterr().out


def test_the_score_is_that_of_the_results(tmp_path, capsys):
    """Whole batches without data apart are tuned by their training loss, whatever the task's score is."""
    tune = {"learning_rate": (0.01, 0.1)}
    outcome = training.compare(classes(), {"zz": optax.sgd, "aa": optax.adam}, tune=tune, steps=3, folder=tmp_path)
    assert {r.start["score"]["metric"] for r in outcome.records} == {"loss", "accuracy"}
    for path in tmp_path.glob("*-tune-*.jsonl"):
        path.rename(tmp_path / f"0-{path.name}")  # which of them is read first is that of the names
    said = report(tmp_path, capsys)
    assert "mine: accuracy" in said
    assert "mine: loss" not in said


@pytest.mark.parametrize("differ", ["functions", "data", "budgets", "scores"])
def test_comparisons_that_share_a_name_have_tables_of_their_own(differ, tmp_path, capsys):
    other = {"functions": bowl(3.0), "data": classes().replace(train={"x": FLAGS * 1.0, "y": FLAGS * 1.0})}
    first = classes() if differ in ("data", "scores") else bowl(1.0)
    second = other.get(differ, classes("loss") if differ == "scores" else first)
    training.compare(first, SGD, calls=10, folder=tmp_path / "one")
    training.compare(second, SGD, calls=20 if differ == "budgets" else 10, folder=tmp_path / "two")
    said = report(tmp_path, capsys)
    assert said.count("figure: ") == 2
    assert f"{first.name} in one: {first.score}" in said
    assert f"{second.name} in two: {second.score}" in said
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_a_second_record_of_a_run_is_said_to_be_left_out(tmp_path, capsys):
    for name in ("one", "two"):
        training.compare(bowl(1.0), SGD, folder=tmp_path / name)
    said = report(tmp_path, capsys)
    assert said.count("figure: ") == 1
    assert "Left out, since the same run has another record: two/" in said


@pytest.mark.parametrize(("status", "rank"), [("unfinished", 1), ("failed", 2), ("diverged", 2)])
def test_runs_that_are_not_done_are_called_what_they_are(status, rank, tmp_path, capsys):
    score = {"score": {"metric": "loss", "higher_is_better": False}}
    for label, losses, seed, end in (
        ("b", [3.0, 2.0], 1, "done"),
        ("a", [3.0, 1.0], 1, "done"),
        ("a", [3.0], 2, status),
    ):
        path = tmp_path / f"{label}{seed}.jsonl"
        record(path, label, losses, task="rosenbrock", seed=seed, status=end, rate=0.1 if label == "a" else 0.2)
        first, *rest = path.read_text().splitlines()
        rest = rest[:-1] if end == "unfinished" else rest
        path.write_text("\n".join([json.dumps({**json.loads(first), **score}), *rest]) + "\n")
    line = next(line for line in report(tmp_path, capsys).splitlines() if f"1 (+1 {status})" in line)
    assert line.split()[:2] == [str(rank), "a"]  # its mean is the better one; who diverged comes behind who did not
    (tmp_path / "a1.jsonl").unlink()
    line = next(line for line in report(tmp_path, capsys).splitlines() if f"0 (+1 {status})" in line)
    assert line.split()[:3] == ["2", "a", status]


def test_what_is_measured_more_often_or_was_trained_by_itself_shares_the_table(tmp_path, capsys):
    training.compare("rosenbrock", SGD, steps=3, evaluations=2, folder=tmp_path / "one")
    training.compare("rosenbrock", {"adam": (optax.adam, {"learning_rate": 0.01})}, steps=3, folder=tmp_path / "two")
    words = ["--method", "optax.rmsprop", "--method-args", "learning_rate=0.01", "--steps", "3"]
    assert cli.run(["train", "--task", "rosenbrock", *words, "--out", str(tmp_path / "three")]) == 0
    said = report(tmp_path, capsys)
    assert said.count("figure: ") == 1
    assert all(name in said for name in ("sgd", "adam", "rmsprop"))


def test_another_machine_is_no_other_problem(tmp_path, capsys):
    """There, data that are computed have another hash."""
    training.compare(bowl(1.0), SGD, folder=tmp_path / "one")
    training.compare(bowl(1.0), {"adam": (optax.adam, {"learning_rate": 0.01})}, folder=tmp_path / "two")
    (path,) = (tmp_path / "two").glob("*.jsonl")
    first, *rest = path.read_text().splitlines()
    row = {**json.loads(first), "machine": "another", "data_hash": "0" * 12}
    path.write_text("\n".join([json.dumps(row), *rest]) + "\n")
    assert report(tmp_path, capsys).count("figure: ") == 1
    path.write_text("\n".join([json.dumps({**row, "machine": json.loads(first)["machine"]}), *rest]) + "\n")
    assert report(tmp_path, capsys).count("figure: ") == 2


def test_a_run_that_failed_at_once_is_in_the_table_of_its_grid(tmp_path, capsys):
    words = [
        "--task-args",
        "size=smoke",
        "--method",
        "optax.adam",
        "--method-args",
        "learning_rate=0.01",
        "--steps",
        "3",
    ]
    words = ["train", "--task", "rosenbrock", *words, "--grid", "b1=0.5,0.9", "--out", str(tmp_path)]
    assert cli.run(words) == 0
    arguments = {"learning_rate": 0.01, "b1": 0.7}
    run = Run(task="rosenbrock", task_args={"size": "smoke"}, method="optax.adam", method_args=arguments, steps=3)
    (job,) = sweep.jobs_of([run], [tmp_path / "failed.jsonl"], ["b1=0.7"], "final", None)
    recorded.record_failure(job, "out of memory")
    said = report(tmp_path, capsys)
    assert said.count("figure: ") == 1
    assert "b1=0.7  failed" in " ".join(said.split("\n")).replace("   ", "  ")


def test_who_has_not_come_to_an_end_comes_last():
    def made(label, status):
        row = {
            "kind": "eval",
            "loss": 1.0,
            "step": 1,
            "seconds": 1.0,
            "value_calls": 0,
            "grad_calls": 1,
            "hvp_calls": 0,
        }
        start = {"label": label, "phase": "final", "spec": {"method_args": {}}}
        return Record(Path("made"), start, [row], {} if status == "unfinished" else {"status": status})

    score = {"metric": "loss", "higher_is_better": False}
    runs = [*(made("good", status) for status in ("done", "diverged")), made("running", "unfinished")]
    table = Comparison("mine", score, runs, ["running", "good"]).table()
    assert [line.method for line in table.lines] == ["good", "running"]
