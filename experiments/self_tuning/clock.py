"""Scores of the self-tuning track by the clock: at equal seconds, and the time to a target.

A run's curve holds its excess (geometric mean over the seeds) after k / POINTS of its steps; between two places its
logarithm is interpolated. Only contenders that are measured along one run take part: those at their defaults.
"""

import math

from score import BUDGETS, POINTS, REFERENCE, WITHIN, Row, excesses, summary, tuned

SHARES = (0.25, 1.0)  # of the steps, for each budget
FACTORS = (0.5, 1.0, 2.0, 4.0)


def step_times(rows: list[Row], task: str) -> dict[str, float]:
    """Return {contender: processor time of a step in microseconds}."""
    return {row["contender"]: row["microseconds"] for row in rows if row["phase"] == "time" and row["task"] == task}


def curves(rows: list[Row], task: str, defaults: dict[str, float]) -> dict[str, list[float]]:
    """Return {contender: excess after each part of the steps} at the contender's default."""
    measured = [row for row in rows if row["task"] == task and row["phase"] == "final" and "curve" in row]
    plain = [row for row in measured if not row["cosine"] and row["number"] == defaults.get(row["contender"])]
    return {row["contender"]: row["curve"] for row in plain}


def at(curve: list[float], share: float) -> float:
    """Return the excess after a share of the steps, at most all.

    Example:
      >>> round(at([1.0, 0.1] + [0.01] * 31, 0.5 / 32), 4)
      0.3162
    """
    place = min(max(share, 0.0), 1.0) * POINTS
    low = min(int(place), POINTS - 1)
    logs = math.log(curve[low]), math.log(curve[low + 1])
    return math.exp(logs[0] + (place - low) * (logs[1] - logs[0]))


def reached(curve: list[float], target: float) -> float:
    """Return the share of the steps after which the excess is at most `target` for the first time; infinite if never.

    Example:
      >>> round(32 * reached([1.0, 0.1] + [0.01] * 31, 0.1 ** 0.5), 4), reached([1.0] * 33, 0.1)
      (0.5, inf)
    """
    for place, value in enumerate(curve):
        if value <= target:
            if place == 0:
                return 0.0
            before = curve[place - 1]
            part = math.log(before / target) / math.log(before / value) if before > value else 1.0
            return (place - 1 + part) / POINTS
    return math.inf


def reference(rows: list[Row], task: str, budget: int) -> tuple[str, float] | None:
    """Return the name and the excess of the best tuned one of `REFERENCE`."""
    final = excesses(rows, task, "final", budget)
    both = {label: (label, *(tuned(rows, task, label, budget) or (0, False))) for label in REFERENCE}
    known = {label: final[setting] for label, setting in both.items() if setting in final}
    return min(known.items(), key=lambda pair: pair[1]) if known else None


def equal_seconds(rows: list[Row], defaults: dict[str, float]) -> dict[str, dict[tuple[str, str], float]]:
    """Return {contender: {(task, budget): ratio}} where each has had the seconds of the reference."""
    table: dict[str, dict[tuple[str, str], float]] = {}
    for task in dict.fromkeys(row["task"] for row in rows):
        times = step_times(rows, task)
        for budget, name in enumerate(BUDGETS):
            best = reference(rows, task, budget)
            if best is None:
                continue
            for label, curve in curves(rows, task, defaults).items():
                if label in times:
                    share = SHARES[budget] * times[best[0]] / times[label]
                    table.setdefault(label, {})[task, name] = at(curve, share) / best[1]
    return table


def times_to_target(rows: list[Row], defaults: dict[str, float]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return {contender: {task: (steps, seconds)}} to the target, over those of the reference for the short budget."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for task in dict.fromkeys(row["task"] for row in rows):
        times, best = step_times(rows, task), reference(rows, task, 0)
        if best is None:
            continue
        for label, curve in curves(rows, task, defaults).items():
            if label in times:
                steps = reached(curve, WITHIN * best[1]) / SHARES[0]
                table.setdefault(label, {})[task] = steps, steps * times[label] / times[best[0]]
    return table


def seconds_table(rows: list[Row], defaults: dict[str, float]) -> str:
    """Return in Markdown the scores at equal seconds, and how much longer than Adam's a step takes."""
    lines = ["| contender | training loss | worst | within 5 % | cells | step over Adam's |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    table = equal_seconds(rows, defaults)
    for label in sorted(table, key=lambda label: summary(table[label].values())[0]):
        score, worst, share = summary(table[label].values())
        lines += [f"| {label} | {score:.2f} | {worst:.3g} | {share:.0%} | {len(table[label])} | {over(rows, label)} |"]
    return "\n".join(lines)


def over(rows: list[Row], label: str) -> str:
    """Return the median over tasks, and the range, of a step's time over Adam's."""
    ratios = []
    for task in dict.fromkeys(row["task"] for row in rows):
        times = step_times(rows, task)
        if label in times:
            ratios.append(times[label] / times["Adam"])
    ratios.sort()
    return f"{ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def target_table(rows: list[Row], defaults: dict[str, float]) -> str:
    """Return in Markdown which share of tasks each contender brings to the target within some factors of the time."""
    lines = ["| contender | " + " | ".join(f"{f:g} x steps" for f in FACTORS)]
    lines[0] += " | " + " | ".join(f"{f:g} x seconds" for f in FACTORS) + " | tasks |"
    lines += ["| --- |" + " ---: |" * (2 * len(FACTORS) + 1)]
    table = times_to_target(rows, defaults)

    def shares(label: str, which: int) -> list[float]:
        taken = [both[which] for both in table[label].values()]
        return [sum(t <= factor for t in taken) / len(taken) for factor in FACTORS]

    for label in sorted(table, key=lambda label: [-s for s in shares(label, 0)[::-1]]):
        cells = [f"{share:.0%}" for which in (0, 1) for share in shares(label, which)]
        lines += [f"| {label} | " + " | ".join(cells) + f" | {len(table[label])} |"]
    return "\n".join(lines)
