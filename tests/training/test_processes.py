"""The command line in processes of its own: signals, kills at random instants, two processes that share a run."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import compilation
import pytest

from optaxaccel.training.keeping import records

ROOT = Path(__file__).parents[2]
TRAIN = ["train", "--method", "pal", "--model-args", "hidden=(8,)", "--batch-size", "64", "--out", "out"]
CACHE = str(ROOT / ".pytest_cache" / "optaxaccel")


STARTED = []


@pytest.fixture(autouse=True)
def nothing_left_running():
    yield
    end_all()


def end_all():
    for process in STARTED:
        process.kill()
        process.wait()
    STARTED.clear()


def start(folder, *arguments, devices=1):
    command = [str(Path(sys.executable).parent / "optaxaccel"), *TRAIN, *map(str, arguments)]
    env = {**os.environ, "OPTAXACCEL_CACHE": CACHE, "XLA_FLAGS": compilation.devices(devices)}
    with (folder / f"log{len(list(folder.glob('log*')))}").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
    STARTED.append(process)
    return process


def logs(folder):
    return "\n".join(path.read_text() for path in sorted(folder.glob("log*")))


def wait_for_step(folder, step, timeout=60):
    """Wait until the record has come to a step."""
    record, end = folder / "out" / "record.jsonl", time.monotonic() + timeout
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError, ValueError):  # not there yet, or not one row
            if any(row["step"] >= step for row in records.read(record).rows):
                return
        time.sleep(0.02)
    raise TimeoutError(logs(folder))


def rows(folder):
    lines = (folder / "out" / "record.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in records.TIMED} for line in lines]


def checksum(folder):
    """Return the sum over all bits of the newest checkpoint."""
    newest = max((folder / "out" / "checkpoints" / "last").iterdir(), key=lambda path: int(path.name))
    return int(newest.name), json.loads((newest / "memory" / "metadata").read_text())["checksum"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder, "--steps", 400)
    assert process.wait(60) == 0, logs(folder)
    return folder


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_has_its_own_status(tmp_path, whole, number, status):
    process = start(tmp_path, "--steps", 400, "--save-seconds", 0)
    wait_for_step(tmp_path, 20)
    asked = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) == status, logs(tmp_path)
    assert time.monotonic() - asked < 10
    assert "saved" in logs(tmp_path)
    if number != signal.SIGTERM:  # what follows is the same
        return
    again = start(tmp_path, "--steps", 400)
    assert again.wait(60) == 2
    assert "--resume" in logs(tmp_path)
    resumed = start(tmp_path, "--steps", 400, "--resume")
    assert resumed.wait(60) == 0, logs(tmp_path)
    assert rows(tmp_path) == rows(whole)
    assert checksum(tmp_path) == checksum(whole)
    assert start(tmp_path, "--steps", 400, "--resume").wait(60) == 0
    assert "nothing to resume" in logs(tmp_path)


def test_resume_with_nothing_there_starts_anew_and_says_so(tmp_path):
    process = start(tmp_path, "--steps", 3, "--resume")
    assert process.wait(60) == 0, logs(tmp_path)
    assert "starts anew" in logs(tmp_path)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    first = start(tmp_path, "--steps", 200_000)
    wait_for_step(tmp_path, 20)
    second = start(tmp_path, "--steps", 200_000, "--resume")
    assert second.wait(60) == 2
    assert f"process {first.pid}" in logs(tmp_path)
    first.kill()
    first.wait()


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "within_saves"), [(0, 5), (0.2, 0)], ids=["while saving", "while training"])
def test_what_is_on_disk_at_twenty_random_instants_is_enough_to_go_on_with(tmp_path, seconds, within_saves):
    command = [sys.executable, "-m", "training.killed", tmp_path, seconds, random.randrange(1000)]
    cache = {"JAX_COMPILATION_CACHE_DIR": CACHE, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    env = {**os.environ, **cache, "XLA_FLAGS": compilation.FLAGS}
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT / "tests", env=env, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    copies, caught, kills = (int(word) for word in done.stdout.split() if word.isdigit())
    assert copies == 20
    assert caught >= within_saves
    assert kills >= 1


# --- Two processes with two devices each ------------------------------------------------------------------------------


def start_two(folder, *arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    join = ["--distributed", "--coordinator", f"127.0.0.1:{port}", "--process-count", 2, "--process-index"]
    return [start(folder, *arguments, *join, index, devices=2) for index in (0, 1)]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    descent = ["--method", "optax.sgd", "--method-args", "learning_rate=0.1", "--steps", 66, "--weight-decay", 0.01]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    assert start(folders[0], *descent).wait(60) == 0, logs(folders[0])
    assert [process.wait(90) for process in start_two(folders[1], *descent)] == [0, 0], logs(folders[1])
    one, two = ([row for row in rows(folder) if row["kind"] in ("train", "eval")] for folder in folders)
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
    assert one[-1]["loss"] < one[0]["loss"] / 2


@pytest.mark.slow
def test_two_processes_stop_together_and_one_goes_on(tmp_path):
    processes = start_two(tmp_path, "--steps", 200_000, "--save-seconds", 1)
    wait_for_step(tmp_path, 20)
    processes[1].send_signal(signal.SIGTERM)
    assert [process.wait(60) for process in processes] == [143, 143], logs(tmp_path)
    stopped, _ = checksum(tmp_path)
    alone = start(tmp_path, "--steps", 200_000, "--resume", "--devices", 1)
    wait_for_step(tmp_path, stopped + 20)
    alone.kill()
    alone.wait()


@pytest.mark.slow
def test_when_one_of_two_processes_dies_the_other_ends_with_an_error_within_a_minute(tmp_path):
    processes = start_two(tmp_path, "--steps", 200_000)
    wait_for_step(tmp_path, 20)
    processes[1].kill()
    processes[1].wait()
    assert processes[0].wait(60) != 0


@pytest.mark.slow
def test_without_inodes_both_processes_end_at_once(tmp_path):
    """Both waited minutes for each other, for folders that could not be made."""
    disk = tmp_path / "out"
    disk.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=60", "tmpfs", str(disk)]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be made here: mount is not allowed")
    try:
        processes = start_two(tmp_path, "--steps", 200_000, "--save-seconds", 0, "--log-every", 3)
        statuses = [process.wait(240) for process in processes]
        assert 1 in statuses, logs(tmp_path)
        assert set(statuses) <= {1, -signal.SIGABRT}, logs(tmp_path)  # JAX aborts a process whose other one has ended
    finally:
        end_all()
        subprocess.run(["umount", str(disk)], check=True)
    assert "optaxaccel: No space left on the disk" in logs(tmp_path)
    assert "Traceback" not in logs(tmp_path)
