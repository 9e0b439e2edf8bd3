"""The update alone in a process in which nothing is set: freed memory goes back to the system, as a user's does."""

from benchmarks import updates
from benchmarks.measure import Row

NAMES = (
    "optax.sgd(momentum)",
    "indian",
    "agd",
    "interpolatron k=2",
    "interpolatron k=3",
    "anderson k=2",
    "anderson k=3",
)


def run(rounds: int) -> list[Row]:
    """Return one row a variant."""
    return updates.run(rounds, NAMES, "update alone in a plain process, 11.2 M parameters, 62 leaves")
