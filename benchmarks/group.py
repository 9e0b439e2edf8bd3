"""`python -m benchmarks.group NAME ROUNDS FILE`: measure one group in this process and write its rows; and join rows.

One process is not enough: where its arrays happen to lie in memory moves ratios of memory-bound work by more than the
rounds within it differ. So a group is measured in more than one process, and their rows are joined.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import Row
from optaxaccel.training import allocation
from optaxaccel.training.steps import parallel


class GroupFailedError(Exception):
    """A group ended in an error; its last line."""


def measure(name: str, rounds: int, processes: int) -> list[Row]:
    """Return a group's rows, joined over processes."""
    return joined([once(name, rounds) for _ in range(processes)])


def once(name: str, rounds: int, package: Path | None = None) -> list[Row]:
    """Return a group's rows, measured in a process of its own.

    Args:
      name: the group.
      rounds: how often each variant is called.
      package: another checkout whose package is measured, by the benchmarks of this one.

    Raises:
      GroupFailedError: the process ended in an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, environment, place = Path(folder) / "rows.json", dict(os.environ), None
        if package is not None:  # a folder with our benchmarks alone is where the process looks first
            (Path(folder) / "benchmarks").symlink_to(Path(__file__).resolve().parent)
            environment["PYTHONPATH"], place = str(package), folder
        command = [sys.executable, "-m", "benchmarks.group", name, str(rounds), str(file)]
        ended = subprocess.run(command, check=False, env=environment, cwd=place, stderr=subprocess.PIPE, text=True)
        if ended.returncode:
            said = ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"]
            raise GroupFailedError(f"{name}: {said[-1]}")
        sys.stderr.write(ended.stderr)
        return json.loads(file.read_text())


def joined(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """Return the rows of several processes as one list."""
    return [join(rows) for rows in zip(*runs, strict=True)]


def join(rows: Sequence[Row]) -> Row:
    """Return one row: medians of the numbers, and of the quartiles the outermost.

    >>> join([{"ratio": r, "quartiles": [r - 0.1, r + 0.1], "goal": None} for r in (1.5, 1.0, 1.25)])
    {'ratio': 1.25, 'quartiles': [0.9, 1.6], 'goal': None}
    """
    joined = dict(rows[0])
    for name, value in joined.items():
        values = [row[name] for row in rows if row.get(name) is not None]
        if name == "quartiles":
            joined[name] = [min(low for low, _ in values), max(high for _, high in values)]
        elif isinstance(value, float):
            joined[name] = float(np.median(values))
    return joined


def main() -> None:
    """Measure one group."""
    name, rounds, file = sys.argv[1:]
    # Peers have it, too. Programs that run after each other must not find more and more holes in one heap.
    if name != "plain":  # what users have who set nothing
        allocation.keep_freed_memory(one_arena=name not in ("epochs", "targets"))
    parallel.use_cpu_cores()
    Path(file).write_text(json.dumps(importlib.import_module(f"benchmarks.{name}").run(rounds=int(rounds))))


if __name__ == "__main__":
    main()
