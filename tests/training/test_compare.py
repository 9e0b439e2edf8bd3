"""`compare`: budgets, tuning, records and resume, against twins in NumPy."""

import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel import cli, training
from optaxaccel.tasks import Task, from_loss
from optaxaccel.training.many.compared import calls
from optaxaccel.training.many.comparing import HELD_OUT
from optaxaccel.training.steps import members

CURVES = np.array([1.0, 4.0])


def bowl(params):
    return 0.5 * jnp.sum(CURVES * params**2)


BOWL = from_loss(bowl, lambda key: jax.random.normal(key, (2,)), precision="float64", steps=12)


def start(seed):
    with jax.enable_x64(True):
        return np.asarray(BOWL.init(jax.random.fold_in(jax.random.key(seed), 0))[0])


def rows(record, kind="eval"):
    return [row for row in record.rows if row["kind"] == kind]


def test_all_seeds_and_settings_follow_numpy_to_the_last_digit():
    """Gradient descent with momentum, written out: v = m v + g, x = x - lr v."""
    given = {"sgd": (optax.sgd, {"learning_rate": [0.1, 0.3], "momentum": [0.5]}), "pal": "pal"}
    comparison = training.compare(BOWL, given, seeds=(3, 8), evaluations=4)
    for record in comparison.records:
        if record.start["label"] == "pal":
            continue
        lr, x, v = (
            record.start["spec"]["method_args"]["learning_rate"],
            start(record.start["spec"]["seed"]),
            np.zeros(2),
        )
        losses, minibatch = [0.5 * CURVES @ x**2], []
        for _ in range(12):
            v = 0.5 * v + CURVES * x
            minibatch.append(losses[-1])
            x = x - lr * v
            losses.append(0.5 * CURVES @ x**2)
        assert [row["step"] for row in rows(record)] == [0, 3, 6, 9, 12]
        np.testing.assert_allclose([row["loss"] for row in rows(record)], losses[::3], rtol=1e-9)
        trained = [row["loss"] for row in rows(record, "train")]
        np.testing.assert_allclose(trained, np.reshape(minibatch, (4, 3)).mean(axis=1), rtol=1e-6)
    tried = [r for r in comparison.records if r.start["phase"] == "tune"]
    assert sorted(r.start["spec"]["method_args"]["learning_rate"] for r in tried) == [0.1, 0.3]
    best = min(tried, key=lambda r: rows(r)[-1]["loss"]).start["spec"]["method_args"]
    assert [r.start["spec"]["method_args"] for r in comparison.final("sgd")] == [best, best]


def test_a_method_may_be_written_as_a_call():
    called, given = "optax.sgd(learning_rate=0.1, momentum=0.5)", {"learning_rate": 0.1, "momentum": 0.5}
    comparison = training.compare(BOWL, {"as text": called, "as a pair": ("optax.sgd", given)}, steps=3, seeds=1)
    text, pair = (rows(comparison.final(label)[0])[-1]["loss"] for label in ("as text", "as a pair"))
    assert text == pair
    assert training.compare(BOWL, [called], steps=1, seeds=1).best == called


def test_a_method_that_looks_at_the_loss_gets_it():
    """On a quadratic the parabola through two losses is exact: one step of PAL along -g is the line's minimum."""
    comparison = training.compare(
        BOWL, {"pal": optaxaccel.pal(momentum=0.0, loose_approximation=1.0, max_step_size=100.0)}, steps=1, seeds=1
    )
    x = start(0)
    g = CURVES * x
    want = 0.5 * CURVES @ (x - (g @ g) / (g @ (CURVES * g)) * g) ** 2
    assert rows(comparison.records[0])[-1]["loss"] == pytest.approx(want, rel=1e-9)
    assert rows(comparison.records[0])[-1]["value_calls"] == 1.0  # counted in the trace: a transformation has no card


def test_a_transformation_that_searches_pays_for_its_searches_only():
    """As by its name: what a branch that is never taken would evaluate is not counted."""
    far, near = jnp.full(2, 10.0), jnp.zeros(2)
    for start, attempts in ((far, 0), (near, 2)):
        comparison = training.compare(
            lambda x: jnp.sum(x**2) / 2,
            {
                "handed in": optaxaccel.gose_sgd(0.01, check_every=2),
                "by name": ("gose_sgd", {"learning_rate": 0.01, "check_every": 2}),
            },
            params=start,
            steps=4,
            seeds=1,
            evaluations=1,
        )
        rows = [record.rows[-1] for record in comparison.records]
        assert [row["hvp_calls"] for row in rows] == [16 * attempts] * 2
        assert [row["value_calls"] for row in rows] == [attempts] * 2
        assert [row["grad_calls"] for row in rows] == [4 + attempts] * 2
    assert repr(comparison) == "<comparison of handed in, by name on lambda: 2 records>"


