"""Merging and extrapolating checkpoints that stay in their files, against reading the files twice with plain copying.

    python -m benchmarks.merging --megabytes 300 --count 11 --rounds 5 --folder /tmp [--from-disk]

It writes its files into the folder and removes them. All that is timed runs in one process, in turns, on files that the
operating system has in memory, or that it is told to forget before each turn (`--from-disk`; Linux); memory is what the
process holds of its own (RssAnon), above what it held before.
"""

import argparse
import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from optaxaccel.training.histories import merging, offline, safetensors_files

PIECE = 1 << 24  # bytes that are copied at once


def write(folder: Path, megabytes: int, count: int) -> list[Path]:
    """Write checkpoints of a descent, in ten arrays each."""
    random = np.random.default_rng(0)
    size = megabytes * 25_000
    start = random.normal(size=size).astype(np.float32)
    paths = []
    for k in range(count):
        arrays = {f"layer{n}/kernel": start * np.float32(1 + 0.9**k * (n + 1) / 10) for n in range(10)}
        noise = np.float32(1e-3) * random.standard_normal(size=size, dtype=np.float32)
        for array in arrays.values():
            array += np.roll(noise, k)
        paths.append(folder / f"step{k}.safetensors")
        safetensors_files.write(paths[-1], arrays)
    return paths


def copied_twice(paths: list[Path]) -> None:
    """Read every file twice, copying it into a buffer."""
    buffer = memoryview(bytearray(PIECE))
    for path in [*paths, *paths]:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def forget(paths: list[Path]) -> None:
    """Let the operating system drop what it has in memory of the files."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())  # what is not written yet stays in memory
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident() -> int:
    """Return the bytes that the process holds of its own."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024


def peak(run: Callable[[], object]) -> int:
    """Return by how much what the process holds rises while something runs."""
    gc.collect()
    before, highest, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.01):
            highest = max(highest, resident())

    watching = threading.Thread(target=watch)
    watching.start()
    run()
    done.set()
    watching.join()
    return highest - before


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--count", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--from-disk", action="store_true", help="forget the files before each turn")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        folder = Path(place)
        paths = write(folder, asked.megabytes, asked.count)

        def run(what: Callable[..., object], **how: object) -> None:
            what(folder, last=asked.count, in_memory=0, out=folder / "y" / "merged.safetensors", **how)
            for file in (folder / "y").iterdir():
                file.unlink()

        work = {
            "reading twice, plain copying": lambda: copied_twice(paths),
            "merge, mean": lambda: run(merging.merge_folder),
            "extrapolate": lambda: run(offline.extrapolate_folder),
        }
        peaks = {name: peak(call) for name, call in work.items()}  # before anything is kept for the next time
        seconds: dict[str, list[float]] = {name: [] for name in work}
        processors: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(asked.rounds + 1):
            for name, call in work.items():
                if asked.from_disk:
                    forget(paths)
                started, used = time.perf_counter(), time.process_time()
                call()
                seconds[name].append(time.perf_counter() - started)
                processors[name].append(time.process_time() - used)
    base = np.array(seconds["reading twice, plain copying"][1:])
    total = asked.count * asked.megabytes / 1000
    print(f"{asked.count} checkpoints of {asked.megabytes} MB, {asked.rounds} rounds, {os.cpu_count()} cores", end="")
    print(", from disk" * asked.from_disk)
    print(f"load {os.getloadavg()[0]:.1f}")
    for name, values in seconds.items():
        ratios = np.array(values[1:]) / base
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        rate = total / np.median(values[1:])
        print(f"{name}: {np.median(values[1:]):.2f} s, {rate:.2f} GB of checkpoints/s, ratio {middle:.2f} ", end="")
        print(f"({low:.2f} to {high:.2f}), ", end="")
        print(f"processor time {np.median(processors[name][1:]):.2f} s, memory {peaks[name] / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
