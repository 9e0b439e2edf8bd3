"""A record is its run's own, whatever the process did before: alone, among others, after others, resumed."""

import os
import random
import signal

import numpy as np
import pytest
from training import kept

from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.keeping.keep import Keep
from optaxaccel.training.many import sweep
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import remember

RUN = Run(
    method="optax.sgd",
    method_args={"learning_rate": 0.1},
    model_args={"hidden": (4,)},
    train_split="train[:400]",
    test_split="test[:100]",
    batch_size=128,
    steps=7,
    log_every=2,
    eval_every=0.4,
)
COSINE = {"learning_rate": {"name": "cosine_decay_schedule", "decay_steps": 9}}
CHANGES = {  # other values of every field that may change what is computed
    "method": ({"method": "pal", "method_args": {}}, {"method": "optax.adam", "method_args": {"learning_rate": 0.01}}),
    "method_args": ({"method_args": {"learning_rate": 0.3}}, {"method_args": {"learning_rate": 0.1, "momentum": 0.9}}),
    "schedule": ({"schedule": COSINE},),
    "model": ({"model": "deep_linear", "model_args": {"hidden": (4,)}},),
    "model_args": ({"model_args": {"hidden": (5,)}},),
    "data": ({"data": "a"}, {"data": "b"}),
    "train_split": ({"train_split": "train[100:500]"}, {"train_split": "train[:300]"}),
    "test_split": ({"test_split": "test[100:]"},),
    "validation": ({"validation": 0.2}, {"validation": 0.3}),
    "batch_size": ({"batch_size": 64},),
    "steps": ({"steps": 5}, {"steps": None, "epochs": 2}),
    "normalise": ({"normalise": "pixel"}, {"normalise": "half"}),
    "augment": ({"augment": "translate"}, {"augment": "flip"}),
    "weight_decay": ({"weight_decay": 0.1}, {"weight_decay": 0.01}),
    "decay": ({"weight_decay": 0.1, "decay": "decoupled"},),
    "precision": ({"precision": "bfloat16"},),
    "micro_batches": ({"micro_batches": 2},),
    "remat": ({"remat": True},),
    "parallel": ({"parallel": "pmap"},),
    "on_fault": ({"on_fault": "skip"},),
    "extrapolate": ({"extrapolate": {"K": 2, "every": 2}},),
    "eval_every": ({"eval_every": 0.1}, {"eval_every": 0.7}),
    "log_every": ({"log_every": 3},),
}
UNSEEN = {"seed", "epochs", "seconds", "image_size", "crop", "flip", "max_skips", "data_dir"}  # seeds: everywhere


def test_every_field_of_a_run_is_changed():
    assert set(CHANGES) | UNSEEN == set(RUN.as_dict())


@pytest.fixture
def sets(tmp_path):
    """Two sets of images of one shape and number, written to files."""
    drawn, paths = np.random.default_rng(0), {}
    for name, scale in (("a", 255), ("b", 90)):
        paths[name] = str(tmp_path / f"{name}.npz")
        parts = {}
        for part, count in (("train", 500), ("test", 120)):
            parts[f"x_{part}"] = drawn.integers(0, scale, (count, 8, 8), np.uint8)
            parts[f"y_{part}"] = drawn.integers(0, 10, count)
        np.savez(paths[name], **parts)
    return paths


def varied(sets, *changes):
    """Return RUN with changes, or None where they exclude each other."""
    together = {name: value for change in changes for name, value in change.items()}
    if "data" in together:
        together["data"] = sets[together["data"]]
    try:
        run = RUN.replace(**together)
        loop.check(run)
    except ValueError:
        return None
    return run


def one_change(sets):
    """Return RUN and all that differ from it in one field."""
    return [RUN, *(varied(sets, change) for changes in CHANGES.values() for change in changes)]


def drawn_runs(sets, seed, count):
    """Return runs that differ from RUN, and from each other, in two or three fields."""
    draw, runs = random.Random(seed), []
    while len(runs) < count:
        fields = draw.sample(sorted(CHANGES), draw.choice((2, 3)))
        run = varied(sets, *(draw.choice(CHANGES[field]) for field in fields))
        runs += [run] * (run is not None and run not in runs)
    return runs


def rows(path):
    record = records.read(path)
    return [{k: v for k, v in row.items() if k not in records.TIMED} for row in [*record.rows, record.end]]


