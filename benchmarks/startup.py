"""What a user waits for: importing, the help of the command line, and the first step of the demonstration."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Row, alternate, rows_of
from optaxaccel.training.keeping import records

STEP = (
    "from optaxaccel import cli; "
    "cli.main(['train', '--method', 'pal', '--data', 'digits', '--steps', '1', '--out', {out!r}])"
)


def run(rounds: int) -> list[Row]:
    """Return one row a variant, measured as whole processes."""
    rounds = max(3, rounds // 8)
    imports = alternate(
        {
            "import jax, optax": _process("import jax, optax"),
            "import jax, optax, optaxaccel": _process("import jax, optax, optaxaccel"),
        },
        rounds=rounds,
        warm_up=1,
    )
    alone, with_ours = imports.values()
    rows = rows_of("importing, whole processes", imports)
    rows.append(
        {
            "benchmark": "seconds that importing optaxaccel adds",
            "variant": "over jax and optax",
            "seconds": (with_ours.ratio - 1.0) * alone.seconds,
            "goal": 0.3,
        }
    )
    command = {"optaxaccel --help": _process("from optaxaccel import cli; cli.main(['--help'])")}
    seconds = alternate(command, rounds=rounds, warm_up=1)["optaxaccel --help"].seconds
    rows.append({"benchmark": "seconds to the help", "variant": "optaxaccel --help", "seconds": seconds, "goal": 1.0})
    return rows + _first_step()


def _first_step() -> list[Row]:
    """Read from the record how long compiling the step took, with an empty cache of programs and with a filled one."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for variant, goal in (("cold", 10.0), ("with the cache", 2.0)):
            out = Path(folder) / variant
            whole = _process(STEP.format(out=str(out)), OPTAXACCEL_CACHE=folder)()
            compiled = records.read(out / "record.jsonl").start["compile_seconds"]
            title = "seconds to compile the first training step (mlp on digits, pal)"
            rows.append({"benchmark": title, "variant": variant, "seconds": compiled, "goal": goal})
            rows.append({"benchmark": title, "variant": f"{variant}: the whole process", "seconds": whole})
    return rows


def _process(code: str, **environment: str) -> Callable[[], float]:
    def seconds() -> float:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - started

    return seconds
