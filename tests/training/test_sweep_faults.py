"""Many runs where something fails: what ended is told, the rest goes on, no record is without a row."""

import errno
import logging

import pytest
from training.swept import SGD, alone, assert_equal_but_for_rounding, train

from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.many import sweep, together


def test_finished_records_stay_and_what_failed_is_recorded_and_tried_again(tmp_path, monkeypatch, caplog):
    runs = sweep.grid(SGD, seeds=(1, 2, 3))
    whole = loop.train

    def fail_at_two(run, path, **options):
        if run.seed == 2:
            raise RuntimeError("the machine is on fire")
        return whole(run, path, **options)

    monkeypatch.setattr(loop, "train", fail_at_two)
    with caplog.at_level(logging.WARNING):
        statuses, paths = train(runs, tmp_path, vectorize=False)
    assert statuses == ["done", "failed", "done"]
    assert "on fire" in caplog.text
    failed = records.read(paths[1])
    assert (failed.status, failed.end["what"]) == ("failed", "RuntimeError: the machine is on fire")
    monkeypatch.setattr(loop, "train", whole)
    lines = paths[2].read_text().splitlines(keepends=True)
    paths[2].write_text("".join(lines[:-2]) + lines[-2][:20])  # as a killed process leaves it
    kept, messages = paths[0].read_bytes(), []
    statuses, _ = train(runs, tmp_path, progress=lambda *e: messages.append(e))
    assert statuses == ["done"] * 3
    assert paths[0].read_bytes() == kept
    assert sorted(messages) == [(0, "finished before"), (1, "done"), (2, "done")]
    for run, path in zip(runs[1:], paths[1:], strict=True):
        assert_equal_but_for_rounding(records.read(path), alone(run, tmp_path))
    with pytest.raises(ValueError, match="another run"):
        sweep.train_many([runs[0]], [paths[1]])


def test_a_group_that_cannot_be_trained_together_is_trained_one_by_one(tmp_path, monkeypatch, caplog):
    def out_of_memory(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED")

    monkeypatch.setattr(together.Group, "train", out_of_memory)
    with caplog.at_level(logging.WARNING):
        statuses, paths = train(sweep.grid(SGD, seeds=(1, 2)), tmp_path)
    assert statuses == ["done", "done"]
    assert "RESOURCE_EXHAUSTED" in caplog.text
    assert "members" not in records.read(paths[0]).start


def test_what_ended_before_its_group_failed_is_told(tmp_path, monkeypatch):
    taken, take = [], together.Member.take

    def once(self, metrics, seconds):
        taken.append(self)
        if len(taken) == 2:
            raise OSError(errno.EIO, "passing")
        take(self, metrics, seconds)

    monkeypatch.setattr(together.Member, "take", once)
    runs = sweep.grid(SGD, method_args={"learning_rate": (1e38, 0.1, 0.2)})
    messages = []
    statuses, _ = train(runs, tmp_path, progress=lambda *event: messages.append(event))
    assert statuses == ["diverged", "done", "done"]
    assert sorted(messages) == [(0, "diverged"), (1, "done"), (2, "done")]


def test_an_error_of_the_progress_is_the_callers(tmp_path):
    def fail(index, status):
        raise ValueError("my plot failed")

    runs = sweep.grid(SGD, seeds=(1, 2))
    with pytest.raises(ValueError, match="my plot failed"):
        train(runs, tmp_path, progress=fail)
    assert [record.status for record in records.read_all(tmp_path)] == ["done", "done"]


def test_no_record_is_without_a_row_while_a_group_compiles(tmp_path, monkeypatch):
    class Stop(BaseException):
        pass

    def stop(*_):
        raise Stop

    monkeypatch.setattr(together, "_Training", stop)
    done = tmp_path / "done.jsonl"
    loop.train(SGD, done)
    (tmp_path / "killed.jsonl").write_text('{"kind": "st')  # by a kill at its first row
    with pytest.raises(Stop):
        train(sweep.grid(SGD, seeds=(1, 2)), tmp_path)
    assert [record.path for record in records.read_all(tmp_path)] == [done]
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_a_full_disk_ends_the_sweep(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(loop, "train", full)
    with pytest.raises(OSError, match="No space left"):
        train(sweep.grid(SGD, seeds=(1, 2)), tmp_path, vectorize=False)
