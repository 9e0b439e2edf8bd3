"""Checkpoints: the last and the best state of a run, whole or not there, and proof against silent damage.

Orbax writes them in the background. Each holds all that training depends on, so that a run that goes on from one gives
the parameters and the records of a run that was never stopped, bit by bit. A sum over the bits of every array is kept
beside them; a checkpoint that does not read back to it is passed over.
"""

import errno
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax import lax

from optaxaccel.training.run.spec import Run, differences

Tree = Any


class Restored(NamedTuple):
    """A checkpoint as read: updates done, the arrays, and the rest as JSON."""

    step: int
    tree: Tree
    memory: dict[str, Any]


class Checkpoints:
    """The checkpoints in one folder: the last two of `last`, and the one of `best`."""

    def __init__(self, folder: Path, run: Run, *, say: Any = logging.getLogger(__name__).warning):
        """Open a folder, which is made, and clear away what a killed process left half-written."""
        _told_by_us(True)
        folder = folder.absolute()
        self.folder, self.run, self.say = folder, run, say
        self._newest = {False: -1, True: -1}  # what the manager says of it differs between processes for a while
        self._last = ocp.CheckpointManager(folder / "last", options=_options(2))
        self._best = ocp.CheckpointManager(folder / "best", options=_options(1))

    def save(self, step: int, tree: Tree, memory: Mapping[str, Any], *, best: bool = False) -> None:
        """Write a checkpoint in the background; `tree` may be donated as soon as this returns.

        Raises:
          OSError: this or the save before it could not be written; the message names the folder.
        """
        manager = self._best if best else self._last
        with self._writing():
            if step == self._newest[best]:  # a signal came, or the run ended, right after it was saved
                return
            self._newest[best] = step
            if jax.process_count() > 1:  # two saves at once would wait at each other's barriers, for ever
                self.wait()
            rest = {"spec": self.run.as_dict(), "checksum": int(_checksum(tree)), "x64": _x64(), **memory}
            manager.save(
                step,
                args=ocp.args.Composite(tree=ocp.args.StandardSave(tree), memory=ocp.args.JsonSave(rest)),
                force=True,
            )

    def clear(self, above: int = -1) -> None:
        """Remove what a run that goes on from `above` updates will write again; all of it by default."""
        for manager in (self._last, self._best):
            for step in [s for s in manager.all_steps() if s > above]:
                manager.delete(step)

    def check(self) -> None:
        """Raise what went wrong in the background since.

        Raises:
          OSError: see `save`.
        """
        with self._writing():
            self._last.check_for_errors()
            self._best.check_for_errors()

    def wait(self) -> None:
        """Wait until everything is on disk.

        Raises:
          OSError: see `save`.
        """
        with self._writing():
            self._last.wait_until_finished()
            self._best.wait_until_finished()

    def close(self) -> None:
        """Give the folder up.

        Raises:
          OSError: see `save`; what was being written could not be.
        """
        with self._writing():
            try:
                self._last.close()
            finally:
                self._best.close()
        _told_by_us(False)  # not where that failed: threads that are left over complain until the process ends

    def steps(self) -> list[int]:
        """Return the updates after which there are checkpoints of `last`, newest first."""
        return sorted(self._last.all_steps(), reverse=True)

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
                memory = self._last.restore(step, args=ocp.args.Composite(memory=ocp.args.JsonRestore()))["memory"]
                self._refuse_other(memory["spec"])
                self._refuse_other_precision(memory.get("x64", _x64()))
                args = ocp.args.Composite(tree=ocp.args.StandardRestore(abstract))
                tree = self._last.restore(step, args=args)["tree"]
                if int(_checksum(tree)) != memory["checksum"]:
                    raise OSError("its arrays are not those that were saved")
            except OtherRunError:
                raise
            except Exception as error:  # whatever a damaged file makes the reader raise
                reasons.append(
                    f"{step}: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
                )
                self.say(f"checkpoint {self.folder}/last/{reasons[-1]}. It is passed over.")
                continue
            self.clear(above=step)
            return Restored(step, tree, memory)
        if reasons:
            raise ValueError(
                f"No checkpoint in {self.folder}/last can be read: {'; '.join(reasons)}. Remove {self.folder} to start "
                "anew, or bring back a copy."
            )
        return None

    def _refuse_other(self, spec: Mapping[str, Any]) -> None:
        differing = differences(self.run.as_dict(), spec)
        if differing:
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

    def _writing(self) -> Any:
        return _writing(self.folder)


def _x64() -> bool:
    return bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]


class OtherRunError(ValueError):
    """A folder belongs to another specification."""


def _options(keep: int) -> ocp.CheckpointManagerOptions:
    return ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)


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
    return not (mine and record.levelno >= logging.ERROR)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what libraries say of a full or read-only disk into one OSError that names the folder."""
    try:
        yield
    except Exception as error:
        text = " ".join(str(e) for e in (error, error.__cause__) if e is not None)
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.ENOSPC or "No space left" in text or "ENOSPC" in text:
            whole = any(path.name.isdigit() for path in (folder / "last").glob("*"))  # those under way end otherwise
            kept = "; the checkpoint before this one is whole" if whole else ""
            raise OSError(errno.ENOSPC, f"No space left on the disk{kept}", str(folder)) from error
        if isinstance(error, OSError):
            raise
        raise OSError(errno.EIO, f"The checkpoint could not be written: {text[:300]}", str(folder)) from error


@jax.jit
def _checksum(tree: Tree) -> jax.Array:
    """Return a sum over all bits, each word with an odd weight of its place, so that exchanged words show."""
    total = jnp.zeros((), jnp.uint32)
    for k, leaf in enumerate(jax.tree.leaves(tree)):
        for part in (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,):
            words = _words(part).ravel()
            weights = 2 * lax.iota(jnp.uint32, words.size) + jnp.uint32(2 * k + 1)
            total = 31 * total + jnp.sum(words * weights, dtype=jnp.uint32)
    return total


def _words(x: jax.Array) -> jax.Array:
    if x.dtype == bool:
        return x.astype(jnp.uint32)
    width = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)
    return lax.bitcast_convert_type(x, width).astype(jnp.uint32)
