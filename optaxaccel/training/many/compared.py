"""What `compare` found: its records, a table best first, a figure."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optaxaccel.training.keeping.records import Record

WIDTH = 80


class Line(NamedTuple):
    """One method: of its final runs that are done, means; `error` is the standard error of the score's mean.

    Of the runs that are not done, `diverged` counts those that diverged, and `lost` all by their status: "diverged",
    "failed" or "unfinished", which goes on, was stopped or was killed.
    """

    method: str
    score: float
    error: float
    loss: float
    steps: float
    calls: float
    seconds: float
    done: int
    diverged: int
    setting: str
    lost: Mapping[str, int] = {}


class ComparisonTable(NamedTuple):
    """One line a method, best first; as a text it fits a terminal of 80 columns.

    Attributes:
      title: what was compared, and below it what a step is made on.
      score: the name of the metric.
      lines: the methods.
    """

    title: str
    score: str
    lines: tuple[Line, ...]

    def dataframe(self) -> Any:
        """Return the table as a pandas DataFrame; pandas is to be there."""
        try:
            import pandas  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise ImportError("A DataFrame needs pandas. Install it: pip install pandas; or use `.lines`.") from error
        return pandas.DataFrame(self.lines).rename(columns={"score": self.score})

    def __str__(self) -> str:
        """Return the table as a text; what does not fit is left out from the right, the setting folded."""
        head = ["#", "method", self.score, "loss", "calls", "seconds", "n"]
        rows = [[str(k), *_cells(line)] for k, line in enumerate(self.lines, 1)]
        if self.score == "loss":
            head, *rows = ([*row[:3], *row[4:]] for row in (head, *rows))
        while sum(_widths(head, rows)) + 2 * (len(head) - 1) > WIDTH and len(head) > 4:
            head, rows = [*head[:-2], head[-1]], [[*row[:-2], row[-1]] for row in rows]
        widths = _widths(head, rows)

        def text(cells: Sequence[str]) -> str:
            parts = (c.ljust(w) if k == 1 else c.rjust(w) for k, (c, w) in enumerate(zip(cells, widths, strict=True)))
            return "  ".join(parts).rstrip()

        lines = [text(head), text(["-" * width for width in widths])]
        for row, line in zip(rows, self.lines, strict=True):
            lines.append(text(row))
            if line.setting and line.setting not in line.method:
                lines.append(" " * (widths[0] + 2) + f"  {line.setting}"[: WIDTH - widths[0] - 2])
        return "\n".join([self.title, *lines])


class Comparison(NamedTuple):
    """The result of `optaxaccel.training.compare`.

    Attributes:
      task: the task's name.
      score: {"metric": its name, "higher_is_better": bool}.
      records: of all runs, tuning first; see `optaxaccel.training.keeping.records`.
      methods: the labels, as they were given.
    """

    task: str
    score: Mapping[str, Any]
    records: Sequence[Record]
    methods: Sequence[str]

    def __repr__(self) -> str:
        """Return what was compared; `.table()` has the numbers."""
        return f"<comparison of {', '.join(self.methods)} on {self.task}: {len(self.records)} records>"

    def final(self, method: str) -> list[Record]:
        """Return the records of a method's final runs."""
        return [r for r in self.records if r.start["label"] == method and r.start["phase"] == "final"]

    @property
    def best(self) -> str:
        """Return the label of the first line of the table."""
        return self.table().lines[0].method

    def table(self) -> ComparisonTable:
        """Return the table, best first; ranked by the share of runs that diverged or failed, then by the mean."""
        lines = [self._line(method) for method in self.methods]
        sign = -1.0 if self.score["higher_is_better"] else 1.0

        def key(line: Line) -> tuple[bool, float, float]:
            bad = sum(count for status, count in line.lost.items() if status != "unfinished")
            return not line.done, bad / max(1, line.done + bad), sign * line.score if line.done else math.inf

        count = max(line.done + sum(line.lost.values()) for line in lines)
        first = next((r.start for r in self.records if r.start["phase"] == "final"), {})
        over = f"mean ± standard error over {count} seeds"
        if count == 1:
            over = "one run, as every seed gives the same" if first.get("seeds_are_alike") else "one seed"
        title = f"{self.task}: {self.score['metric']}, {over}"
        title += f"\n{first['batch']}" if first.get("batch") else ""
        return ComparisonTable(title, self.score["metric"], tuple(sorted(lines, key=key)))

    def plot(self, path: str | Path) -> Path:
        """Draw the score against steps, oracle calls and seconds, with bands over seeds; return the file.

        A band is from the least to the largest of the runs, the line their median; where a run diverged, a cross says
        so at the last point that was measured.
        """
        from optaxaccel.training.many.comparison_figure import draw

        return draw(self, Path(path))

    def _line(self, method: str) -> Line:
        runs = self.final(method)
        statuses = [record.status for record in runs]
        done = [record for record in runs if record.status == "done"]
        last = [record.last("eval") for record in done]
        scores = [row[self.score["metric"]] for row in last]
        return Line(
            method,
            _mean(scores),
            statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan,
            _mean(row["loss"] for row in last),
            _mean(row["step"] for row in last),
            _mean(calls(row) for row in last),
            _mean(row["seconds"] for row in last),
            len(done),
            statuses.count("diverged"),
            ", ".join(f"{k}={v}" for k, v in runs[0].start["spec"]["method_args"].items()) if runs else "",
            {status: statuses.count(status) for status in sorted({*statuses} - {"done"})},
        )


def calls(row: Mapping[str, Any]) -> float:
    """Return the oracle calls of a row: losses, gradients and Hessian products."""
    return row["value_calls"] + row["grad_calls"] + row["hvp_calls"]


def mean_score(records: Sequence[Record], score: Mapping[str, Any]) -> tuple[float, float]:
    """Return the share of runs that are not done, and the mean of the others' last scores, less is better."""
    done = [record.last("eval")[score["metric"]] for record in records if record.status == "done"]
    sign = -1.0 if score["higher_is_better"] else 1.0
    return 1.0 - len(done) / len(records), sign * _mean(done) if done else math.inf


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return statistics.fmean(numbers) if numbers else math.nan


def _cells(line: Line) -> list[str]:
    spread = f" ± {line.error:.1g}" if line.done > 1 else ""
    lost = ", ".join(f"{count} {status}" for status, count in line.lost.items())
    count = f"{line.done} (+{lost})" if lost else f"{line.done}"
    if not line.done:
        return [line.method, next(iter(line.lost), "-"), "-", "-", "-", count]
    return [
        line.method,
        f"{line.score:.4g}{spread}",
        f"{line.loss:.4g}",
        f"{line.calls:,.0f}",
        f"{line.seconds:.3g}",
        count,
    ]


def _widths(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(head, *rows, strict=True)]
