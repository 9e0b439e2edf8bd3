"""Kill a run with SIGKILL at random instants, go on with it each time, and compare with a run that was left alone.

A process of its own: it loads everything once and forks the runs before JAX starts its threads.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from training import kept


def run_in_child(run, folder, seconds):
    """Fork a child that trains; return its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if kept.train(run, folder, resume=True, seconds=seconds).status == "done" else 2
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


def main(folder, kills, seconds, seed, longest):
    """Kill at `kills` random instants up to `longest` seconds after the start; then let the run end."""
    run = kept.RUN.replace(steps=400, log_every=1, extrapolate={"K": 3, "every": 20})
    draw = random.Random(seed)
    child = run_in_child(run, folder / "whole", 1e9)
    assert os.waitpid(child, 0)[1] == 0
    killed = 0
    for _ in range(kills):
        child = run_in_child(run, folder / "parts", seconds)
        wait = draw.uniform(0.6, longest)
        end = time.monotonic() + wait
        while time.monotonic() < end and os.waitpid(child, os.WNOHANG)[0] == 0:
            time.sleep(0.005)
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
        except (ProcessLookupError, ChildProcessError):
            break  # the run came to its end
    done = (folder / "parts" / "record.jsonl").read_text().endswith('"peak_bytes": null}\n')
    if not done:
        child = run_in_child(run, folder / "parts", seconds)
        assert os.waitpid(child, 0)[1] == 0
    assert kept.rows(folder / "whole") == kept.rows(folder / "parts")
    print(f"killed {killed}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
