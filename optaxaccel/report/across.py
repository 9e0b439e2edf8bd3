"""Across experiments: ranks of the contenders that several plans share, and what not tuning costs on them."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from optaxaccel.report import tables
from optaxaccel.report.grouping import by_label, groups
from optaxaccel.report.published import calls_to
from optaxaccel.report.tables import Estimate, Table, estimate
from optaxaccel.training.keeping.records import Record

EQUAL = 1e-6  # relative; trajectories that differ by less, which is rounding, are one


class Problem(NamedTuple):
    """One of several problems.

    Attributes:
      records: its runs: "tune", "score" and "default" ones on validation images, "final" ones on test images.
      by: what it ranks by.
      target: a training loss; where it is given, runs are scored by the oracle calls that they take to it.
    """

    records: Sequence[Record]
    by: str
    target: float | None = None


Problems = Mapping[str, Problem]  # by the experiment's name

# --- Ranks ------------------------------------------------------------------------------------------------------------


def ranks(problems: Problems) -> Table:
    """Return the rank of every contender on every problem: a mean over seeds; and its mean ± error over the problems.

    Ranks are taken among the runs of one seed; equal outcomes share their mean rank. A run that diverged or failed is
    behind all others. Contenders whose trajectories are the same everywhere share a row, and count as one.
    """
    alike = _alike(problems)
    by_problem = {name: _ranks(problem, set(alike)) for name, problem in problems.items()}
    rows = []
    for label, names in alike.items():
        each = [by_problem[name].get(label, []) for name in problems]
        overall = estimate(estimate(values).mean for values in each) if all(each) else estimate([])
        texts = [estimate(values).show(1) for values in each]
        rows.append((overall.mean, [", ".join(names), *texts, overall.show(1)]))
    rows.sort(key=lambda row: (math.isnan(row[0]), row[0]))
    title = "Rank of the tuned methods among all, by test accuracy (convex problems: training loss), 1 is best"
    note = (
        "On a problem: mean ± standard error over seeds. Mean rank: ± standard error over the problems. Methods that "
    )
    note += "made the same steps everywhere share a row."
    return Table(title, ("method", *problems, "mean rank"), [row for _, row in rows], tables.WORDS, note)


def _ranks(problem: Problem, labels: set[str]) -> dict[str, list[float]]:
    """Return each label's ranks among `labels`, a seed each; equal outcomes share their mean rank."""
    seeds: dict[int, dict[str, float]] = {}
    for group in groups(problem.records):
        if group.label in labels:
            for record in group.members:
                outcome = tables.outcome(record, problem.by)
                seeds.setdefault(record.start["spec"]["seed"], {})[group.label] = outcome
    result: dict[str, list[float]] = {}
    for outcomes in seeds.values():
        for label, value in outcomes.items():
            below = sum(other < value for other in outcomes.values())
            equal = sum(other == value for other in outcomes.values())
            result.setdefault(label, []).append(below + (equal + 1) / 2)
    return result


def _alike(problems: Problems) -> dict[str, list[str]]:
    """Return the labels by the first one that made the same steps on all problems."""
    runs: dict[str, dict[tuple, Record]] = {}
    for name, problem in problems.items():
        for group in groups(problem.records):
            for record in group.members:
                runs.setdefault(group.label, {})[name, record.start["spec"]["seed"]] = record
    result: dict[str, list[str]] = {}
    for label, own in runs.items():
        first = next((other for other in result if _same(own, runs[other])), label)
        result.setdefault(first, []).append(label)
    return result


def _same(a: Mapping[tuple, Record], b: Mapping[tuple, Record]) -> bool:
    return a.keys() == b.keys() and all(_same_steps(a[key], b[key]) for key in a)


def _same_steps(a: Record, b: Record) -> bool:
    """Return whether two runs made the same steps, by all that was measured on the way."""
    if a.status != b.status or len(a.rows) != len(b.rows):
        return False
    pairs = zip(a.rows, b.rows, strict=True)
    return all(r["step"] == s["step"] and _near(r["loss"], s["loss"]) for r, s in pairs)


def _near(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=EQUAL))


# --- Not tuning -------------------------------------------------------------------------------------------------------


