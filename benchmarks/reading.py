"""`optaxaccel report` on the record of a long run: seconds and memory of the whole process."""

import json
import os
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import Row
from optaxaccel.training.run.spec import Run

ROWS = 300_000
TITLE = f"report on a record of {ROWS:,} rows, the whole process"


def run(rounds: int, rows: int = ROWS) -> list[Row]:
    """Return a row for the processor's seconds and one for the most memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "run.jsonl", rows)
        measured = [_process(path) for _ in range(max(1, rounds // 6))]
    seconds, memory = (float(np.median(each)) for each in zip(*measured, strict=True))
    return [
        {"benchmark": TITLE, "variant": "processor time", "seconds": seconds},
        {"benchmark": TITLE, "variant": "most memory", "MB": memory},
    ]


def write(path: Path, rows: int) -> Path:
    """Write a record: one evaluation in a hundred rows, the rest of training."""
    run, rng = Run(method="indian", model="mlp", data="digits"), random.Random(0)
    with path.open("w") as file:
        start = {"spec": run.as_dict(), "digest": run.digest(), "label": "indian", "phase": "final"}
        file.write(json.dumps({"kind": "start", **start}) + "\n")
        for step in range(1, rows + 1):
            kind = {"kind": "train"} if step % 100 else {"kind": "eval", "split": "test"}
            at = {"step": step, "epoch": step / 100, "value_calls": 0, "grad_calls": step, "hvp_calls": 0}
            file.write(
                json.dumps({**kind, **at, "seconds": step / 1e3, "loss": rng.random(), "accuracy": rng.random()})
            )
            file.write("\n")
        file.write(json.dumps({"kind": "end", "status": "done", "step": rows}) + "\n")
    return path


def _process(path: Path) -> tuple[float, float]:
    """Return the processor's seconds and the most memory, in MB, of a process that shows a record."""
    with Path(os.devnull).open("w") as nowhere:
        words = [sys.executable, "-m", "optaxaccel", "report", str(path), "--figure", str(path.with_suffix(".png"))]
        child = os.posix_spawn(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)])
        _, status, usage = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"optaxaccel report ended with status {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
