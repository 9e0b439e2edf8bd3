"""`compare` called again with its folder: what is the same goes on, what is another is refused, whatever it is."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optaxaccel import training
from optaxaccel.tasks import Task, from_loss
from optaxaccel.training.many.contenders import contenders

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
Y = X @ np.array([1.0, 2.0, 3.0], np.float32)
SGD = {"sgd": ("optax.sgd", {"learning_rate": 0.1})}


def go(task, folder, methods=SGD, **more):
    return training.compare(task, methods, steps=6, seeds=1, evaluations=2, folder=folder, progress=False, **more)


def files(folder):
    return {path.name: path.read_text() for path in folder.glob("*.jsonl")}


def test_a_tuned_comparison_goes_on_where_it_was_stopped(tmp_path):
    task = from_loss(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2))
    given = {"sgd": "optax.sgd", "adam": optax.adam}
    tune = {"learning_rate": (0.01, 0.1)}
    first = go(task, tmp_path, given, tune=tune)
    before = files(tmp_path)
    assert len(before) == 6
    one = next(path for path in tmp_path.glob("sgd-*-tune-*.jsonl") if '"learning_rate": 0.1' in path.read_text())
    one.write_text("".join(one.read_text().splitlines(keepends=True)[:-1]))  # killed before its end
    again = go(task, tmp_path, given, tune=tune)
    assert [r.rows[-1]["loss"] for r in first.records] == [r.rows[-1]["loss"] for r in again.records]
    assert {name for name, text in files(tmp_path).items() if text != before[name]} == {one.name}


def problem(score=1.0, finish=1.0, validation=0.0, test=0.0, drawn=0.0):
    def loss(params, net_state, batch, *, key, train):
        gap = jnp.mean((batch["x"] @ params - batch["y"]) ** 2)
        return gap, (net_state, {} if train else {"err": score * gap})

    def sample(key):
        x = jax.random.normal(key, (32, 3))
        return {"x": x, "y": x.sum(axis=1) + drawn}

    return Task(
        lambda key: (jnp.zeros(3), {}),
        loss,
        train={"x": X, "y": Y},
        test=sample if drawn is not None else {"x": X, "y": Y + test},
        validation={"x": X, "y": Y + validation},
        score="out",
        finish=lambda means: {"out": finish * means["err"]},
        batch_size=16,
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"score": 100.0}),
        ({}, {"finish": 100.0}),
        ({}, {"validation": 50.0}),
        ({}, {"drawn": 50.0}),
        ({"drawn": None}, {"drawn": None, "test": 50.0}),
    ],
    ids=["loss in evaluation", "finish", "validation data", "test data that are drawn", "test data"],
)
def test_a_folder_of_a_task_that_changed_is_refused(before, after, tmp_path):
    go(problem(**before), tmp_path)
    go(problem(**before), tmp_path)
    with pytest.raises(ValueError, match="is of another comparison"):
        go(problem(**after), tmp_path)


def within_jit(target):
    return jax.jit(lambda x: jnp.sum((x - target) ** 2))


def within_a_branch(target):
    return lambda x: jax.lax.cond(x[0] > 99.0, lambda x: 0.0, within_jit(target), x)


def within_a_loop(target):
    return lambda x: jax.lax.fori_loop(0, 2, lambda k, total: total + within_jit(target)(x), 0.0)


@pytest.mark.parametrize("make", [within_jit, within_a_branch, within_a_loop])
def test_arrays_that_a_function_within_the_loss_holds_are_looked_at(make, tmp_path):
    def of(target):
        return from_loss(make(np.array(target, np.float32)), jnp.zeros(2), name="mine")

    go(of([1.0, 2.0]), tmp_path)
    go(of([1.0, 2.0]), tmp_path)
    with pytest.raises(ValueError, match="is of another comparison"):
        go(of([10.0, 20.0]), tmp_path)


def test_a_folder_of_an_older_version_is_refused_in_words(tmp_path):
    go(problem(), tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for mark in ({"fingerprint": "03a2a00f0db5-9ff87d6f5fee"}, {}):
        row = {name: value for name, value in rows[0].items() if name != "fingerprint"}
        path.write_text("".join(json.dumps(row) + "\n" for row in [{**row, **mark}, *rows[1:]]))
        with pytest.raises(ValueError, match="another version of this package"):
            go(problem(), tmp_path)


# --- What methods are given -------------------------------------------------------------------------------------------


def test_factories_given_functions_go_on_with_a_folder(tmp_path):
    """Schedules to choose from are told apart, by numbers in records; a changed one is another comparison."""

    def given(rate):
        schedules = [optax.cosine_decay_schedule(value, 100) for value in (0.01, rate)]
        return {"adam": (optax.adam, {"learning_rate": schedules})}

    task = from_loss(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2))
    first = go(task, tmp_path, given(0.1))
    before = files(tmp_path)
    names = [record.start["spec"]["method_args"]["learning_rate"] for record in first.records]
    assert names[1] == f"{names[0]} #2" == names[2]
    assert "0x" not in names[0]
    assert len(before) == 3
    go(task, tmp_path, given(0.1))
    assert files(tmp_path) == before
    with pytest.raises(ValueError, match="is of another comparison"):
        go(task, tmp_path, given(0.2))


def test_a_transformation_made_for_these_parameters_goes_with_a_folder(tmp_path):
    """Its labels name parts of the task's parameters: on others it cannot be traced."""

    def loss(params):
        return jnp.sum(params["a"] ** 2) + jnp.sum((params["b"] - 1.0) ** 2)

    def given(rate):
        parts = {"fast": optax.sgd(rate), "slow": optax.sgd(0.01)}
        return {"parts": optax.multi_transform(parts, {"a": "fast", "b": "slow"})}

    task = from_loss(loss, {"a": jnp.ones(2), "b": jnp.zeros(2)})
    go(task, tmp_path, given(0.1))
    go(task, tmp_path, given(0.1))
    with pytest.raises(ValueError, match="is of another comparison"):
        go(task, tmp_path, given(0.2))


