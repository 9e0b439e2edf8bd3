"""What is said of checkpoints of another precision, and of a disk that is full before there is any."""

import errno
import logging
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from optaxaccel.training.keeping.checkpoint import Checkpoints, OtherRunError
from optaxaccel.training.keeping.records import Writer
from optaxaccel.training.run.spec import Run


def test_a_run_does_not_go_on_in_another_precision(tmp_path):
    """The same key draws other dropout masks there."""
    tree = {"w": jnp.ones(3)}
    kept = Checkpoints(tmp_path, Run())
    kept.save(1, tree, {"offset": 0})
    kept.wait()
    assert kept.restore(tree).step == 1
    with jax.enable_x64(True), pytest.raises(OtherRunError, match="JAX_ENABLE_X64=0"):
        kept.restore(tree)
    kept.close()


@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_is_told_with_what_is_whole(before, tmp_path):
    kept = Checkpoints(tmp_path, Run())
    if before:
        kept.save(1, {"w": jnp.ones(3)}, {})
        kept.wait()
    with pytest.raises(OSError, match="No space left on the disk") as full, kept._writing():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert ("the checkpoint before this one is whole" in str(full.value)) is before
    kept.close()


@pytest.mark.parametrize("failed", [False, True])
def test_writers_that_a_failure_left_over_stay_silent(failed, tmp_path, monkeypatch):
    """Their futures complain through asyncio once nobody refers to them, which may be at the end of the process."""
    logger = logging.getLogger("asyncio")
    monkeypatch.setattr(logger, "filters", [])
    kept = Checkpoints(tmp_path, Run())
    if failed:
        with pytest.raises(OSError, match="No space"), kept._writing():
            raise OSError(errno.ENOSPC, "No space left on device")
    kept.close()
    complaint = logger.makeRecord("asyncio", logging.ERROR, "", 0, "Future exception was never retrieved", (), None)
    assert bool(logger.filter(complaint)) is not failed


@pytest.mark.parametrize("size", ["size=300k", "size=30m,nr_inodes=14"])
def test_a_disk_without_room_or_inodes_is_told_in_one_line(size, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("a small disk cannot be made here: mount is not allowed")
    try:
        command = [sys.executable, "-m", "optaxaccel", "train", "--model-args", "hidden=(64,)", "--steps", "30"]
        command += ["--save-seconds", "0", "--log-every", "3", "--devices", "1", "--out", str(disk / "run")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 1
    assert done.stderr.startswith("optaxaccel: No space left on")
    assert done.stderr.count("\n") == 1


def test_a_row_that_does_not_fit_names_its_file(monkeypatch):
    def full(text):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Writer(None) as writer:
        monkeypatch.setattr(writer, "_file", types.SimpleNamespace(write=full, name="record.jsonl", close=lambda: None))
        with pytest.raises(OSError, match=r"No space left on device: 'record.jsonl'"):
            writer.write("start", label="x")