def test_equal_calls_and_equal_seconds():
    line = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10))
    given = {"pal": "pal", "gose": ("gose_sgd", {"learning_rate": 0.05}), "line": line, "sgd": optax.sgd(0.1)}
    comparison = training.compare(BOWL, given, calls=40, seeds=2, evaluations=2)
    used = {r.start["label"]: calls(rows(r)[-1]) for r in comparison.records}
    assert used["pal"] == used["sgd"] == 40
    assert 40 <= used["line"] < 40 + 30  # the last step's search goes to its end
    assert 40 <= used["gose"] < 40 + 40
    assert {rows(r)[-1]["step"] for r in comparison.final("pal")} == {20}
    timed = training.compare(BOWL, {"sgd": optax.sgd(0.1)}, seconds=0.02, seeds=2, evaluations=2)
    assert all(0.02 <= rows(r)[-1]["seconds"] < 1.0 for r in timed.records)


def test_a_run_that_diverges_is_shown_and_stops_at_its_fault():
    comparison = training.compare(
        BOWL, {"wild": optax.sgd(1e200), "sgd": optax.sgd(0.1)}, seeds=2, steps=8, evaluations=4
    )
    assert [(r.status, r.end["step"]) for r in comparison.final("wild")] == [("diverged", 1)] * 2
    table = comparison.table()
    assert [line.method for line in table.lines] == ["sgd", "wild"]
    assert "0 (+2 diverged)" in str(table)
    assert max(map(len, str(table).splitlines())) <= 80


# --- Examples, batches and noise --------------------------------------------------------------------------------------

EXAMPLES = {"x": np.arange(21.0), "y": np.arange(21.0) % 5}


def mean_task(**more):
    def loss(params, net_state, batch, *, key, train):
        value = jnp.mean((params - batch["x"]) ** 2)
        seen = {"count": net_state["count"] + jnp.sum(batch["x"])} if train else net_state
        return value, (seen, {"worst": jnp.max(batch["x"]), "seen": net_state["count"]})

    return Task(lambda key: (jnp.zeros(()), {"count": jnp.zeros(())}), loss, train=EXAMPLES, batch_size=5, **more)


def test_an_epoch_sees_every_example_once_and_dropped_ones_differ():
    """20 of 21 examples an epoch; what training saw is kept in the network's state, from each step's gradient once."""
    comparison = training.compare(
        mean_task(test=EXAMPLES, eval_batch_size=4), {"pal": "pal"}, steps=8, seeds=3, evaluations=2
    )
    sums = [[row["seen"] for row in rows(record)] for record in comparison.records]
    dropped = np.array([210 - b + a for one in sums for a, b in itertools.pairwise(one)])
    assert np.abs(dropped - dropped.round()).max() < 1e-3
    assert 0 <= dropped.min() < dropped.max() <= 20
    # the mean over batches of 4, 4, 4, 4, 4 and 1 examples
    want = np.mean(EXAMPLES["x"] ** 2)
    assert rows(comparison.records[0])[0]["loss"] == pytest.approx(want, rel=1e-6)


def test_settings_are_chosen_on_examples_that_tuning_does_not_train_on():
    given = {"sgd": (optax.sgd, {"learning_rate": [0.0, 0.1]})}
    comparison = training.compare(mean_task(test=EXAMPLES), given, steps=4, seeds=1, evaluations=1)
    tried = [r for r in comparison.records if r.start["phase"] == "tune"]
    order = np.random.default_rng(0).permutation(21)
    held_out = order[: round(HELD_OUT * 21)]
    assert rows(tried[0])[0]["loss"] == pytest.approx(np.mean(EXAMPLES["x"][held_out] ** 2), rel=1e-6)
    assert rows(tried[0])[0]["split"] == "validation"
    assert comparison.final("sgd")[0].start["spec"]["method_args"] == {"learning_rate": 0.1}


def test_together_and_stepped_one_by_one_are_equal(monkeypatch):
    given = {"sgd": (optax.sgd, {"learning_rate": 0.01}), "pal": "pal"}
    task = mean_task(test=EXAMPLES)
    together = training.compare(task, given, steps=6, seeds=2, evaluations=3)
    monkeypatch.setattr(members, "_looped", lambda one, spent, *rest: members._stepped(one, spent))
    stepped = training.compare(task, given, steps=6, seeds=2, evaluations=3)
    for a, b in zip(together.records, stepped.records, strict=True):
        np.testing.assert_allclose([r["loss"] for r in rows(a)], [r["loss"] for r in rows(b)], rtol=1e-6)


# --- Folders and the command line ------------------------------------------------------------------------------------


