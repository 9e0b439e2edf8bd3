"""Many runs: grids, and runs trained together that must come out as if each had been alone."""

import json
import logging
import os
import time
import warnings

import jax
import numpy as np
import pytest
from training.swept import RUN, SGD, alone, assert_equal_but_for_rounding, train

from optaxaccel import cli
from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.many import sweep, together
from optaxaccel.training.run.spec import Run


@pytest.fixture(params=["one at a time", "mapped"])
def either_way(request, monkeypatch):
    """Train members as a CPU does, and as an accelerator does."""
    monkeypatch.setattr(together, "_one_at_a_time", lambda: request.param == "one at a time")


def test_a_grid_is_the_product_and_its_axes_are_checked():
    schedules = [{"name": "cosine_decay_schedule", "decay_steps": n} for n in (5, 9)]
    runs = sweep.grid(RUN, seeds=(3, 4, 5), schedule={"learning_rate": schedules}, weight_decay=(0.0, 0.1))
    assert len({run.digest() for run in runs}) == 12
    assert [run.seed for run in runs[:4]] == [3, 4, 5, 3]
    assert sweep.grid(RUN) == [RUN]
    with pytest.raises(ValueError, match="Did you mean 'batch_size'"):
        sweep.grid(RUN, batchsize=(1, 2))
    with pytest.raises(ValueError, match=r"method_args=.* names no entries"):
        sweep.grid(RUN, method_args=(0.1, 0.2))
    with pytest.raises(ValueError, match="momentum has no values"):
        sweep.grid(RUN, method_args={"momentum": ()})


def test_runs_trained_together_leave_the_records_of_separate_ones(tmp_path, either_way):
    pal = RUN.replace(method="pal", method_args={"measuring_step_size": 1.0}, log_every=2, eval_every=0.7)
    decay = [{"name": "pal_decay_schedule", "rate": r, "transition_steps": 5} for r in (0.5, 0.9)]
    runs = sweep.grid(pal, seeds=(0, 7), schedule={"measuring_step_size": decay})
    runs += sweep.grid(SGD, seeds=(0,), method_args={"learning_rate": (0.1, 0.2, 0.3)})
    messages = []
    statuses, paths = train(
        runs, tmp_path, labels=list("abcdefg"), phase="tune", progress=lambda *e: messages.append(e)
    )
    assert statuses == ["done"] * 7
    assert sorted(messages) == [(i, "done") for i in range(7)]
    for run, path, label in zip(runs, paths, "abcdefg", strict=True):
        record = records.read(path)
        assert_equal_but_for_rounding(record, alone(run, tmp_path))
        assert record.start["spec"] == run.as_dict()
        assert (record.start["label"], record.start["phase"]) == (label, "tune")
        assert record.start["members"] in (1, 3, 4)
    assert len({records.read(path).rows[-1]["loss"] for path in paths}) == 7


