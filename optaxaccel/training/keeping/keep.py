"""What a run keeps so that nothing is lost: a folder of its own, checkpoints, and an ear for signals to stop."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from optaxaccel.training.keeping import interrupt
from optaxaccel.training.orbax_folder import refuse_pattern
from optaxaccel.training.run.argument_text import steps_from
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import parallel

Tree = Any
_KEEPS = threading.Lock()  # held by the run of this process that writes checkpoints


class Keep(NamedTuple):
    """How a run is kept.

    Attributes:
      folder: the run's folder; the checkpoints are in `checkpoints` below it.
      resume: whether to go on with the last checkpoint; without one the run starts anew.
      seconds: time between two checkpoints, which are written when metrics are read; 0 writes one at every such moment.
      number: how many checkpoints of `every` so many steps stay, the newest ones, in `checkpoints/kept`; None for all.
      every: steps between two of these, or "1epoch"; 0 for none.
    """

    folder: Path
    resume: bool = False
    seconds: float = 30.0
    number: int | None = None
    every: int | str = 0


def resumes(keep: Keep | None) -> bool:
    """Return whether there is a checkpoint that a run is asked to go on from."""
    if keep is None or not keep.resume:
        return False
    whole = (keep.folder / "checkpoints" / "last").glob("*")
    return any(path.name.isdigit() for path in whole)  # those under way have longer names


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Be the one run that writes checkpoints: orbax (0.12.8) mixes up those that two threads write at once.

    Raises:
      RuntimeError: there is one.
    """
    if not _KEEPS.acquire(blocking=False):
        raise RuntimeError(
            "Another thread of this process trains a run that keeps checkpoints, and of two at once none would be "
            "whole. Train in processes of their own, one after another, or with keep=None."
        )
    try:
        yield
    finally:
        _KEEPS.release()


class Keeper:
    """Owns the folder of a run while it goes on; without a `Keep` it does nothing."""

    def __init__(self, run: Run, keep: Keep | None):
        """Take the settings; `with` does the rest."""
        self.run, self.keep = run, keep
        self.signals = interrupt.Signals()
        self._agreed_to_stop = False
        self._checkpoints: Any = None
        self._saved = time.monotonic()  # no jump of the time of day matters
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> "Keeper":
        """Lock the folder and listen to signals.

        Raises:
          FileExistsError: another process owns the folder. ValueError: nothing can be written there so that it can be
            read again. RuntimeError: another thread of this process keeps a run.
        """
        with contextlib.ExitStack() as entered:  # what was entered is left where the rest fails
            self._enter(entered)
            self._closing = entered.pop_all()
        return self

    def _enter(self, entered: contextlib.ExitStack) -> None:
        if self.keep is not None:
            refuse_pattern(self.keep.folder)
            entered.enter_context(_alone())
            if parallel.is_main_process():
                entered.enter_context(interrupt.locked(self.keep.folder))
            entered.enter_context(self.signals.installed())

    def __exit__(self, *error: object) -> None:
        """Finish what is being written and let the folder go."""
        with self._closing:
            if self._checkpoints is not None:
                try:
                    if error[0] is None:
                        self._checkpoints.wait()
                finally:
                    self._close(failed=error[0] is not None)

    def _close(self, failed: bool) -> None:
        """Close the checkpoints; where the run failed already, that is the error to tell, and not what follows it.

        Among several processes a save that failed is never finished, and closing would wait for it.
        """
        if failed and jax.process_count() > 1:
            return
        try:
            self._checkpoints.close()
        except OSError:
            if not failed:
                raise

    def restore(self, like: Tree) -> Any:
        """Return the last checkpoint, or None to start anew; from now on signals wait for the end of a step.

        Raises:
          ValueError: the checkpoints are another run's, or none of them can be read.
        """
        checkpoint = None
        if self.keep is not None:
            from optaxaccel.training.keeping.checkpoint import Checkpoints  # loads orbax

            self._checkpoints = Checkpoints(self.keep.folder / "checkpoints", self.run, kept=self.keep.number)
            if self.keep.resume:
                checkpoint = self._checkpoints.restore(like)
            else:
                self._checkpoints.clear()
        self._saved = time.monotonic()
        self.signals.between_steps = True
        return checkpoint

    def due(self) -> bool:
        """Return whether to save now, as all processes agree; they also agree on whether to stop."""
        if self.keep is None:
            return False
        due = time.monotonic() - self._saved >= self.keep.seconds
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            wishes = multihost_utils.process_allgather(np.array([bool(self.signals.received), due]))
            self._agreed_to_stop, due = bool(wishes[:, 0].any()), bool(wishes[0, 1])
        self._checkpoints.check()
        return due

    def asked_to_stop(self) -> bool:
        """Return whether a signal asked to stop; of several processes all stop after the same step."""
        return self._agreed_to_stop if jax.process_count() > 1 else bool(self.signals.received)

    @property
    def stopped_by(self) -> int:
        """Return the signal that asked to stop; SIGTERM if another process got it."""
        return self.signals.received or int(signal.SIGTERM)

    def save(self, step: int, tree: Tree, memory: Mapping[str, Any], *, wait: bool = False) -> None:
        """Save the last state in the background, or wait until it is on disk.

        Raises:
          OSError: a checkpoint could not be written.
        """
        if self._checkpoints is None:
            return
        self._checkpoints.save(step, tree, memory)
        if wait:
            self._checkpoints.wait()
        self._saved = time.monotonic()

    def interval(self, steps_per_epoch: int) -> int:
        """Return the steps between two checkpoints that stay, one at least; 0 for none."""
        every = 0 if self.keep is None else self.keep.every
        return max(1, int(steps_from(every, steps_per_epoch))) if every else 0

    def save_kept(self, step: int, tree: Tree) -> None:
        """Save a state that stays, in the background.

        Raises:
          OSError: a checkpoint could not be written.
        """
        if self._checkpoints is not None:
            self._checkpoints.save(step, tree, {}, folder="kept")

    def save_best(self, step: int, tree: Tree, row: Mapping[str, Any]) -> None:
        """Save the state with the best evaluation so far, in the background.

        Raises:
          OSError: a checkpoint could not be written.
        """
        if self._checkpoints is not None:
            self._checkpoints.save(step, tree, row, folder="best")