def test_a_folder_goes_on_where_it_was_stopped_and_refuses_another_task(tmp_path):
    given = {"sgd": optax.sgd(0.1), "slow": optax.sgd(0.01)}
    first = training.compare(BOWL, given, steps=4, seeds=2, evaluations=2, folder=tmp_path)
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) == 4
    before = {path: path.read_text() for path in files}
    lines = before[files[0]].splitlines(keepends=True)
    files[0].write_text("".join(lines[:-1]))  # killed before its end
    messages = []
    again = training.compare(
        BOWL,
        given,
        steps=4,
        seeds=2,
        evaluations=2,
        folder=tmp_path,
        progress=lambda what, share: messages.append(what),
    )
    assert str(again.table()).replace(" ", "")[:60] == str(first.table()).replace(" ", "")[:60]
    assert all(path.read_text() == before[path] for path in files[1:])
    assert json.loads(files[0].read_text().splitlines()[-1])["status"] == "done"
    steeper = from_loss(lambda p: 2 * bowl(p), lambda key: jnp.ones(2), name="bowl", precision="float64")
    with pytest.raises(ValueError, match="Pass another folder"):
        training.compare(steeper, given, steps=4, seeds=2, evaluations=2, folder=tmp_path)
    with pytest.raises(ValueError, match="Pass another folder"):
        training.compare(BOWL, {"sgd": optax.sgd(0.2)}, steps=4, seeds=2, evaluations=2, folder=tmp_path)


def test_the_command_compares_a_task_of_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import jax.numpy as jnp\nfrom optaxaccel.tasks import from_loss\n\n\n"
        "def make_task():\n    return from_loss(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), steps=4)\n"
    )
    words = ["compare", "--task", "mine.py:make_task", "--methods", "optax.sgd", "pal(measuring_step_size=0.5)"]
    assert cli.run([*words, "--tune", "learning_rate=0.1,0.5", "--seeds", "2"]) == 0
    out = capsys.readouterr().out
    assert "learning_rate=0.5" in out
    assert (tmp_path / "runs" / "compare-mine" / "figure.png").stat().st_size > 1000
    assert cli.run(words) == 2  # the folder is there
    assert "--resume" in capsys.readouterr().err
    assert (
        cli.run(["compare", "--task", "rosenbrock", "--methods", "pal", "--tune", "learning_rate=1,2", "--out", "o"])
        == 2
    )
    assert "No method has an argument 'learning_rate'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": {}}, "no methods"),
        ({"methods": [optax.sgd(0.1)]}, "has no label"),
        ({"methods": {"x": 3}}, "is no method"),
        ({"methods": {"x": optax.adam}}, "needs learning_rate"),
        ({"methods": {"x": (optax.adam, {"rate": 1.0})}}, "Unknown argument"),
        ({"methods": ["pla"]}, "Did you mean 'pal'"),
        ({"methods": ["pal(measuring_step_size=0.1"]}, "is not a list of arguments"),
        ({"methods": ["pal(0.1)"]}, "is not a list of arguments"),
        ({"methods": {"x": lambda: 3}}, "no optax transformation"),
        ({"steps": 3, "calls": 3}, "both given"),
        ({"steps": 0}, "no budget"),
        ({"steps": 10**10}, "no budget"),
        ({"seconds": math.inf}, "no budget"),
        ({"seeds": 0}, "seeds=0"),
        ({"seeds": (1, 1)}, "stands twice"),
        ({"params": jnp.ones(2)}, "for a plain loss"),
        ({"task": bowl}, "needs a start"),
        ({"tune": {"momentum": ()}}, "holds no values"),
        ({"seeds": None}, "seeds=None"),
        ({"steps": np.float32(3)}, "no budget"),
        ({"task": BOWL.replace(batch_size=8.0)}, "batch_size=8.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, said):
    arguments = {"task": BOWL, "methods": ["pal"], **changes}
    with pytest.raises(ValueError, match=said):
        training.compare(arguments.pop("task"), arguments.pop("methods"), **arguments)


def test_numbers_of_numpy_are_numbers(tmp_path):
    """So are those that a generator makes."""
    two, task = np.int64(2), BOWL.replace(eval_batch_size=np.int64(8), steps=np.int32(3))
    methods = {"sgd": (optax.sgd, {"learning_rate": np.float32(0.25)})}
    asked = {"seeds": two, "tune_seeds": two, "evaluations": two}
    outcome = training.compare(task, methods, steps=two, **asked)
    assert [record.rows[-1]["step"] for record in outcome.records] == [2, 2]
    assert outcome.records[0].start["spec"]["method_args"] == {"learning_rate": 0.25}
    draws = from_loss(lambda x, b: jnp.mean((x - b) ** 2), jnp.zeros(()), train=np.arange(8.0), batch_size=np.int64(2))
    kept = training.compare(draws.replace(steps=jnp.int32(2)), methods, seeds=1, folder=tmp_path)
    assert (kept.records[0].rows[-1]["step"], draws.batch_size.__class__) == (2, int)
    tune = {"learning_rate": (rate for rate in np.array([0.25, 0.5], np.float32))}
    tuned = training.compare(task, {"sgd": optax.sgd}, tune=tune, seeds=(np.uint8(3),))
    assert {r.start["spec"]["method_args"]["learning_rate"] for r in tuned.records} == {0.25, 0.5}
