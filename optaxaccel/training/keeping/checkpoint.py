"""Checkpoints: the last and the best state of a run, whole or not there, and proof against silent damage.

Orbax writes them in the background. Each holds all that training depends on, so that a run that goes on from one gives
the parameters and the records of a run that was never stopped, bit by bit. A sum over the bits of every array is kept
beside them, since orbax (0.12.8) reads a file in which a bit was flipped without a word; a checkpoint that does not
read back to it is passed over.
"""

import errno
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from optaxaccel.training.keeping import reading
from optaxaccel.training.keeping.reading import Restored
from optaxaccel.training.run import longer
from optaxaccel.training.run.spec import Run, differences

Tree = Any
_FOLDERS = ("last", "best", "kept")


class Checkpoints:
    """The checkpoints in one folder: the last two of `last`, the one of `best`, and those of `kept` that stay."""

    def __init__(
        self,
        folder: Path,
        run: Run,
        *,
        kept: int | None = None,
        say: Any = logging.getLogger(__name__).warning,
    ):
        """Open a folder, which is made, and clear away what a killed process left half-written."""
        _told_by_us(True)
        self._failed = False  # whether something could not be written
        folder = folder.absolute()
        self.folder, self.run, self.say = folder, run, say
        self._newest: dict[str, int] = dict.fromkeys(_FOLDERS, -1)  # what a manager says differs between processes
        self._managers: dict[str, ocp.CheckpointManager] = {}
        self._numbers: dict[str, int | None] = {"last": 2, "best": 1, "kept": kept}
        for name in _FOLDERS:
            if name != "kept" or (folder / name).exists():
                self._manager(name)

    def _manager(self, name: str) -> Any:
        if name not in self._managers:
            options = _options(self._numbers[name])
            self._managers[name] = ocp.CheckpointManager(self.folder / name, options=options)
        return self._managers[name]

    def save(self, step: int, tree: Tree, memory: Mapping[str, Any], *, folder: str = "last") -> None:
        """Write a checkpoint in the background; `tree` may be donated as soon as this returns.

        Raises:
          OSError: this or the save before it could not be written; the message names the folder.
        """
        manager = self._manager(folder)
        with self._writing():
            if step == self._newest[folder]:  # a signal came, or the run ended, right after it was saved
                return
            self._newest[folder] = step
            if jax.process_count() > 1:  # two saves at once would wait at each other's barriers, for ever
                self.wait()
            rest = {"spec": self.run.as_dict(), "checksum": int(reading.checksum(tree)), "x64": _x64(), **memory}
            manager.save(
                step,
                args=ocp.args.Composite(tree=ocp.args.StandardSave(tree), memory=ocp.args.JsonSave(rest)),
                force=True,
            )

    def clear(self, above: int = -1) -> None:
        """Remove what a run that goes on from `above` updates will write again; all of it by default."""
        for manager in self._managers.values():
            for step in [s for s in manager.all_steps() if s > above]:
                manager.delete(step)

    def check(self) -> None:
        """Raise what went wrong in the background since.

        Raises:
          OSError: see `save`.
        """
        with self._writing():
            for manager in self._managers.values():
                manager.check_for_errors()

    def wait(self) -> None:
        """Wait until everything is on disk.

        Raises:
          OSError: see `save`.
        """
        with self._writing():
            for manager in self._managers.values():
                manager.wait_until_finished()

    def close(self) -> None:
        """Give the folder up.

        Raises:
          OSError: see `save`; what was being written could not be.
        """
        with self._writing(), ExitStack() as closing:
            for manager in self._managers.values():
                closing.callback(manager.close)
        if not self._failed:  # threads that are left over complain until the process ends
            _told_by_us(False)

    def steps(self) -> list[int]:
        """Return the updates after which there are checkpoints of `last`, newest first."""
        return sorted(self._managers["last"].all_steps(), reverse=True)

    def restore(self, like: Tree) -> Restored | None:
        """Return the newest checkpoint that reads back whole, on the devices of `like`, or None if there is none.

        Newer ones do not, of which a warning tells, and are removed.

        Raises:
          ValueError: the checkpoint is of another specification, or none of those there can be read.
        """
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
        reasons = []
        for step in self.steps():
            try:
                memory = reading.memory(self.folder / "last" / str(step))
                self._refuse_other(memory["spec"])
                self._refuse_other_precision(memory.get("x64", _x64()))
                tree = reading.arrays(self.folder / "last" / str(step), abstract, memory)
            except OtherRunError:
                raise
            except Exception as error:  # whatever a damaged file makes the reader raise
                first = str(error).splitlines()[0][:200] if str(error) else ""
                reasons.append(f"{step}: {type(error).__name__}: {first}")
                self.say(f"checkpoint {self.folder}/last/{reasons[-1]}. It is passed over.")
                continue
            self.clear(above=step)
            for name, manager in self._managers.items():
                self._newest[name] = step if step in manager.all_steps() else -1
            return Restored(step, tree, memory)
        if reasons:
            raise ValueError(
                f"No checkpoint in {self.folder}/last can be read: {'; '.join(reasons)}. Remove {self.folder} to start "
                "anew, or bring back a copy."
            )
        return None

    def _refuse_other(self, spec: Mapping[str, Any]) -> None:
        differing = differences(self.run.as_dict(), spec)
        if differing and not longer.goes_on(self.run.as_dict(), spec):
            raise OtherRunError(
                f"{self.folder} holds checkpoints of another run, which differs in: {'; '.join(differing)}. Pass "
                "another --out, or the specification that is there."
            )

    def _refuse_other_precision(self, x64: bool) -> None:
        """Random numbers, dropout masks for one, are others in another precision."""
        if x64 != _x64():
            raise OtherRunError(
                f"{self.folder} holds checkpoints of a run with jax_enable_x64={x64}, and here it is {_x64()}: it "
                f"would go on with other random numbers. Set JAX_ENABLE_X64={int(x64)}, or pass another --out."
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what libraries say of a full or read-only disk into one OSError that names the folder."""
        try:
            yield
        except Exception as error:
            self._failed, text = True, " ".join(str(e) for e in (error, error.__cause__) if e is not None)
            number = error.errno if isinstance(error, OSError) else None
            if number == errno.ENOSPC or "No space left" in text or "ENOSPC" in text:
                whole = any(path.name.isdigit() for path in (self.folder / "last").glob("*"))  # others are under way
                whole_one = "; the checkpoint before this one is whole" if whole else ""
                raise OSError(errno.ENOSPC, f"No space left on the disk{whole_one}", str(self.folder)) from error
            if isinstance(error, OSError):
                raise
            what = f"The checkpoint could not be written: {text[:300]}"
            raise OSError(errno.EIO, what, str(self.folder)) from error


def _x64() -> bool:
    return bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]


class OtherRunError(ValueError):
    """A folder belongs to another specification."""


def _options(keep: int | None) -> ocp.CheckpointManagerOptions:
    """In the background, a write that fails in one of several processes is waited for by all of them for minutes."""
    alone = jax.process_count() == 1
    more = {"max_to_keep": keep, "enable_async_checkpointing": alone}
    return ocp.CheckpointManagerOptions(cleanup_tmp_directories=True, **more)


def _told_by_us(whether: bool) -> None:
    """Keep orbax's threads from printing the traceback of every one of a hundred writers that a full disk stops.

    What went wrong is raised by the next save, check or wait all the same, and told in one message.
    """
    for name in ("absl", "asyncio"):
        logger = logging.getLogger(name)
        logger.addFilter(_of_writers) if whether else logger.removeFilter(_of_writers)


def _of_writers(record: logging.LogRecord) -> bool:
    """Return whether to let a message pass."""
    mine = record.name == "asyncio" or "orbax" in record.pathname
    often = mine and str(record.msg).startswith("Waiting for previous save")  # where evaluations are quick
    return not (mine and record.levelno >= logging.ERROR) and not often
