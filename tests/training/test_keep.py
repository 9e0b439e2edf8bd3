"""What a stopped run loses: nothing."""

import gc
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from training import kept
from training.kept import RUN, Stopping, rows, train

from optaxaccel import METHODS
from optaxaccel.training.keeping import interrupt
from optaxaccel.training.run.spec import Run

# Where reading or writing fails, orbax leaves event loops behind, of which the interpreter complains later: do it here.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True, scope="module")
def leave_nothing_to_complain_of():
    yield
    gc.collect()


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def stopped_and_resumed(run, folder, step=5, **options):
    outcome = train(run, folder, progress=Stopping(step, terminate), **options)
    assert outcome.status == "stopped"
    assert outcome.signal == signal.SIGTERM
    assert outcome.step < run.steps
    assert rows(folder)[-1]["kind"] != "end"
    return train(run, folder, resume=True)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_goes_on_as_if_it_had_not_been_stopped(tmp_path, name):
    arguments = {k: v for k, v in METHODS[name].example.items()}
    run = RUN.replace(method=name, method_args=arguments, extrapolate={})
    whole = train(run, tmp_path / "whole")
    resumed = stopped_and_resumed(run, tmp_path / "parts")
    assert whole.status == resumed.status == "done"
    kept.assert_equal_states(whole.state, resumed.state)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")


@pytest.mark.parametrize("options", [{"parallel": "jit"}, {"parallel": "pmap"}, {"seed": 3, "augment": "translate"}])
def test_every_layout_goes_on_as_if_it_had_not_been_stopped(tmp_path, options):
    devices = 4 if "parallel" in options else 1
    run = RUN.replace(**options)
    whole = train(run, tmp_path / "whole", devices=devices)
    train(run, tmp_path / "parts", progress=Stopping(5, terminate), devices=devices)
    resumed = train(run, tmp_path / "parts", resume=True, devices=devices)
    kept.assert_equal_states(whole.state, resumed.state)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")


@pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 4)])
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, before, after):
    train(RUN, tmp_path / "parts", progress=Stopping(5, terminate), devices=before)
    resumed = train(RUN, tmp_path / "parts", resume=True, devices=after)
    whole = train(RUN, tmp_path / "whole", devices=before)
    assert resumed.status == "done"
    assert resumed.last["loss"] == pytest.approx(whole.last["loss"], rel=1e-4)


def test_keeping_and_looking_change_nothing(tmp_path):
    """Neither checkpoints nor the extrapolation beside training may move it."""
    kept_run = train(RUN, tmp_path / "a")
    bare = train(RUN.replace(extrapolate={}), tmp_path / "b", seconds=1e9)
    kept.assert_equal_states(kept_run.state, bare.state)
    assert [row for row in rows(tmp_path / "a") if row["kind"] == "eval"] == [
        row for row in rows(tmp_path / "b") if row["kind"] == "eval"
    ]


def newest(folder):
    return folder / "checkpoints" / "last" / str(kept.last(RUN, folder)[0])


