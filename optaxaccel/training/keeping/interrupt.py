"""What comes from outside while a run goes on: signals to stop, and other processes that want the same folder."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path


class Signals:
    """Takes SIGTERM and SIGINT for requests to stop: at once until `between_steps` is set, then after the step.

    A second signal stops at once, without saving.
    """

    def __init__(self):
        """Begin with none."""
        self.received = 0
        self.between_steps = False

    def __call__(self, number: int, frame: object) -> None:
        """Handle a signal."""
        del frame
        if self.received or not self.between_steps:
            raise SystemExit(128 + number)
        self.received = number

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals meanwhile; Python allows that in the main thread only, and elsewhere nothing is done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Own a folder; the lock is the process's, so that it ends with it, however that ends.

    Raises:
      FileExistsError: a living process owns the folder; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    with path.open("a+") as file:
        if not _lock(file.fileno()):
            file.seek(0)
            raise FileExistsError(
                f"{folder} is in use by another run (process {file.read().strip() or 'unknown'}). Wait for it, or pass "
                "another --out."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
