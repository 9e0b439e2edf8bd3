"""A profile of some steps, for TensorBoard or Perfetto."""

from pathlib import Path
from typing import Any, NamedTuple

import jax


class Trace(NamedTuple):
    """Profile the steps from `first` up to, not including, `last`; none by default.

    Attributes:
      folder: where the trace is written.
      first: updates before the first step profiled.
      last: updates before the first step that is not profiled any more.
    """

    folder: Path | None = None
    first: int = 0
    last: int = 0

    def __enter__(self) -> "Trace":
        """Return itself."""
        return self

    def before(self, step: int, state: Any) -> None:
        """Begin or end the profile if `step` says so; `state` is waited for, so that whole steps are seen."""
        if self.folder is not None and step in (self.first, self.last):
            jax.block_until_ready(state)
            if step == self.last:
                jax.profiler.stop_trace()
            else:
                jax.profiler.start_trace(str(self.folder))

    def __exit__(self, *error: object) -> None:
        """End a profile that goes to the end of the run."""
        if self.folder is not None:
            try:
                jax.profiler.stop_trace()
            except RuntimeError:  # it ended before
                return


def parse(text: str, folder: Path) -> Trace:
    """Return the trace that `N:M` asks for.

    Raises:
      ValueError: the text is something else.

    >>> parse("10:20", Path("runs"))[1:]
    (10, 20)
    """
    first, colon, last = text.partition(":")
    if not (colon and first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise ValueError(f"profile={text!r} is not N:M with N < M, the steps to profile. Pass --profile 10:20.")
    return Trace(folder, int(first), int(last))
