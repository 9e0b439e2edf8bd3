"""Checkpoints that stay in their files: how much memory that takes, and what an interruption leaves."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from optaxaccel.training.histories import blocked, safetensors_files
from optaxaccel.training.histories.merging import merge_folder

COUNT = 5
WATCHED = """
import sys, threading, time
from pathlib import Path
from optaxaccel.training.histories.merging import merge_folder
from optaxaccel.training.histories.offline import extrapolate_folder

def held():  # of its own: pages of mapped files are the system's
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) * 1024

def watch():
    while not done.wait(0.005):
        peaks.append(held())

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
merge_folder(folder / "small", "rna", in_memory=0)  # everything is imported, threads have their buffers
before, peaks, done = held(), [], threading.Event()
watching = threading.Thread(target=watch)
watching.start()
merge_folder(folder / "large", "mean")
extrapolate_folder(folder / "large")
done.set()
watching.join()
print(max(peaks) - before)
sys.exit(max(peaks) - before > limit)
"""


def test_memory_is_less_than_half_a_checkpoint_of_fifty_megabytes(tmp_path):
    size = 50_000_000
    base = np.random.default_rng(0).normal(size=size // 8).astype(np.float32)
    large, small = tmp_path / "large", tmp_path / "small"
    large.mkdir()
    small.mkdir()
    for k in range(4):
        halves = {"a": base + np.float32(0.5**k), "b": base * np.float32(1 + 0.7**k)}
        safetensors_files.write(large / f"{k}.safetensors", halves)
        safetensors_files.write(small / f"{k}.safetensors", {"a": base[:600_000] * np.float32(1 + 0.5**k)})
    subprocess.run([sys.executable, "-c", WATCHED, str(tmp_path), str(size // 2)], check=True, timeout=200)
    arrays = safetensors_files.mapped(large / "merged.safetensors")
    mean = np.mean([0.7**k for k in range(4)])
    np.testing.assert_allclose(arrays["b"][::1000], base[::1000] * (1 + mean), rtol=1e-5, atol=1e-6)
    assert (large / "extrapolated.safetensors").stat().st_size > size


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in what they start in the background
from optaxaccel.training.histories import blocked
from optaxaccel import cli
whole = blocked.combine
def slow(*arguments):
    for block in whole(*arguments):
        print("block", flush=True)
        time.sleep(0.05)
        yield block
blocked.SECTION = 1000
blocked.combine = slow
sys.exit(cli.run(["merge", sys.argv[1], "--shard", "1/1"]))
"""


@pytest.mark.parametrize("number", [2, 15])
def test_interrupted_nothing_half_written_is_left(number, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for k in range(COUNT):
        arrays = {"kernel": np.full(30_000, k, np.float32), "bias": np.full(9, k, np.float32)}
        safetensors_files.write(folder / f"{k}.safetensors", arrays)
    with subprocess.Popen([sys.executable, "-c", SLOW, str(folder)], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "block\n"
        time.sleep(0.05)
        os.kill(running.pid, number)
        assert running.wait(200) == 128 + number
    assert sorted(path.name for path in folder.iterdir()) == [f"{k}.safetensors" for k in range(COUNT)]


@pytest.mark.parametrize(
    ("count", "size", "dtype"),
    [(11, 9000, np.float32), (2, 700, np.float32), (3, 40_001, np.float16), (4, 513, np.complex64), (35, 300, float)],
)
def test_inner_products_of_blocks_are_those_of_the_whole(count, size, dtype, monkeypatch):
    """Of blocks that are full and of what is left over, with sections of several; the twin is the definition."""
    monkeypatch.setattr(blocked, "SECTION", 4000)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(count, size)).astype(np.float32).astype(dtype)
    if dtype == np.complex64:
        rows = rows + 1j * rng.normal(size=(count, size)).astype(np.float32)
    work = {np.float16: np.float32, np.complex64: np.complex64}.get(dtype, dtype)
    differences = np.diff(rows.astype(work), axis=0).astype(np.complex128)
    want = np.real(differences @ differences.conj().T)
    seen = []
    got = blocked.gram(list(rows), seen.append)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12 * np.trace(want))
    assert np.array_equal(got, got.T)
    assert sum(seen) == rows.nbytes


def test_an_infinity_that_never_changes_is_kept_wherever_it_stands(tmp_path, monkeypatch):
    """Pieces before it are written when it is met; another infinity there is refused, and nothing is left."""
    monkeypatch.setattr(blocked, "SECTION", 1000)
    mask = np.where(np.arange(5000) > 4200, -np.inf, 0.25).astype(np.float32)
    for k in range(3):
        arrays = {"kernel": np.full(3000, 2.0**k, np.float32), "mask": mask}
        safetensors_files.write(tmp_path / f"{k}.safetensors", arrays)
    done = merge_folder(tmp_path, "mean", in_memory=0)
    written = safetensors_files.read(done.path)
    np.testing.assert_array_equal(written["mask"], mask)
    np.testing.assert_allclose(written["kernel"], 7 / 3, rtol=1e-6)
    assert done.kept == ["mask"]
    done.path.unlink()
    done.path.with_name(done.path.name + ".json").unlink()
    other = {"kernel": np.ones(3000, np.float32), "mask": np.where(np.arange(5000) == 4500, np.inf, mask)}
    safetensors_files.write(tmp_path / "3.safetensors", other)
    with pytest.raises(ValueError, match=r"3\.safetensors: mask holds an infinity"):
        merge_folder(tmp_path, "mean", in_memory=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{k}.safetensors" for k in range(4)]
