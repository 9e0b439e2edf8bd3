"""Tables: one line a contender, from records alone; mean and standard error over runs, best first."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from optaxaccel.report.grouping import Group, beside_what_differs, by_label, groups, marked, once, problems
from optaxaccel.training.keeping.records import Record


class Table(NamedTuple):
    """A table as texts.

    Attributes:
      title: what it shows.
      columns: the head.
      rows: the lines.
      left: names of the columns that are words.
      note: a line below.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[str] = ()
    note: str = ""

    def markdown(self) -> str:
        """Return the table in Markdown, with its title above and its note below."""
        rule = ["---" if column in self.left else "---:" for column in self.columns]
        texts = [[cell.replace("|", r"\|") for cell in cells] for cells in (self.columns, rule, *self.rows)]
        lines = [f"| {' | '.join(cells)} |" for cells in texts]
        return "\n".join([f"{self.title}.", "", *lines, *(["", self.note] if self.note else [])])


def beside(table: Table, heading: str, texts: Mapping[str, str]) -> Table:
    """Return a table with one more column, after that of the methods; without texts the table itself."""
    if not texts:
        return table
    at = list(table.columns).index("method") + 1
    rows = [[*row[:at], texts.get(row[at - 1], "-"), *row[at:]] for row in table.rows]
    return table._replace(columns=[*table.columns[:at], heading, *table.columns[at:]], rows=rows)


class Estimate(NamedTuple):
    """Mean, standard error of the mean (None for one value) and number of values."""

    mean: float
    error: float | None
    n: int

    def show(self, digits: int = 4, scale: float = 1.0) -> str:
        """Return "mean ± error"; what would be all zeros is written with an exponent."""
        if self.n == 0:
            return "-"
        least = 10.0**-digits if digits < 3 else 10.0 ** (1 - digits)  # of a loss two digits should be left
        if 0 < abs(scale * self.mean) < least:
            return f"{scale * self.mean:.1e}" + ("" if self.error is None else f" ± {scale * self.error:.0e}")
        text = f"{scale * self.mean:.{digits}f}"
        return text if self.error is None else f"{text} ± {scale * self.error:.{digits}f}"


def estimate(values: Iterable[float]) -> Estimate:
    """Return mean, standard error and n.

    >>> estimate([1.0, 5.0])
    Estimate(mean=3.0, error=2.0, n=2)
    """
    values = [value for value in values if isinstance(value, (int, float))]  # records write nan as a text
    n = len(values)
    if n == 0:
        return Estimate(math.nan, None, 0)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)  # statistics.stdev fails at an infinite one
    return Estimate(mean, math.sqrt(variance / n), n)


# --- Contenders with final runs ---------------------------------------------------------------------------------------


class Line(NamedTuple):
    """One contender's results: at the end, and the best accuracy on the way with and without extrapolation."""

    name: str
    group: Group
    accuracy: Estimate
    loss: Estimate
    train_loss: Estimate
    seconds: Estimate
    best: Estimate
    extrapolated: Estimate
    epochs: float
    calls: float
    split: str


RANKING: Mapping[str, Callable[[Line], float]] = {
    "accuracy": lambda line: -line.accuracy.mean,
    "loss": lambda line: line.loss.mean,
    "train loss": lambda line: line.train_loss.mean,
}


def calls(row: Mapping[str, Any]) -> float:
    """Return oracle calls: losses, gradients and Hessian products, each counted once."""
    return row["value_calls"] + row["grad_calls"] + row["hvp_calls"]


def at_end(record: Record, by: str) -> Mapping[str, Any]:
    """Return the row that a run is ranked by: its last evaluation, of held-out or of training images."""
    return record.last("train_eval" if by == "train loss" else "eval")


def ranked_by(records: Iterable[Record], by: str) -> str:
    """Return what a table can be ranked by: held-out loss where a run that ended never evaluated its training loss.

    Means over minibatches are no substitute: they are of other parameters and images in every run.
    """
    done = [record for record in records if record.status == "done"]
    finals = [record for record in done if record.start["phase"] != "tune"]
    measured = all(record.last("train_eval") for record in finals or done)
    return "loss" if by == "train loss" and not measured else by


def lines(records: Sequence[Record], by: str = "accuracy") -> list[Line]:
    """Return one line a setting, ranked; runs that were lost are counted, not averaged.

    A contender with a run that diverged or failed is behind all without: the more were lost, the further.
    """
    result = []
    by = ranked_by(records, by)
    for group in groups(records):
        done = group.done
        finals = [record.last("eval") for record in done]
        trains = [at_end(record, "train loss") for record in done]
        result.append(
            Line(
                name=group.name,
                group=group,
                accuracy=estimate(row["accuracy"] for row in finals),
                loss=estimate(row["loss"] for row in finals),
                train_loss=estimate(row["loss"] for row in trains if row),
                seconds=_seconds(done, finals),
                best=estimate(_best(record, "eval") for record in done),
                extrapolated=estimate(_best(r, "extrapolation") for r in done if r.last("extrapolation")),
                epochs=max((row["epoch"] for row in finals), default=0.0),
                calls=statistics.fmean(map(calls, finals)) if finals else 0.0,
                split=finals[0]["split"] if finals else "test",
            )
        )
    return sorted(result, key=lambda line: rank_key(line.group, RANKING[by](line)))


def _seconds(done: Sequence[Record], finals: Sequence[Mapping[str, Any]]) -> Estimate:
    """Return seconds a run; equal shares of what runs took together have no error of their own."""
    shared = any(record.start.get("members", 1) > 1 for record in done)
    mean = estimate(row["seconds"] for row in finals)
    return mean._replace(error=None) if shared else mean