def not_tuning(problems: Problems) -> Table:
    """Return what each method reaches at its defaults, at one setting calibrated on other problems, and tuned.

    The one setting for a problem is the one that did best on all the OTHERS, of those tried on every problem, and the
    tuned one the one that did best on the problem itself, both in runs with one seed; what is scored are runs with
    another seed. A score is the factor by which the outcome (share of errors on validation images, or training loss, or
    oracle calls to a target) exceeds that of the best tuned method; over the problems the geometric mean is taken.
    """
    chosen = {name: _outcomes(problem, "tune") for name, problem in problems.items()}
    scored = {name: _outcomes(problem, "score") for name, problem in problems.items()}
    default = {name: _outcomes(problem, "default") for name, problem in problems.items()}
    labels = [label for label in next(iter(chosen.values())) if all(label in chosen[name] for name in problems)]
    tuned = {name: {label: scored[name][label][_least(chosen[name][label])] for label in labels} for name in problems}
    best = {name: min(tuned[name].values()) for name in problems}
    if any(value <= 0 for value in best.values()):
        raise ValueError(f"A best outcome of 0 leaves no factor: {best}. Score that problem by a target.")
    rows = []
    for label in labels:
        one = {name: scored[name][label].get(_calibrated(chosen, label, name), math.nan) for name in problems}
        plain = [next(iter(default[name].get(label, {}).values()), math.nan) / best[name] for name in problems]
        factors = [one[name] / best[name] for name in problems]
        own = [tuned[name][label] / best[name] for name in problems]
        worst = max(zip(factors, problems, strict=True))
        texts = [_mean(plain), _mean(factors), _mean(own), f"{worst[0]:.2f} ({worst[1]})"]
        rows.append((estimate(map(math.log, factors)).mean, [label, *texts]))
    title = "Not tuning: the outcome as a factor over that of the best tuned method"
    columns = ("method", "at its defaults", "one setting, from the other problems", "tuned for each", "worst problem")
    note = (
        f"Geometric means over {', '.join(problems)}; behind */ the factor that is one standard error over them. "
        "A dash: the package has no default for the learning rate. A run that diverged or failed counts as the worst "
        "that did not; one that never came to its target as having come there with its last step. Worst problem: of "
        "the one setting."
    )
    return Table(title, columns, [row for _, row in sorted(rows, key=lambda row: row[0])], tables.WORDS, note)


def _outcomes(problem: Problem, phase: str) -> dict[str, dict[str, float]]:
    """Return the outcome of every setting of every contender in the runs of a phase, one seed each."""
    everything = [r for r in problem.records if r.start["phase"] in ("tune", "score", "default")]
    worst = max((v for r in everything if (v := _score(r, problem)) < math.inf), default=math.inf)
    varied = {
        label: _varied([r for r in everything if r.start["label"] == label and r.start["phase"] != "default"])
        for label in by_label(problem.records, phase)
    }
    return {
        label: {_key(r, varied[label]): min(worst, _score(r, problem)) for r in members}
        for label, members in by_label(problem.records, phase).items()
    }


def _varied(members: Sequence[Record]) -> list[str]:
    """Return the hyperparameters that tuning varies; what else is set belongs to the kind of problem, noisy or not."""
    args = [record.start["spec"]["method_args"] for record in members]
    names = dict.fromkeys(name for one in args for name in one)
    return [name for name in names if any(one.get(name) != args[0].get(name) for one in args[1:])]


def _key(record: Record, names: Sequence[str]) -> str:
    return json.dumps([record.start["spec"]["method_args"].get(name) for name in names])


def _score(record: Record, problem: Problem) -> float:
    if problem.target is None or record.status != "done":
        return tables.outcome(record, problem.by)
    return calls_to(record, problem.target) or tables.calls(record.rows[-1])


def _least(settings: Mapping[str, float]) -> str:
    """Return the best setting; of equals the one with the smaller values."""
    return min(settings, key=lambda key: (settings[key], json.loads(key)))


def _calibrated(chosen: Mapping[str, Mapping[str, Mapping[str, float]]], label: str, left_out: str) -> str:
    """Return the setting whose outcomes on all problems but one have the least product; scales do not matter then."""
    others = [chosen[name][label] for name in chosen if name != left_out]
    shared = [key for key in others[0] if all(key in problem[label] for problem in chosen.values())]
    return _least({key: math.fsum(math.log(settings[key]) for settings in others) for key in shared})


def _mean(factors: Sequence[float]) -> str:
    """Return a geometric mean and the factor of its standard error."""
    if any(math.isnan(factor) for factor in factors):
        return "-"
    mean, error, n = estimate(math.log(factor) for factor in factors)
    wide = f" */ {math.exp(error):.2f}" if error is not None else ""
    return Estimate(math.exp(mean), None, n).show(2) + wide
