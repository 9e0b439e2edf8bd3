"""Stop a run at random instants, keep what the disk holds then, and go on from each as from a run that was killed.

What SIGKILL leaves is what the files hold at that instant. So a run that is halted, its folder copied, and let go again
gives many such instants for one start; at the end it is killed, gone on with, and killed again. A process of its own:
it loads everything once, forks the runs before JAX starts its threads, and then goes on with all copies itself.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from training import kept

from optaxaccel.training.keeping import records

RUN = kept.RUN.replace(steps=60, log_every=1, eval_every=4, extrapolate={"K": 3, "every": 20})


class EndedError(Exception):
    """A run came to its end."""


def slowly(**_):
    """Make a run of 60 rows last for two seconds."""
    time.sleep(0.03)


def train_in_child(folder, seconds):
    """Fork a child that trains; return its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if kept.train(RUN, folder, resume=True, seconds=seconds, progress=slowly).status == "done" else 2
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


def wait_for_rows(child, folder, count, timeout=120):
    """Wait until the record has so many rows."""
    record, end = folder / "record.jsonl", time.monotonic() + timeout
    while not record.exists() or record.read_bytes().count(b"\n") < count:
        if os.waitpid(child, os.WNOHANG)[0]:
            raise EndedError
        assert time.monotonic() < end, "the run does not begin"
        time.sleep(0.002)


def copies(child, folder, number, draw):
    """Copy the folder of a running child at random instants, as long as it runs."""
    made = []
    for i in range(number):
        time.sleep(draw.uniform(0, 0.12))
        os.kill(child, signal.SIGSTOP)
        if not os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]):
            return made, False
        made.append(shutil.copytree(folder, folder.with_name(f"copy{i}")))
        os.kill(child, signal.SIGCONT)
    return made, True


def kill_again(folder, seconds, draw):
    """Go on with a run and kill it again; return whether it had not come to its end."""
    rows = (folder / "record.jsonl").read_bytes().count(b"\n")
    child = train_in_child(folder, seconds)
    try:
        wait_for_rows(child, folder, rows + 4)
    except EndedError:
        return False
    kill(child, draw)
    return True


def kill(child, draw):
    time.sleep(draw.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main(folder, seconds, seed):
    """Take copies of runs until there are twenty; then go on with all of them and compare with a run left alone."""
    draw = random.Random(seed)
    records.provenance("")  # what git says now, for all runs, should someone commit meanwhile
    outcomes = []
    for attempt in range(9):
        parts = folder / f"parts{attempt}" / "run"
        child = train_in_child(parts, seconds)
        wait_for_rows(child, parts, 4)
        made, running = copies(child, parts, 20 - len(outcomes), draw)
        outcomes += made
        if running:
            kill(child, draw)
            break
    killed = 1 + kill_again(parts, seconds, draw)
    caught = sum(any(copy.rglob("*checkpoint-tmp*")) for copy in outcomes)
    whole = kept.train(RUN, folder / "whole", seconds=1e9)
    for copy in [*outcomes, parts]:
        resumed = kept.train(RUN, copy, resume=True, seconds=1e9)
        kept.assert_equal_states(whole.state, resumed.state)
        assert kept.rows(folder / "whole") == kept.rows(copy), copy
    print(f"{len(outcomes)} copies, {caught} of them within a save, {killed} kills")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