def truncate(folder):
    largest = max((p for p in newest(folder).rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def flip_bits(folder):
    for path in (newest(folder) / "tree").rglob("*"):
        if path.is_file() and "d" in path.parent.name:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 0x10
            path.write_bytes(bytes(data))


def empty(folder):
    for path in newest(folder).rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def make_unreadable(folder):
    """Make the system refuse to open its files; permissions would not stop root."""
    for path in newest(folder).rglob("*"):
        if path.is_file():
            path.unlink()
            path.symlink_to(path)


def exchange_arrays(folder):
    """Make a checkpoint that reads without an error, with a memory that belongs to other arrays."""
    memory = newest(folder) / "memory" / "metadata"
    text = json.loads(memory.read_text())
    memory.write_text(json.dumps({**text, "checksum": text["checksum"] ^ 1}))


@pytest.mark.parametrize("damage", [truncate, flip_bits, empty, make_unreadable, exchange_arrays])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog, damage):
    whole = train(RUN, tmp_path / "whole")
    train(RUN, tmp_path / "parts", progress=Stopping(9, terminate))
    damage(tmp_path / "parts")
    with caplog.at_level("WARNING"):
        resumed = train(RUN, tmp_path / "parts", resume=True)
    assert "passed over" in caplog.text
    kept.assert_equal_states(whole.state, resumed.state)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")


def test_orbax_alone_would_not_see_a_flipped_bit(tmp_path):
    """What our sum over all bits is for: where this fails, it may go."""
    array = jax.numpy.arange(4096.0)
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(0, args=ocp.args.StandardSave({"w": array}))
    largest = max((p for p in tmp_path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 0x10
    largest.write_bytes(data)
    with ocp.CheckpointManager(tmp_path) as manager:
        read = manager.restore(0, args=ocp.args.StandardRestore({"w": array}))
    assert read["w"].shape == array.shape
    assert not np.array_equal(read["w"], array)


def test_without_a_whole_checkpoint_the_run_is_refused(tmp_path):
    train(RUN, tmp_path, progress=Stopping(9, terminate))
    for path in (tmp_path / "checkpoints" / "last").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match="can be read"):
        train(RUN, tmp_path, resume=True)


def test_checkpoints_of_another_specification_are_refused(tmp_path):
    train(RUN, tmp_path, progress=Stopping(5, terminate))
    with pytest.raises(ValueError, match="seed: 0 there, 1 asked"):
        train(RUN.replace(seed=1), tmp_path, resume=True)


def test_a_record_that_lost_rows_is_refused(tmp_path):
    train(RUN, tmp_path, progress=Stopping(9, terminate))
    record = tmp_path / "record.jsonl"
    record.write_text(record.read_text()[:-20])
    with pytest.raises(ValueError, match="lost rows"):
        train(RUN, tmp_path, resume=True)


def test_the_best_checkpoint_is_that_of_the_best_evaluation(tmp_path):
    run = RUN.replace(steps=25)
    train(run, tmp_path)
    evaluations = [row for row in rows(tmp_path) if row["kind"] == "eval" and row["step"]]
    best = max(evaluations, key=lambda row: row["accuracy"])
    assert [int(p.name) for p in (tmp_path / "checkpoints" / "best").iterdir()] == [best["step"]]


def test_a_clock_that_is_set_back_does_not_matter(tmp_path, monkeypatch):
    whole = train(RUN, tmp_path / "whole")
    now = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    resumed = stopped_and_resumed(RUN, tmp_path / "parts")
    kept.assert_equal_states(whole.state, resumed.state)


def test_a_folder_has_one_owner_and_a_dead_one_owns_nothing(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from optaxaccel.training.keeping import interrupt\n"
        "with interrupt.locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(FileExistsError, match=f"process {other.pid}"):
        train(RUN, tmp_path)
    other.kill()
    other.wait()
    other.stdout.close()
    with interrupt.locked(tmp_path):
        pass
    with interrupt.locked(tmp_path):
        pass


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be made here: mount is not allowed")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_run_and_leaves_the_last_good_checkpoint(tmp_path, small_disk):
    folder = small_disk / "run"

    def fill():
        with (small_disk / "junk").open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()

    def almost_fill():
        with pytest.raises(OSError, match="No space"):
            fill()

    with pytest.raises(OSError, match=r"No space left.*") as caught:
        train(RUN, folder, progress=Stopping(7, almost_fill))
    assert caught.value.filename
    (small_disk / "junk").unlink()
    whole = train(RUN, tmp_path / "whole")
    resumed = train(RUN, folder, resume=True)
    kept.assert_equal_states(whole.state, resumed.state)
    assert rows(tmp_path / "whole") == rows(folder)


def test_signals_before_the_first_step_leave_at_once():
    signals = interrupt.Signals()
    with pytest.raises(SystemExit) as caught:
        signals(signal.SIGINT, None)
    assert caught.value.code == 130
    signals.between_steps = True
    signals(signal.SIGTERM, None)
    assert signals.received == signal.SIGTERM
    with pytest.raises(SystemExit):  # the second one does not wait
        signals(signal.SIGTERM, None)


def test_the_process_listens_to_signals_only_while_it_trains(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    train(RUN, tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_memory_of_the_checkpoint_is_json(tmp_path):
    train(RUN, tmp_path, progress=Stopping(5, terminate))
    memory = json.loads((newest(tmp_path) / "memory" / "metadata").read_text())
    assert Run(**memory["spec"]) == RUN or memory["spec"] == RUN.as_dict()
    assert memory["offset"] == (tmp_path / "record.jsonl").stat().st_size
    assert len(memory["pending"]) < 3


def test_devices_are_four():
    assert jax.device_count() == 4