def rank_key(group: Group, value: float) -> tuple[float, float]:
    """Return by what contenders are ordered in every table: the share of runs that were lost, then the value."""
    lost = len(group.members) - len(group.done)
    return lost / len(group.members), math.inf if math.isnan(value) else value


def _best(record: Record, kind: str) -> float:
    return max(record.of(kind).column("accuracy").tolist())


def cells(line: Line, rank: int) -> list[str]:
    """Return a line as the texts of `COLUMNS`."""
    return [
        str(rank) if line.accuracy.n else "-",
        line.name,
        line.accuracy.show(2, 100),
        line.loss.show(4),
        line.train_loss.show(4),
        f"{line.calls:,.0f}",
        line.seconds.show(1),
        line.group.count(),
        line.group.setting,
    ]


COLUMNS = ("#", "method", "accuracy %", "loss", "train loss", "oracle calls", "seconds", "n", "setting")
NO_TRAIN_LOSS = "The training loss was not evaluated in these runs."
TRAIN_LOSS = "Train loss: over a fixed set of training images, at the iterate that is evaluated, without weight decay."
WORDS = ("method", "setting", "quantity", "source", "as expected")


def contenders(records: Sequence[Record], by: str = "accuracy") -> Table:
    """Return the table of the final runs of one problem; where networks were extrapolated, with their errors.

    Raises:
      ValueError: there are no final runs, or runs of several problems; see `groups.problems`.
    """
    records, left = once(records)
    by = ranked_by(records, by)
    ranked = lines(records, by)
    if not ranked:
        raise ValueError("The records hold tuning runs only, so there is nothing to rank yet. Finish with --resume.")
    sections = problems(records)
    if len(sections) > 1:
        raise ValueError(f"{' and '.join(sections)} are not ranked together. Make a table of each, see `problems`.")
    columns: list[str] = list(COLUMNS)
    rows = [cells(line, rank) for rank, line in enumerate(ranked, 1)]
    tried = by_label(records, "tune")
    for row, line in zip(rows, ranked, strict=True):
        row[-1] = marked(row[-1], line.group.members[0].start["spec"], tried.get(line.group.label, []))
    if any(line.extrapolated.n for line in ranked):
        columns[3:3] = ["lowest error %", "extrapolated"]
        for row, line in zip(rows, ranked, strict=True):
            errors = (line.best, line.extrapolated)
            row[3:3] = [e._replace(mean=1 - e.mean).show(2, 100) for e in errors]
    top5 = [[row["top5"] for r in line.group.done if "top5" in (row := r.last("eval"))] for line in ranked]
    if any(top5):
        columns.insert(3, "top-5 %")
        for row, values in zip(rows, top5, strict=True):
            row.insert(3, estimate(values).show(2, 100))
    first = ranked[0]
    if first.accuracy.n > 1:
        columns.append(f"{by} behind the first, paired by seed")
        for row, line in zip(rows, ranked, strict=True):
            row.append("-" if line is first else _behind(line, first, by))
    fewest = min((line.calls for line in ranked if line.calls), default=0.0)
    if max(line.calls for line in ranked) > 1.001 * fewest:
        columns.append(f"{by} at {fewest:,.0f} calls")
        for row, line in zip(rows, ranked, strict=True):
            values = [value for record in line.group.done if (value := _at_calls(record, by, fewest)) is not None]
            row.append(estimate(values).show(2, 100) if by == "accuracy" else estimate(values).show(4))
    title = f"{next(iter(sections))}, {first.split} images: mean ± standard error over n seeds"
    title += "" if by == "accuracy" else f", ranked by {by}"
    finals = [record for line in ranked for record in line.group.members]
    notes = [TRAIN_LOSS]
    if not any(record.last("train_eval") for record in finals):
        at, notes = columns.index("train loss"), [NO_TRAIN_LOSS]
        for row in (columns, *rows):
            del row[at]
    notes.append(beside_what_differs(columns, rows, [line.group for line in ranked]))
    if any(record.start.get("members", 1) > 1 for record in finals):
        notes.insert(0, "Runs were trained together: each has an equal share of the seconds.")
    if any(line.group.lost for line in ranked):
        notes.append("Runs in brackets are not in the means; who has any is ranked behind those who have none.")
    return Table(title, columns, rows, WORDS, " ".join(filter(None, [*notes, left, note_on(records)])))


def _at_calls(record: Record, by: str, most: float) -> float | None:
    """Return what a run had come to, by its last evaluation, when it had made `most` oracle calls."""
    kind = at_end(record, by).get("kind", "eval")
    rows = [row for row in record.of(kind) if calls(row) <= 1.001 * most]
    return rows[-1]["accuracy" if by == "accuracy" else "loss"] if rows else None


def _behind(line: Line, first: Line, by: str) -> str:
    """Return by how much a contender is behind the first one: mean and standard error over seeds that both finished."""
    ours, theirs = ({r.start["spec"]["seed"]: outcome(r, by) for r in each.group.members} for each in (line, first))
    pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
    differences = [a - b for a, b in pairs if a < math.inf and b < math.inf]
    if not differences:
        return "-"
    return estimate(differences).show(2, 100) + " %" if by == "accuracy" else estimate(differences).show(4)


def note_on(records: Sequence[Record]) -> str:
    """Return what the data sets of these records have to say about results on them."""
    notes = dict.fromkeys(record.start.get("data_note") or "" for record in records)
    return "; ".join(note for note in notes if note)


def outcome(record: Record, by: str) -> float:
    """Return what a run is ranked by, smaller is better; infinite where it diverged."""
    if record.status != "done":
        return math.inf
    row = at_end(record, by)
    value = 1.0 - row["accuracy"] if by == "accuracy" else row["loss"]
    return value if isinstance(value, float) and math.isfinite(value) else math.inf
