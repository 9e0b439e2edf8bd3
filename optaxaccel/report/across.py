"""Across experiments: ranks of the contenders that several plans share, and what a user who tunes nothing would get."""

import json
import math
from collections.abc import Mapping, Sequence

from optaxaccel.report import tables
from optaxaccel.report.tables import Table, estimate
from optaxaccel.training.keeping.records import Record

Found = Mapping[str, tuple[Sequence[Record], str]]  # experiment -> (its records, what it ranks by)
LEAST = {"accuracy": 0.01}  # a share of errors below which differences count no more: a few images
LEAST_LOSS = 1e-3  # likewise for a loss
CHANCE = 10.0  # what a run that diverged counts as, as a multiple of the worst that did not


def ranks(found: Found) -> Table:
    """Return the rank of every contender on every problem, paired by seed: mean ± standard error over the seeds."""
    by_problem = {name: _ranks(records, by) for name, (records, by) in found.items()}
    labels = list(dict.fromkeys(label for result in by_problem.values() for label in result))
    rows = []
    for label in labels:
        each = [by_problem[name].get(label, []) for name in found]
        everywhere = estimate(value for values in each for value in values) if all(each) else estimate([])
        rows.append((everywhere.mean, [label, *(estimate(v).show(1) for v in each), everywhere.show(1)]))
    rows.sort(key=lambda row: (math.isnan(row[0]), row[0]))
    title = "Rank of the tuned methods among all, by test accuracy (convex problems: training loss), 1 is best"
    return Table(title, ("method", *found, "mean rank"), [row for _, row in rows], tables.WORDS)


def _ranks(records: Sequence[Record], by: str) -> dict[str, list[float]]:
    """Return each label's ranks, a seed each; equal outcomes share their mean rank."""
    seeds: dict[int, dict[str, float]] = {}
    for label, members in tables.group(records).items():
        for record in members:
            seeds.setdefault(record.start["spec"]["seed"], {})[label] = tables.outcome(record, by)
    result: dict[str, list[float]] = {}
    for outcomes in seeds.values():
        for label, value in outcomes.items():
            below = sum(other < value for other in outcomes.values())
            equal = sum(other == value for other in outcomes.values())
            result.setdefault(label, []).append(below + (equal + 1) / 2)
    return result


def tuning_free(found: Found) -> Table:
    """Return, for each method, the one setting that does best over all problems, and what not tuning costs.

    A problem's outcome is the share of errors on validation images (convex problems: the training loss). The cost of a
    setting is the factor by which its outcome exceeds the best that any method reached there after tuning; over the
    problems the geometric mean is taken.
    """
    outcomes = {name: _tuned(records, by) for name, (records, by) in found.items()}
    labels = list(dict.fromkeys(label for result in outcomes.values() for label in result))
    best = {name: min(min(settings.values()) for settings in result.values()) for name, result in outcomes.items()}
    rows = []
    for label in labels:
        common = [set(outcomes[name].get(label, {})) for name in found]
        shared = sorted(set.intersection(*common))
        if not shared:
            continue
        factors = {key: [outcomes[name][label][key] / best[name] for name in found] for key in shared}
        key = min(shared, key=lambda k: _mean(factors[k]))
        tuned = [min(outcomes[name][label].values()) / best[name] for name in found]
        loss = _mean(factors[key]) / _mean(tuned)
        text = ", ".join(f"{k}={v}" for k, v in json.loads(key).items())
        numbers = [f"{_mean(factors[key]):.2f}", f"{_mean(tuned):.2f}", f"{loss:.2f}", f"{max(factors[key]):.2f}"]
        rows.append((_mean(factors[key]), [label, *numbers, text]))
    title = "Tuning-free score: one setting for all problems, as a factor over the best outcome of any tuned method"
    columns = ("method", "one setting", "tuned for each", "cost of not tuning", "worst problem", "setting")
    note = f"Geometric means over {', '.join(found)}. "
    note += f"A run that diverged counts as {CHANCE:g} times the worst that did not."
    return Table(title, columns, [row for _, row in sorted(rows, key=lambda row: row[0])], tables.WORDS, note)


def _tuned(records: Sequence[Record], by: str) -> dict[str, dict[str, float]]:
    """Return the outcome of every setting of every contender in tuning."""
    raw = {
        label: {json.dumps(r.start["spec"]["method_args"], sort_keys=True): tables.outcome(r, by) for r in members}
        for label, members in tables.group(records, "tune").items()
    }
    finite = [v for settings in raw.values() for v in settings.values() if v < math.inf]
    worst = CHANCE * max(finite, default=1.0)
    return {
        label: {k: max(LEAST.get(by, LEAST_LOSS), v) if v < math.inf else worst for k, v in settings.items()}
        for label, settings in raw.items()
    }


def _mean(values: Sequence[float]) -> float:
    """Return the geometric mean."""
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))