def test_functions_may_be_tuned_over():
    schedules = (optax.constant_schedule(0.1), optax.constant_schedule(0.2))
    (one,) = contenders({"sgd": optax.sgd}, {"learning_rate": schedules})
    assert [setting.recipe.static["learning_rate"] for setting in one.settings] == list(schedules)
    with pytest.raises(ValueError, match="left to tune"):
        contenders({"sgd": (optax.sgd, {"learning_rate": 0.1})}, {"learning_rate": (0.2,)})


@pytest.mark.parametrize("make", ["rna_sgd", "factory"])
def test_lengths_in_epochs_are_those_of_the_task(make, tmp_path):
    from optaxaccel import rna_sgd

    what = rna_sgd if make == "factory" else make
    given = {str(period): (what, {"learning_rate": 0.1, "period": period, "history": 3}) for period in (1, 3, "1epoch")}
    task = from_loss(lambda p, b: jnp.mean((b["x"] @ p - b["y"]) ** 2), jnp.zeros(3), train={"x": X, "y": Y})
    comparison = go(task.replace(batch_size=20), tmp_path, given)  # three steps an epoch
    losses = {name: comparison.final(name)[0].rows[-1]["loss"] for name in given}
    assert losses["1epoch"] == losses["3"] != losses["1"]
    assert comparison.final("1epoch")[0].start["spec"]["method_args"]["period"] == 3
    tuned = go(task.replace(batch_size=20), None, {"rna": (what, {"learning_rate": 0.1})}, tune={"period": ["1epoch"]})
    assert tuned.final("rna")[0].start["spec"]["method_args"]["period"] == 3


# --- Probes and labels ------------------------------------------------------------------------------------------------


def test_probes_asked_of_runs_that_are_done_without_are_refused(tmp_path):
    task = problem()
    go(task, tmp_path)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"without probe=\['sharpness'\]"):
        go(task, tmp_path, probe=("sharpness",))
    assert files(tmp_path) == before
    go(task, tmp_path / "new", probe=("sharpness",))
    go(task, tmp_path / "new", probe=("sharpness",))
    go(task, tmp_path / "new")


def test_labels_that_would_share_a_file_are_refused(tmp_path):
    task = problem()
    both = {"a b": SGD["sgd"], "a_b": SGD["sgd"]}
    with pytest.raises(ValueError, match="'a b' and 'a_b'"):
        go(task, tmp_path, both)
    assert not files(tmp_path)
    assert [line.done for line in go(task, None, both).table().lines] == [1, 1]
    go(task, tmp_path, {"a b": SGD["sgd"]})
    with pytest.raises(ValueError, match="is of another comparison"):
        go(task, tmp_path, {"a_b": SGD["sgd"]})
