"""Tables of grids: every setting of every contender, over its seeds."""

import json
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from optaxaccel.report.published import mean_log_loss
from optaxaccel.report.tables import WORDS, Estimate, Table, estimate, group, note_on, outcome, setting
from optaxaccel.training.keeping.records import Record


class Setting(NamedTuple):
    """One setting's runs, over its seeds.

    Attributes:
      label: its contender.
      text: its hyperparameters.
      members: its records.
      value: the mean of what settings are ranked by; infinite as soon as one seed diverged.
      spread: the same as an estimate over the seeds that did not.
      log_loss: mean over the run of log10 of the training loss.
    """

    label: str
    text: str
    members: list[Record]
    value: float
    spread: Estimate
    log_loss: Estimate


def settings(records: Sequence[Record], by: str) -> dict[str, list[Setting]]:
    """Return every contender's settings, best first."""
    result = {}
    for label, members in group(records, "grid").items():
        seeds: dict[str, list[Record]] = {}
        for record in members:
            spec = record.start["spec"]
            varied = [spec[name] for name in ("method", "method_args", "schedule", "extrapolate", "model_args")]
            seeds.setdefault(json.dumps(varied, sort_keys=True), []).append(record)
        found = []
        for runs in seeds.values():
            values = [outcome(record, by) for record in runs]
            finite = [value for value in values if value < math.inf]
            logs = estimate(mean_log_loss(r) for r in runs if r.status == "done")
            mean = math.fsum(values) / len(values) if len(finite) == len(values) else math.inf
            found.append(Setting(label, setting(runs[0].start["spec"]), runs, mean, estimate(finite), logs))
        result[label] = sorted(found, key=lambda s: s.value)
    return result


def grid(records: Sequence[Record], by: str) -> Table:
    """Return one line a contender: its best setting, its rank among all, and the distribution over its settings."""
    found = settings(records, by)
    ranked = sorted(s.value for members in found.values() for s in members)
    columns = ["method", "settings", "best", "rank", "best quarter", "median", "quartiles", "mean log10 loss", "n"]
    columns += ["failed runs", "setting"]
    rows = []
    for label, members in sorted(found.items(), key=lambda item: item[1][0].value):
        values = [s.value for s in members]
        best, low, middle, high = members[0], *_quartiles(values)
        quarter = statistics.median(values[: -(-len(values) // 4)])
        failed = sum(record.status != "done" for s in members for record in s.members)
        runs = sum(len(s.members) for s in members)
        texts = (_number(quarter), _number(middle), f"{_number(low)} to {_number(high)}")
        rank = str(1 + ranked.index(best.value))
        rows.append([label, str(len(members)), best.spread.show(4), rank, *texts, best.log_loss.show(2)])
        rows[-1] += [str(best.spread.n), f"{failed} of {runs}", best.text]
    what = {"accuracy": "error"}.get(by, by)
    spec = records[0].start["spec"]
    title = f"{spec['model']} on {spec['data']}: {what} of every setting, mean over its seeds (best: ± standard error)"
    note = "A setting of which one seed or more diverged counts as infinite in median and quartiles. "
    note += "Rank: of a contender's best among all settings of all contenders. Best quarter: its median."
    return Table(title, columns, rows, WORDS, f"{note} {note_on(records)}".strip())


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the quartiles; an order statistic each, since an infinite value cannot be averaged with another."""
    ordered = sorted(values)
    low, middle, high = (ordered[min(len(ordered) - 1, len(ordered) * k // 4)] for k in (1, 2, 3))
    return low, middle, high


def _number(value: float) -> str:
    return "diverged" if math.isinf(value) else Estimate(value, None, 1).show(4)
