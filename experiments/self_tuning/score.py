"""Scores of the self-tuning track at equal steps, from its records."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REFERENCE = ("Adam", "momentum SGD")
BUDGETS = ("quarter", "whole")
LOW, HIGH, WITHIN = 1e-6, 10.0, 1.05
LEAST = 1e-3  # of a share of wrong examples: fewer are as good as this
ERRORS = 2  # measured: beside 0, the excess training loss, and 1, that of the test data
POINTS = 32  # equal parts of a run after which it is measured
Row = dict[str, Any]
Setting = tuple[float, bool]


def read(path: Path) -> list[Row]:
    """Return the records of a file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def key(row: Row) -> tuple:
    """Return what makes a record different from others."""
    return tuple(row[name] for name in ("task", "contender", "phase", "number", "cosine", "steps"))


def mean(values: Iterable[float]) -> float:
    """Return the geometric mean."""
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values))


def clipped(values: Iterable[float | None], start: float) -> list[float]:
    """Return excesses within LOW and HIGH times the initial one; what is not finite has HIGH times it."""
    low, high = LOW * start, HIGH * start
    return [min(max(v, low), high) if v is not None and math.isfinite(v) else high for v in values]


def excesses(rows: Iterable[Row], task: str, phase: str, budget: int, measured: int = 0) -> dict[Any, float]:
    """Return {(contender, number, cosine): excess} of a task after a budget, clipped, geometric means over seeds.

    Args:
      rows: the records.
      task: its name.
      phase: "trial" or "final".
      budget: 0 for a quarter of the steps, 1 for all.
      measured: 0 for the excess training loss, 1 for that of the test data.
    """
    chosen = [row for row in rows if row["task"] == task and row["phase"] == phase]
    whole = max((row["steps"] for row in chosen), default=0)
    by_setting = {}
    for row in chosen:
        short = row["steps"] < whole
        if row["cosine"] and short != (budget == 0):
            continue  # a cosine ends with its own budget
        at = 1 if row["cosine"] else budget
        values = clipped([each[at][measured] for each in row["ends"]], row["start"])
        by_setting[row["contender"], row["number"], row["cosine"]] = mean(values)
    return by_setting


def errors(rows: Iterable[Row], task: str, budget: int) -> dict[Any, float]:
    """Return {(contender, number, cosine): share of wrong test examples} after a budget, means over seeds."""
    chosen = [row for row in rows if row["task"] == task and row["phase"] == "error"]
    whole = max((row["steps"] for row in chosen), default=0)
    by_setting = {}
    for row in chosen:
        if row["cosine"] and (row["steps"] < whole) != (budget == 0):
            continue
        ends = [each[1 if row["cosine"] else budget] for each in row["ends"]]
        share = sum(1.0 if end is None else end for end in ends) / len(ends)
        by_setting[row["contender"], row["number"], row["cosine"]] = max(LEAST, share)
    return by_setting


def trials(rows: Iterable[Row], task: str, label: str, budget: int) -> dict[Setting, float]:
    """Return {setting: excess} of a contender's trials on a task."""
    by_trial = excesses(rows, task, "trial", budget)
    return {(number, cosine): e for (contender, number, cosine), e in by_trial.items() if contender == label}


def tuned(rows: Iterable[Row], task: str, label: str, budget: int) -> Setting | None:
    """Return the setting that was best in the trials on the task itself."""
    by_trial = trials(rows, task, label, budget)
    return min(by_trial, key=lambda s: (by_trial[s], s)) if by_trial else None


def calibrated(rows: Iterable[Row], task: str, label: str, budget: int) -> Setting | None:
    """Return the setting with the best score in the trials on all other tasks."""
    rows = list(rows)
    by_setting: dict[Setting, list[float]] = {}
    for other in sorted({row["task"] for row in rows} - {task}):
        here = trials(rows, other, label, budget)
        best = min(excesses(rows, other, "trial", budget).values(), default=0.0)
        for setting, e in here.items():
            by_setting.setdefault(setting, []).append(max(1.0, e / best))
    return min(by_setting, key=lambda s: (mean(by_setting[s]), s)) if by_setting else None


def cells(rows: list[Row], defaults: dict[str, float], measured: int = 0) -> dict[tuple[str, str], dict[Any, float]]:
    """Return {(contender, column): {(task, budget): ratio to the reference}}."""
    table: dict[tuple[str, str], dict[Any, float]] = {}
    for task in dict.fromkeys(row["task"] for row in rows):
        for budget, name in enumerate(BUDGETS):
            final = (
                errors(rows, task, budget) if measured == ERRORS else excesses(rows, task, "final", budget, measured)
            )
            best = [final.get((label, *(tuned(rows, task, label, budget) or (0, False)))) for label in REFERENCE]
            reference = min((e for e in best if e is not None), default=None)
            if reference is None:
                continue
            for label, default in defaults.items():
                chosen: dict[str, Setting | None] = {"default": (default, False)}
                if any(row["contender"] == label and row["phase"] == "trial" for row in rows):
                    chosen["calibrated"] = calibrated(rows, task, label, budget)
                    chosen["tuned"] = tuned(rows, task, label, budget)
                for column, setting in chosen.items():
                    if setting is not None and (label, *setting) in final:
                        table.setdefault((label, column), {})[task, name] = final[label, *setting] / reference
    return table