def test_several_members_a_device_are_as_many_alone(tmp_path, either_way):
    runs = sweep.grid(SGD.replace(steps=3), seeds=range(2 * jax.device_count() + 1))
    statuses, paths = train(runs, tmp_path)
    assert statuses == ["done"] * len(runs)
    for run, path in ((runs[i], paths[i]) for i in (0, len(runs) // 2, -1)):
        record = records.read(path)
        assert record.start["members"] == len(runs)
        assert_equal_but_for_rounding(record, alone(run, tmp_path))
    assert len({records.read(path).rows[-1]["loss"] for path in paths}) == len(runs)


def test_what_a_call_needs_again_is_not_donated(tmp_path, either_way, monkeypatch):
    first = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: first)  # for several, what is donated in vain is not told
    runs = sweep.grid(RUN.replace(steps=2), seeds=(1, 2), weight_decay=(0.0625, 0.125))
    jobs = [together.Job(i, run, tmp_path / f"{i}.jsonl", "", "final") for i, run in enumerate(runs)]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Some donated buffers were not usable")
        assert together.Group(runs[0], len(runs)).train(jobs) == ["done"] * 4


def test_each_of_them_counts_its_own_searches(tmp_path, either_way):
    gose = RUN.replace(method="gose_sgd", method_args={"learning_rate": 0.1, "check_every": 5})
    runs = sweep.grid(gose, method_args={"gradient_threshold": (0.0, 1e9)})
    _, paths = train(runs, tmp_path)
    ends = [records.read(path) for path in paths]
    assert [(record.start["members"], record.end["searches"]) for record in ends] == [(2, 0), (2, 3)]
    assert ends[0].end["jumps"] == 0


@pytest.mark.parametrize(
    ("count", "devices", "steps", "size", "on_cpu", "on_accelerators"),
    [
        (16, 2, 264, 10**5, 8, 8),
        (5, 2, 264, 10**5, 3, 3),
        (65, 2, 264, 10**5, 17, 17),
        (16, 1, 264, 10**5, 16, 16),
        (100, 8, 0, 0, 7, 7),
        (16, 2, 5_000, 10**5, 4, 8),
        (16, 2, 30_000, 10**5, 1, 8),
        (16, 2, 264, 10**8, 2, 8),
        (16, 2, 264, 10**9, 1, 8),
        (2, 200, 1, 10**5, 1, 1),
    ],
)
def test_devices_share_members_evenly_and_a_cpu_puts_few_steps_at_stake_and_little_memory(
    count, devices, steps, size, on_cpu, on_accelerators, monkeypatch
):
    for one_at_a_time, expected in ((True, on_cpu), (False, on_accelerators)):
        monkeypatch.setattr(together, "_one_at_a_time", lambda one=one_at_a_time: one)
        assert together._members_of_a_device(count, devices, steps, size) == expected


def test_one_that_diverges_is_recorded_and_the_others_are_left_alone(tmp_path, either_way):
    runs = sweep.grid(SGD, method_args={"learning_rate": (0.1, 1e30, 0.2)})
    statuses, paths = train(runs, tmp_path)
    assert statuses == ["done", "diverged", "done"]
    for run, path in zip(runs, paths, strict=True):
        assert_equal_but_for_rounding(records.read(path), alone(run, tmp_path))
    assert records.read(paths[1]).end["step"] < 13


def test_those_that_diverge_at_an_evaluation_end_as_they_would_alone(tmp_path, either_way):
    often = RUN.replace(steps=6, eval_every=0.1)
    runs = sweep.grid(often, method_args={"learning_rate": (0.1, 1e20, 1e36, 1e37, 1e38)})
    statuses, paths = train(runs, tmp_path)
    assert set(statuses) == {"done", "diverged"}
    for run, path in zip(runs, paths, strict=True):
        assert_equal_but_for_rounding(records.read(path), alone(run, tmp_path))


@pytest.mark.parametrize("changes", [{"parallel": "pmap"}, {"extrapolate": {"K": 2}}, {"seconds": 9.0}], ids=str)
def test_what_cannot_be_trained_together_is_refused_or_trained_alone(tmp_path, changes):
    runs = sweep.grid(RUN.replace(**changes), seeds=(0, 1))
    with pytest.raises(ValueError, match="vectorize=True"):
        train(runs, tmp_path, vectorize=True)
    assert not list(tmp_path.iterdir())


def test_networks_with_convolutions_are_trained_alone_on_a_cpu_with_a_word(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sweep, "_train_alone", lambda job: "done")
    runs = sweep.grid(RUN.replace(model="cnn", model_args={}), seeds=(0, 1))
    with caplog.at_level(logging.WARNING):
        assert train(runs, tmp_path, vectorize=True)[0] == ["done", "done"]
    assert "convolutions" in caplog.text


def test_bad_runs_are_refused_before_any_is_trained(tmp_path):
    runs = [SGD, SGD.replace(method_args={"learning_rte": 0.1})]
    with pytest.raises(ValueError, match="learning_rate"):
        train(runs, tmp_path)
    with pytest.raises(ValueError, match="path of its own"):
        sweep.train_many([SGD, SGD.replace(seed=1)], [tmp_path / "a", tmp_path / "a"])
    assert not list(tmp_path.iterdir())


def test_a_budget_of_seconds_ends_the_run_as_done_with_an_evaluation(tmp_path):
    run = RUN.replace(steps=10**6, seconds=0.2, eval_every=1e9)
    started = time.monotonic()
    outcome = loop.train(run, tmp_path / "a.jsonl")
    assert outcome.status == "done"
    assert time.monotonic() - started < 30
    record = records.read(tmp_path / "a.jsonl")
    assert [row["kind"] for row in record.rows[-2:]] == ["train_eval", "eval"]
    assert record.rows[-1]["step"] == record.end["step"] == outcome.step < 10**6
    assert 0.2 <= record.end["seconds"] < 2
    assert loop.train(run.replace(steps=3), tmp_path / "b.jsonl").step == 3  # whichever comes first
    with pytest.raises(ValueError, match="horizon"):
        Run(seconds=1.0, schedule={"learning_rate": "cosine_decay_schedule"})


def test_the_command_line_trains_a_grid_goes_on_with_it_and_refuses_what_is_for_one_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.train, "start_jax", lambda command: None)
    one = ["train", "--method", "optax.sgd", "--model-args", "hidden=(8,)", "--batch-size", "256", "--steps", "3"]
    many = [*one, "--grid", "learning_rate=0.1,1e30", "momentum=0.0,0.9", "--seeds", "1", "2", "--out", str(tmp_path)]
    assert cli.run(many) == 0  # diverged runs are results
    everything = records.read_all(tmp_path)
    assert len(everything) == 8
    labels = {record.start["label"] for record in everything}
    assert labels == {f"learning_rate={r} momentum={m}" for r in ("0.1", "1e+30") for m in ("0.0", "0.9")}
    assert {record.start["spec"]["seed"] for record in everything} == {1, 2}
    assert "8 runs: 4 done, 4 diverged" in capsys.readouterr().out
    assert cli.run(many) == 2
    written = [(record.path, record.path.stat().st_mtime_ns) for record in everything]
    assert cli.run([*many, "--resume"]) == 0
    assert [(path, path.stat().st_mtime_ns) for path, _ in written] == written  # nothing was trained again
    last = [line for line in capsys.readouterr().out.splitlines() if line.startswith("runs ")][-1]
    assert last.startswith("runs 8/8")
    assert last.endswith("(finished before)")
    for arguments in (["--log", "wandb"], ["--grid", "a=1", "a=2"], ["--grid", "a"], ["--grid", "momentun=1,2"]):
        assert cli.run([*one, "--seeds", "1", "--out", str(tmp_path / "other"), *arguments]) == 2
    said = capsys.readouterr().err
    for word in ("--log is for one run", "a has two axes", "'a' is no axis", "Did you mean 'momentum'"):
        assert word in said
    assert not list((tmp_path / "other").rglob("*.jsonl"))


def test_rows_are_json_numbers(tmp_path):
    _, paths = train(sweep.grid(SGD, seeds=(0, 1)), tmp_path)
    row = next(row for row in map(json.loads, paths[0].read_text().splitlines()) if row["kind"] == "train")
    assert all(isinstance(row[name], (int, float)) for name in ("loss", "accuracy", "grad_norm", "seconds"))
    assert np.isclose(row["seconds"], row["step_seconds"] * row["step"], atol=1e-3)
    assert os.path.getsize(paths[0]) > 500
