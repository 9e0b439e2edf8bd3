"""`python -m benchmarks.compare OLD NEW`: flag what became slower from one result file to another.

A row is compared by its ratio where it has one, since milliseconds of two days of a shared machine say little; by its
count, share or seconds otherwise. The exit status is 1 if anything grew by more than the tolerance and by more than
the quartiles of the two files explain.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

TOLERANCE = 0.10
JUDGED = ("ratio", "count", "share %", "seconds", "MB", "compile s")
LEAST = {"share %": 0.5, "seconds": 0.1, "MB": 5.0, "compile s": 0.2}  # growth that counts of figures without quartiles


class Change(NamedTuple):
    """One figure in both files."""

    benchmark: str
    variant: str
    figure: str
    old: float
    new: float
    regressed: bool


def changes(old: list[dict], new: list[dict], tolerance: float = TOLERANCE) -> list[Change]:
    """Return the figures that both files have, in the order of the new one.

    >>> a = [{"benchmark": "b", "variant": "v", "ratio": 1.0, "quartiles": [0.9, 1.1]}]
    >>> [c.regressed for c in changes(a, [dict(a[0], ratio=1.3, quartiles=[1.2, 1.4])])]
    [True]
    >>> [c.regressed for c in changes(a, [dict(a[0], ratio=1.3, quartiles=[1.0, 1.4])])]
    [False]
    >>> a = [{"benchmark": "b", "variant": "v", "seconds": 0.01}]
    >>> [changes(a, [dict(a[0], seconds=s)])[0].regressed for s in (0.05, 0.2)]
    [False, True]
    """
    before = {(row["benchmark"], row["variant"]): row for row in old}
    differences = []
    for row in new:
        other = before.get((row["benchmark"], row["variant"]))
        figure = next((name for name in JUDGED if row.get(name) is not None), None)
        if other is None or figure is None or other.get(figure) is None:
            continue
        apart = row.get("quartiles") is None or row["quartiles"][0] > (other.get("quartiles") or [0, 0])[1]
        grown = row[figure] > (1 + tolerance) * other[figure] and row[figure] - other[figure] > LEAST.get(figure, 0.0)
        differences.append(
            Change(row["benchmark"], row["variant"], figure, other[figure], row[figure], grown and apart)
        )
    return differences


def main() -> None:
    """Compare two files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="growth that counts, 0.1 by default")
    options = parser.parse_args()
    old, new = (json.loads(path.read_text()) for path in (options.old, options.new))
    machines = [file["provenance"]["machine"] + ", " + file["provenance"]["device"] for file in (old, new)]
    if machines[0] != machines[1]:
        print(f"note: two machines, {machines[0]} and {machines[1]}: only ratios mean anything")
    differences = changes(old["rows"], new["rows"], options.tolerance)
    slower = [change for change in differences if change.regressed]
    for change in slower:
        where = f"{change.benchmark} / {change.variant}"
        print(f"slower  {where}: {change.figure} {change.old:.3g} before, {change.new:.3g} now")
    print(
        f"{len(differences)} figures in both files, {len(slower)} slower by more than {100 * options.tolerance:.0f} %"
    )
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
