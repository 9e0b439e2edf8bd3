"""A run that goes on longer than it was meant to: the same specification with more epochs or steps."""

from collections.abc import Mapping
from typing import Any

from optaxaccel.training.run.spec import differences

_LENGTH = {"epochs", "steps"}


def goes_on(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Return whether a specification is that of a run that goes on longer, or ends earlier, and nothing else.

    It is then the run that it would have been from the start: what a step does depends on no horizon, since lengths of
    schedules are given. Runs with a schedule are none of these all the same: its last value would hold for every
    further update, which is hardly what is wanted.

    Example:
      >>> from optaxaccel.training.run.spec import Run
      >>> short, slow = Run(epochs=1), Run(epochs=1, schedule={"momentum": {"name": "constant_schedule"}})
      >>> goes_on(short.replace(epochs=2).as_dict(), short.as_dict()), goes_on(short.as_dict(), short.as_dict())
      (True, False)
      >>> goes_on(slow.replace(epochs=2).as_dict(), slow.as_dict())
      False
    """
    names = {line.partition(":")[0] for line in differences(ours, theirs)}
    return bool(names) and names <= _LENGTH and not ours.get("schedule")


def why_not(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return what it would mean to go on longer, where only the length differs and there is a schedule."""
    names = {line.partition(":")[0] for line in differences(ours, theirs)}
    if not (names and names <= _LENGTH and ours.get("schedule")):
        return ""
    scheduled = ", ".join(ours["schedule"])
    return (
        f" Only the length differs, but there is a schedule of {scheduled}: all further updates would be made with its "
        "last value. Start a new run of that length, with a schedule for it."
    )
