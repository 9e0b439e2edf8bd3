"""What became faster or slower against another checkout: both are measured by this one's benchmarks, in turns.

A process holds one version of a package, so that the two cannot alternate round by round as peers do. They alternate
process by process, ours, theirs, theirs, ours; a drift of the machine then falls on both alike.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import compare, group
from benchmarks.measure import Row

ORDER = ("here", "there", "there", "here")


class Sides(NamedTuple):
    """Rows of both checkouts.

    Attributes:
      here: those of this one.
      there: those of the other; empty for groups that it cannot run.
      failed: these groups, and why.
    """

    here: list[Row]
    there: list[Row]
    failed: dict[str, str]


def check(other: Path) -> Path:
    """Return the folder of another checkout.

    Raises:
      ValueError: there is no package in it.
    """
    if not (other / "optaxaccel" / "__init__.py").is_file():
        raise ValueError(
            f"--against {other} holds no package optaxaccel, so there is nothing to compare with. Pass a checkout, for "
            "instance one of `git worktree add ../before COMMIT`."
        )
    return other.resolve()


def measure(names: Sequence[str], rounds: int, other: Path) -> Sides:
    """Measure groups with the package here and with that of another checkout, two processes each, in turns."""
    sides = Sides([], [], {})
    for name in names:
        runs: dict[str, list[list[Row]]] = {"here": [], "there": []}
        for side in ORDER:
            if side == "there" and name in sides.failed:
                continue
            try:
                runs[side].append(group.once(name, rounds, other if side == "there" else None))
            except group.GroupFailedError as error:
                if side == "here":
                    raise
                sides.failed[name] = str(error)
        sides.here.extend(group.joined(runs["here"]))
        if name not in sides.failed:
            sides.there.extend(group.joined(runs["there"]))
    return sides


def table(sides: Sides) -> str:
    """Return a Markdown table of the figures that both have, and what the other could not run."""
    lines = ["| benchmark | variant | figure | there | here | here / there | |", "| --- | --- | --- |" + " ---: |" * 4]
    for change in compare.changes(sides.there, sides.here):
        ratio = change.new / change.old if change.old else float("nan")
        verdict = "slower" if change.regressed else ""
        where = f"| {change.benchmark} | {change.variant} | {change.figure} |"
        lines.append(f"{where} {change.old:.3g} | {change.new:.3g} | {ratio:.2f} | {verdict} |")
    lines += [f"\n{name}: the other checkout cannot run it ({why})." for name, why in sides.failed.items()]
    return "\n".join(lines)


def regressed(sides: Sides) -> bool:
    """Tell whether a figure grew by more than a tenth and by more than the quartiles explain."""
    return any(change.regressed for change in compare.changes(sides.there, sides.here))
