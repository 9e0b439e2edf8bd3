"""A sweep on several workers: the records of one, whatever becomes of a worker."""

import contextlib
import json
import os
import signal
import sys
import time

import pytest

from optaxaccel.training.keeping import records
from optaxaccel.training.many import executors, sweep
from optaxaccel.training.run.spec import Run

RUN = Run(method="optax.sgd", method_args={"learning_rate": 0.1}, model_args={"hidden": (8,)}, batch_size=256, steps=3)
RUNS = sweep.grid(RUN, seeds=(0, 1), method_args={"learning_rate": (0.1, 0.2)})


class Workers:
    """Workers in this process; the first part loses its worker after one run, `losses` times."""

    def __init__(self, losses):
        self.losses, self.parts, self.closed = losses, [], False

    def start(self, parts):
        self.parts += parts
        return list(range(len(self.parts) - len(parts), len(self.parts)))

    def ended(self, handles):
        return handles[0]

    def result(self, handle):
        part = self.parts[handle]
        if self.losses and part.runs[0] == RUNS[0]:
            self.losses -= 1
            executors.train(part._replace(runs=part.runs[:1], paths=part.paths[:1], labels=part.labels[:1]))
            raise executors.Lost("killed")
        return executors.train(part)

    def close(self):
        self.closed = True


def rows_of(path):
    untimed = set(records.TIMED) | {"members", "devices", "commit", "dirty"}
    return [{k: v for k, v in json.loads(line).items() if k not in untimed} for line in path.read_text().splitlines()]


def paths_in(folder):
    return [folder / f"{run.digest()}.jsonl" for run in RUNS]


def test_records_are_those_of_one_machine_and_what_was_finished_is_not_trained_again(tmp_path):
    said, place = [], Workers(losses=1)
    options = {"vectorize": False, "progress": lambda index, status: said.append((index, status))}
    assert executors.train_many(place, RUNS, paths_in(tmp_path / "a"), workers=2, **options) == ["done"] * 4
    assert [len(part.runs) for part in place.parts] == [1, 1, 1, 1, 1], "each run alone, and the lost one again"
    assert place.closed
    assert sorted(said) == [(k, "done") for k in range(4)]
    sweep.train_many(RUNS, paths_in(tmp_path / "b"), vectorize=False)
    for one, other in zip(paths_in(tmp_path / "a"), paths_in(tmp_path / "b"), strict=True):
        assert rows_of(one) == rows_of(other)
    again = Workers(losses=0)
    assert executors.train_many(again, RUNS, paths_in(tmp_path / "a")) == ["done"] * 4
    assert not again.parts


def test_runs_that_share_a_program_are_cut_over_the_workers_and_go_on_where_one_was_lost(tmp_path):
    place = Workers(losses=1)
    paths = paths_in(tmp_path)
    assert executors.train_many(place, RUNS, paths, workers=2) == ["done"] * 4
    assert [len(part.runs) for part in place.parts] == [2, 2, 2]


def test_a_worker_that_is_always_lost_makes_its_unfinished_runs_fail(tmp_path):
    place = Workers(losses=9)
    statuses = executors.train_many(place, RUNS, paths_in(tmp_path), workers=2)
    assert statuses == ["done", "failed", "done", "done"], "the first run was finished before its worker was lost"
    assert len(place.parts) == 2 + executors.TRIES - 1
    assert "lost 3 times: killed" in paths_in(tmp_path)[1].read_text()


def test_what_cannot_be_meant_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="Did you mean 'slurm'"):
        executors.train_many("slurmm", RUNS, paths_in(tmp_path))
    with pytest.raises(ValueError, match="workers=0"):
        executors.train_many("ray", RUNS, paths_in(tmp_path), workers=0)
    for package, name, extra in (("ray", "ray", "ray"), ("submitit", "local", "slurm")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"optaxaccel\[{extra}\]"):
            executors.train_many(name, RUNS, paths_in(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray forks beside JAX
@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("local", "submitit")])
def test_a_real_worker_that_is_killed_is_made_good(tmp_path, monkeypatch, name, package):
    pytest.importorskip(package, reason=f"{package} is optional")

    def dies_once(part):  # a closure, which is sent to the workers as it is; there `executors.train` is the real one
        part.paths[0].parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (part.paths[0].parent / "killed").touch(exist_ok=False)  # for one of all workers
            os.kill(os.getpid(), signal.SIGKILL)
        return executors.train(part)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(executors, "train", dies_once)
    monkeypatch.setattr(executors, "POLL", 0.1)
    started = time.monotonic()
    statuses = executors.train_many(name, RUNS, paths_in(tmp_path / "runs"), workers=2)
    assert (tmp_path / "runs" / "killed").exists()
    assert statuses == ["done"] * 4
    assert time.monotonic() - started < 600
