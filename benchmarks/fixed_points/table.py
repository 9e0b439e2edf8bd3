"""The measurements as Markdown: failures first, then evaluations, then seconds; and the figures that are goals."""

import math
from typing import Any

from benchmarks.fixed_points import solvers

FAILURE = 8.0  # what a failure counts in the mean of evaluations over the best
Rows = list[dict[str, Any]]


def summary(rows: Rows) -> list[dict[str, Any]]:
    """Return one line a solver, the most reliable first."""
    names = [name for name in solvers.SOLVERS if any(name in row["solvers"] for row in rows)]
    lines = []
    for name in names:
        cells = [(row, row["solvers"][name]) for row in rows if name in row["solvers"]]
        solved = [(row, cell) for row, cell in cells if cell["status"] == "solved"]
        line = {
            "solver": name,
            "given": len(cells),
            "failed": sum(cell["status"] == "failed" for _, cell in cells),
            "other": sum(cell["status"] == "other" for _, cell in cells),
        }
        if name not in solvers.UNCOUNTED:
            line["over_best"] = mean(
                [cell["maps"] / best(row) if cell in [c for _, c in solved] else FAILURE for row, cell in cells]
            )
        timed = [
            cell["seconds"] / row["solvers"][solvers.OURS]["seconds"] for row, cell in solved if _both_timed(row, cell)
        ]
        if timed:
            line["seconds"] = mean(timed)
        lines.append(line)
    return sorted(lines, key=lambda line: (line["failed"] + line["other"], line.get("over_best", math.inf)))


def _both_timed(row: dict[str, Any], cell: dict[str, Any]) -> bool:
    return "seconds" in cell and "seconds" in row["solvers"][solvers.OURS]


def best(row: dict[str, Any]) -> float:
    """Return the fewest evaluations with which any solver came to the right point."""
    cells = row["solvers"].items()
    return min(c["maps"] for name, c in cells if c["status"] == "solved" and name not in solvers.UNCOUNTED)


def mean(values: list[float]) -> float:
    """Return the geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def against(rows: Rows, other: str, what: str) -> float:
    """Return the mean ratio of ours to another solver's evaluations or seconds, where both solve."""
    pairs = [(row["solvers"][solvers.OURS], row["solvers"].get(other, {"status": "failed"})) for row in rows]
    return mean(
        [a[what] / b[what] for a, b in pairs if a["status"] == b["status"] == "solved" and what in a and what in b]
    )


def over_jaxopt(rows: Rows) -> str:
    """Return a sentence: our evaluations over jaxopt's, and the least that a choice among all solvers would give."""
    both = [row for row in rows if {_status(row, solvers.OURS), _status(row, "jaxopt")} == {"solved"}]
    if not both:
        return ""
    least = mean([best(row) / row["solvers"]["jaxopt"]["maps"] for row in both])
    return (
        f"On the {len(both)} maps that jaxopt solves, too, anderson takes {against(both, 'jaxopt', 'maps'):.3f} of\n"
        "its evaluations. Whoever knew beforehand which of these solvers takes the fewest on each map would take\n"
        f"{least:.3f}."
    )


def _status(row: dict[str, Any], name: str) -> str:
    return row["solvers"].get(name, {"status": "not given"})["status"]


def failures_alone(rows: Rows) -> list[str]:
    """Return the maps that ours does not solve and another solver does."""
    lost = []
    for row in rows:
        cells = row["solvers"]
        others = [name for name, cell in cells.items() if name != solvers.OURS and cell["status"] == "solved"]
        if cells[solvers.OURS]["status"] != "solved" and others:
            lost.append(f"{row['map']} ({', '.join(others)})")
    return lost


def goals(double: Rows, single: Rows, costs: Rows) -> list[list[str]]:
    """Return what was to be reached, what was, and whether."""
    ours = next(line for line in summary(double) if line["solver"] == solvers.OURS)
    solved = {row["map"] for row in double if row["solvers"][solvers.OURS]["status"] == "solved"}
    short = [r["map"] for r in single if r["map"] in solved and r["solvers"][solvers.OURS]["status"] != "solved"]
    lines = [
        _line("evaluations over the best of all solvers, geometric mean", ours["over_best"], 1.20),
        ["maps that another solver solves and this does not", ", ".join(failures_alone(double)) or "none", "none",
         _met(not failures_alone(double))],
        _line("evaluations over jaxopt's, where it succeeds", against(double, "jaxopt", "maps"), 0.09),
        _line("compiled seconds over jaxopt's there", against(double, "jaxopt", "seconds"), 0.12),
        _line("compiled seconds over textbook Anderson's", against(double, "textbook Anderson", "seconds"), 0.75),
        ["maps that float64 solves to 1e-8 and float32 not to 1e-5", ", ".join(short) or "none", "only gradient_1e6",
         _met(set(short) <= {"gradient_1e6"})],
    ]  # fmt: skip
    for row in costs:
        if "floor" in row:
            lines.append(
                [row["what"], f"{row['value']:.2g}", f">= {row['floor']:g}", _met(row["value"] >= row["floor"])]
            )
        else:
            lines.append(_line(row["what"], row["value"], row["goal"]))
    return lines


def _line(what: str, value: float, goal: float) -> list[str]:
    return [what, f"{value:.2g}" if value < 0.1 else f"{value:.2f}", f"<= {goal:g}", _met(value <= goal)]


def _met(met: bool) -> str:
    return "yes" if met else "no"


def markdown(head: list[str], rows: list[list[str]], left: int = 1) -> str:
    """Return a table; the first columns are words, the others numbers."""
    rule = [" --- "] * left + [" ---: "] * (len(head) - left)
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(rule)}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def of_solvers(rows: Rows) -> str:
    """Return the table of solvers."""
    head = ["solver", "maps given", "failed", "another point", "evaluations over the best", "seconds over anderson's"]
    cells = [
        [
            line["solver"],
            str(line["given"]),
            str(line["failed"]),
            str(line["other"]),
            f"{line['over_best']:.2f}" if "over_best" in line else "",
            f"{line['seconds']:.2f}" if "seconds" in line else "",
        ]
        for line in summary(rows)
    ]
    return markdown(head, cells)


def of_maps(rows: Rows) -> str:
    """Return the table of evaluations, one row a map; F failed, o another fixed point."""
    names = [n for n in solvers.SOLVERS if n not in solvers.UNCOUNTED and any(n in row["solvers"] for row in rows)]

    def cell(row, name):
        measured = row["solvers"].get(name)
        if measured is None:
            return ""
        return {"failed": "F", "other": "o"}.get(measured["status"]) or str(measured["maps"])

    body = [[row["map"], str(row["unknowns"]), *(cell(row, name) for name in names)] for row in rows]
    return markdown(["map", "unknowns", *names], body)