def summary(ratios: Iterable[float]) -> tuple[float, float, float]:
    """Return the geometric mean of max(1, r), the worst r, and the share of cells within 5 %."""
    ratios = list(ratios)
    return mean(max(1.0, r) for r in ratios), max(ratios), sum(r <= WITHIN for r in ratios) / len(ratios)


def scores(rows: list[Row], defaults: dict[str, float], tasks: Iterable[str]) -> str:
    """Return the scores over some tasks in Markdown."""
    train, test = (_on(cells(rows, defaults, measured), tasks) for measured in (0, 1))
    order = sorted(train, key=lambda line: summary(train[line].values())[0])
    lines = ["| contender | setting | training loss | worst | within 5 % | cells | held-out loss |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for line in order:
        score, worst, share = summary(train[line].values())
        held_out = summary(test[line].values())[0]
        lines += [
            f"| {line[0]} | {line[1]} | {score:.2f} | {worst:.3g} | {share:.0%} | {len(train[line])} | {held_out:.2f} |"
        ]
    return "\n".join(lines)


def error_table(rows: list[Row], defaults: dict[str, float]) -> str:
    """Return in Markdown how the held-out errors compare, of those that ran on all tasks that have any."""
    table = cells(rows, defaults, ERRORS)
    most = max((len(row) for row in table.values()), default=0)
    table = {line: row for line, row in table.items() if len(row) == most}
    lines = ["| contender | setting | held-out error | worst | within 5 % | cells |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    for line in sorted(table, key=lambda line: summary(table[line].values())[0]):
        score, worst, share = summary(table[line].values())
        lines += [f"| {line[0]} | {line[1]} | {score:.2f} | {worst:.3g} | {share:.0%} | {len(table[line])} |"]
    return "\n".join(lines)


def _on(table: dict[Any, dict[tuple[str, str], float]], tasks: Iterable[str]) -> dict[Any, dict[Any, float]]:
    """Return the cells of some tasks; lines that have none are left out."""
    tasks = set(tasks)
    some = {line: {place: r for place, r in row.items() if place[0] in tasks} for line, row in table.items()}
    return {line: row for line, row in some.items() if row}


def each(rows: list[Row], defaults: dict[str, float]) -> str:
    """Return the cells of all defaults in Markdown, a line a contender."""
    train = {line[0]: row for line, row in cells(rows, defaults).items() if line[1] == "default"}
    order = sorted(train, key=lambda label: summary(train[label].values())[0])
    places = list(dict.fromkeys(place for label in order for place in train[label]))
    parts = []
    for start in range(0, len(order), 7):
        some = order[start : start + 7]
        lines = ["| task | budget | " + " | ".join(some) + " |", "| --- | --- |" + " ---: |" * len(some)]
        for place in places:
            row = [train[label].get(place) for label in some]
            shown = " | ".join("-" if r is None else f"{r:.3g}" for r in row)
            lines += [f"| {place[0]} | {place[1]} | {shown} |"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def attempts(rows: list[Row], label: str, task: str, budget: int, target: float) -> float:
    """Return how many trials, drawn at random without repetition, it takes on average until one reaches a target.

    Infinite where none of a contender's settings does.
    """
    by_trial = list(trials(rows, task, label, budget).values())
    good = sum(e <= target for e in by_trial)
    return (len(by_trial) + 1) / (good + 1) if good else math.inf


def price(rows: list[Row], untuned: str, default: float) -> str:
    """Return in Markdown what tuning costs until it is as good, within 5 %, as a contender that nobody tunes."""
    lines = ["| tuned | trials until as good, median | never | tasks and budgets |", "| --- | ---: | ---: | ---: |"]
    for label in REFERENCE:
        needed = []
        for task in dict.fromkeys(row["task"] for row in rows):
            for budget in range(len(BUDGETS)):
                reached = excesses(rows, task, "final", budget).get((untuned, default, False))
                if reached is not None and trials(rows, task, label, budget):
                    needed.append(attempts(rows, label, task, budget, WITHIN * reached))
        if needed:
            median, never = sorted(needed)[len(needed) // 2], sum(map(math.isinf, needed)) / len(needed)
            lines += [f"| {label} | {median:.1f} | {never:.0%} | {len(needed)} |"]
    return "\n".join(lines)


def profile(rows: list[Row], defaults: dict[str, float]) -> str:
    """Return in Markdown which share of cells each contender has within some factors of the reference."""
    factors = (1.05, 1.5, 2.0, 4.0)
    profiles = [(line, list(cell.values())) for line, cell in cells(rows, defaults).items()]
    profiles.sort(key=lambda each: summary(each[1])[0])
    lines = ["| contender | setting | " + " | ".join(f"r <= {f:g}" for f in factors) + " | cells |"]
    lines += ["| --- | --- |" + " ---: |" * (len(factors) + 1)]
    for (label, column), ratios in profiles:
        shares = (f"{sum(r <= f for r in ratios) / len(ratios):.0%}" for f in factors)
        lines += [f"| {label} | {column} | " + " | ".join(shares) + f" | {len(ratios)} |"]
    return "\n".join(lines)
