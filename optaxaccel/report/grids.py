"""Tables of grids: every setting of every contender, over its seeds."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from optaxaccel.report.grouping import Group, groups, marked
from optaxaccel.report.published import mean_log_loss
from optaxaccel.report.tables import WORDS, Estimate, Table, estimate, note_on, outcome, rank_key, ranked_by
from optaxaccel.training.keeping.records import Record


class Setting(NamedTuple):
    """One setting's runs, over its seeds.

    Attributes:
      group: its contender, hyperparameters and records.
      value: the mean of what settings are ranked by; infinite as soon as one seed diverged or failed.
      spread: the same as an estimate over the seeds that did not.
      log_loss: mean over the run of log10 of the training loss.
    """

    group: Group
    value: float
    spread: Estimate
    log_loss: Estimate


def settings(records: Sequence[Record], by: str) -> dict[str, list[Setting]]:
    """Return every contender's settings, best first."""
    result: dict[str, list[Setting]] = {}
    by = ranked_by(records, by)
    for group in groups(records, "grid"):
        values = [outcome(record, by) for record in group.members]
        finite = [value for value in values if value < math.inf]
        logs = estimate(mean_log_loss(record) for record in group.done)
        mean = math.fsum(values) / len(values) if len(finite) == len(values) else math.inf
        result.setdefault(group.label, []).append(Setting(group, mean, estimate(finite), logs))
    return {label: sorted(members, key=lambda s: rank_key(s.group, s.value)) for label, members in result.items()}


def grid(records: Sequence[Record], by: str) -> Table:
    """Return one line a contender: its best setting, its rank among all, and the distribution over its settings."""
    by = ranked_by(records, by)
    by_label = settings(records, by)
    ranked = sorted(s.value for members in by_label.values() for s in members)
    columns = ["method", "settings", "best", "rank", "best quarter", "median", "quartiles", "mean log10 loss", "n"]
    columns += ["failed runs", "setting"]
    rows = []
    for label, members in sorted(by_label.items(), key=lambda item: item[1][0].value):
        values = [s.value for s in members]
        best, low, middle, high = members[0], *_quartiles(values)
        quarter = statistics.median(values[: -(-len(values) // 4)])
        failed = sum(sum(s.group.lost.values()) for s in members)
        runs = sum(len(s.group.members) for s in members)
        texts = (_number(quarter), _number(middle), f"{_number(low)} to {_number(high)}")
        rank = str(1 + ranked.index(best.value))
        rows.append([label, str(len(members)), best.spread.show(4), rank, *texts, best.log_loss.show(2)])
        rows[-1] += [best.group.count(), f"{failed} of {runs}"]
        tried = [record for s in members for record in s.group.members]
        rows[-1].append(marked(best.group.setting, best.group.members[0].start["spec"], tried))
    what = {"accuracy": "error", "loss": "held-out loss"}.get(by, by)
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
