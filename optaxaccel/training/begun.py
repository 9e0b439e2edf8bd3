"""The line between input that is refused and a run that failed. Standard library only."""


class RunFailedError(RuntimeError):
    """A run failed after it had begun: no refusal of its input, whatever kind of error it was."""
