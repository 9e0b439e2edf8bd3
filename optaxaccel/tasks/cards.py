"""The cards of the tasks that ship: plain data, so that the command line can list them without starting JAX."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class TaskCard(NamedTuple):
    """What everyone but the task itself knows about it.

    Attributes:
      name: the key in TASKS and on the command line.
      maker: "module:function" of the factory `make(**arguments) -> Task`; imported when used.
      about: one line.
      score: the metric that counts.
      smoke: arguments of the size for tests, seconds.
      small: those of the size for two cores; the maker's defaults where there are none.
      needs: the extra that it needs beyond `train`, such as "tables"; empty for none.
    """

    name: str
    maker: str
    about: str
    score: str
    smoke: Mapping[str, Any] = {}
    small: Mapping[str, Any] = {}
    needs: str = ""


_HERE = "optaxaccel.tasks"
CARDS: tuple[TaskCard, ...] = (
    TaskCard("rosenbrock", f"{_HERE}.landscapes:rosenbrock", "Rosenbrock's valley", "gap", {"steps": 50}),
)