def assert_same(written, wanted, about, rel):
    assert [row.keys() for row in written] == [row.keys() for row in wanted], about
    for a, b in zip(written, wanted, strict=True):
        for name in a:
            same = pytest.approx(b[name], rel=rel, abs=0) if rel and isinstance(b[name], float) else b[name]
            assert a[name] == same, (name, a["step"], about)


def changed(run):
    usual = RUN.as_dict()
    return {name: value for name, value in run.as_dict().items() if value != usual[name]}


def wrong_ones(by_seed, truth, runs):
    """Return which of the runs did not leave their record."""
    wrong = []
    for run, path in zip(runs, by_seed, strict=True):
        shared = records.read(path).start.get("members", 1) > 1
        try:
            assert_same(rows(path), truth[run.digest()], changed(run), 1e-6 if shared else 0)
        except AssertionError as error:
            wrong.append(str(error).splitlines()[0])
    return wrong


@pytest.fixture
def long_memory(monkeypatch):
    """Let nothing be forgotten, so that whatever can be mixed up is."""
    monkeypatch.setattr(remember, "MOST", 10**6)
    monkeypatch.setattr(remember, "_RESULTS", {})


def alone(runs, folder):
    """Return the records of runs each of which is the first of its process, as it were."""
    truth = {}
    for run in runs:
        remember.forget()
        loop.train(run, folder / "alone.jsonl", devices=1 if run.parallel == "jit" else None)
        truth[run.digest()] = rows(folder / "alone.jsonl")
    remember.forget()
    return truth


def test_records_do_not_depend_on_what_was_trained_before_or_beside(sets, tmp_path, long_memory):
    first = [*one_change(sets), *drawn_runs(sets, 0, 5)]
    truth = alone(first, tmp_path)
    runs = [*first, *(run.replace(seed=1) for run in first if not sweep.why_not(run))]
    random.Random(1).shuffle(runs)
    paths = [tmp_path / "sweep" / f"{run.digest()}.jsonl" for run in runs]
    assert set(sweep.train_many(runs, paths)) == {"done"}
    paths = {run.digest(): path for run, path in zip(runs, paths, strict=True)}
    assert wrong_ones([paths[run.digest()] for run in first], truth, first) == []
    assert sum(records.read(path).start.get("members", 1) > 1 for path in paths.values()) > len(runs) // 2

    some = first[::3]
    after = [tmp_path / "after" / f"{place}.jsonl" for place in range(len(some))]  # one by one, after all of them
    sweep.train_many(some, after, vectorize=False)
    assert wrong_ones(after, truth, some) == []


def test_records_do_not_depend_on_what_was_trained_while_they_were_stopped(sets, tmp_path, long_memory):
    chosen = [run for run in drawn_runs(sets, 2, 6) if run.parallel == "jit"][:3]
    truth = alone(chosen, tmp_path)
    paths = [tmp_path / f"{place}" / "record.jsonl" for place in range(len(chosen))]

    def go(run, path, **options):
        return loop.train(
            run, path, devices=1, keep=Keep(path.parent, seconds=0.0, **options.pop("keep", {})), **options
        )

    for run, path in zip(chosen, paths, strict=True):
        stop = kept.Stopping(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert go(run, path, progress=stop).status == "stopped"
    for run, path in zip(reversed(chosen), reversed(paths), strict=True):
        assert go(run, path, keep={"resume": True}).status == "done"
    assert wrong_ones(paths, truth, chosen) == []


def test_a_file_that_was_written_again_is_read_again(sets, tmp_path, long_memory):
    run = RUN.replace(data=sets["b"], normalise="pixel")
    wanted = alone([run], tmp_path)[run.digest()]
    os.rename(sets["b"], tmp_path / "b")
    os.rename(sets["a"], sets["b"])
    loop.train(run, tmp_path / "other.jsonl", devices=1)
    os.replace(tmp_path / "b", sets["b"])
    loop.train(run, tmp_path / "again.jsonl", devices=1)
    assert rows(tmp_path / "other.jsonl") != wanted
    assert rows(tmp_path / "again.jsonl") == wanted


def test_a_program_knows_only_what_its_key_holds():
    number = 3
    with pytest.raises(TypeError, match="closes over number"):
        remember.remembered(lambda x: x + number, 1)
    assert remember.contents({"a": np.float32(1)}) != remember.contents({"a": np.float64(1)})
    assert remember.contents((1, [2.0])) == remember.contents((1, [2.0])) != remember.contents((1, [2]))
