"""What an error means for whoever typed a command: an exit status, and one message instead of a traceback."""

import errno
import sys
from typing import Any

from optaxaccel.cli.terminal import BAD_INPUT, FAILED

_LONGEST = 4000  # characters of a message; a value that was quoted in it may be of any length
_BAD_PATHS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP)


def explained(error: Exception) -> tuple[int | None, str]:
    """Return the exit status of an error and what to say, or (None, "") where it is a fault of this program."""
    status = _status(error)
    return status, "" if status is None else _shortened(_text(error))


def stopped(command: Any) -> str:
    """Return what to say of a command that Ctrl-C stopped: what is left of it, and how to go on.

    A run that can save has done so by itself, and said it; here nothing was saved.
    """
    from optaxaccel.cli import commands

    message = "stopped"
    many = isinstance(command, commands.Train) and (command.grid or command.seeds)
    if many or isinstance(command, (commands.Compare, commands.RunFile)):
        return f"{message}. The runs that are finished stay. Go on with the same command and --resume."
    if isinstance(command, commands.Train):
        return f"{message} before anything was to be saved. Start again with the same command."
    if isinstance(command, (commands.Extrapolate, commands.Merge, commands.Evaluate)):
        return f"{message}; nothing was written. Start again with the same command."
    if isinstance(command, commands.Data) and command.action == "prepare":
        return f"{message}. What was downloaded whole stays. Go on with the same command."
    return message


def quiet_about_closed_loops(unraisable: Any) -> None:
    """Print what could not be raised, but not what threads of checkpoints complain of after their event loop has ended.

    tensorstore (0.1.86) prints a traceback for every write that was under way when another failed.
    """
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        sys.__unraisablehook__(unraisable)


def _status(error: Exception) -> int | None:
    from optaxaccel.training.begun import RunFailedError

    if isinstance(error, RunFailedError) or _out_of_memory(error):
        return FAILED
    if isinstance(error, (ValueError, FileNotFoundError, FileExistsError, ImportError)):
        return BAD_INPUT
    if isinstance(error, OSError):
        return BAD_INPUT if error.errno in _BAD_PATHS else FAILED
    return None


def _text(error: Exception) -> str:
    if _out_of_memory(error):
        detail = " ".join(str(error).split())
        return f"there is not enough memory. Try a smaller batch or model. {detail}".strip()
    if isinstance(error, OSError) and error.strerror is not None:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(w in str(error) for w in ("RESOURCE_EXHAUSTED", "Out of memory"))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 4 :]}"
