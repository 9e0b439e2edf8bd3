"""What commands share: their exit statuses, what they print, and how they start JAX."""

import os
import sys
from pathlib import Path
from typing import Any

HEARTBEAT_TIMEOUT = 20  # seconds until a process of several counts as dead, and the others exit with an error
LOG_WIDTH = 200  # characters of a line where nobody says how many there are
DONE, FAILED, BAD_INPUT, DIVERGED = 0, 1, 2, 3


def say(text: str, *, error: bool = False) -> None:
    """Print a line at once, errors to the stream of errors."""
    print(text, file=sys.stderr if error else sys.stdout, flush=True)


def console() -> Any:
    """Return the terminal, or a wide one for a log."""
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # and not SystemExit(1): the command line knows what that means

    console = Screen(highlight=False, soft_wrap=False)
    if not console.is_terminal:  # a log is not folded to 80 columns
        columns = os.environ.get("COLUMNS", "")
        console = Screen(highlight=False, width=int(columns) if columns.isdigit() and int(columns) else LOG_WIDTH)
    return console


def start_jax(command: Any = None) -> None:
    """Keep freed memory, and compiled programs between processes; count CPU cores as devices; join other processes."""
    from optaxaccel.training import allocation
    from optaxaccel.training.steps import parallel

    allocation.keep_freed_memory()
    import jax

    cache = Path(os.environ.get("OPTAXACCEL_CACHE") or "~/.cache/optaxaccel").expanduser()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    parallel.use_cpu_cores(None if command is None else command.devices)
    if command is not None and command.distributed:
        # The defaults of 100 and 300 s would keep the others waiting for longer than that for one that died.
        address = (command.coordinator, command.process_count, command.process_index)
        timeouts: Any = {"heartbeat_timeout_seconds": HEARTBEAT_TIMEOUT, "shutdown_timeout_seconds": HEARTBEAT_TIMEOUT}
        try:
            jax.distributed.initialize(*address, **timeouts)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"The other processes could not be joined ({' '.join(str(error).split())[:300]}). Pass --coordinator "
                "HOST:PORT of process 0, --process-count and --process-index, or start them by a cluster's launcher."
            ) from error


def leave_the_others() -> None:
    """End this process at once if it is one of several, so that the others hear of it after HEARTBEAT_TIMEOUT.

    At an orderly end the threads of a checkpoint that was under way wait five minutes for what only a sound process
    would have written, and so do those of the others.
    """
    jax: Any = sys.modules.get("jax")
    if jax is not None and jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(FAILED)
