"""Tables: one line a contender, mean and standard error over its final runs, best first."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from optaxaccel.training.records import Record


class Estimate(NamedTuple):
    """Mean, standard error of the mean (None for one value) and number of values."""

    mean: float
    error: float | None
    n: int

    def show(self, digits: int = 4, scale: float = 1.0) -> str:
        """Return "mean ± error"."""
        if self.n == 0:
            return "-"
        text = f"{scale * self.mean:.{digits}f}"
        return text if self.error is None else f"{text} ± {scale * self.error:.{digits}f}"


class Line(NamedTuple):
    """One contender's results."""

    label: str
    method: str
    setting: str
    accuracy: Estimate
    loss: Estimate
    train_loss: Estimate
    seconds: Estimate
    calls: float
    diverged: int
    data: str
    model: str
    split: str


def estimate(values: Iterable[float]) -> Estimate:
    """Return mean, standard error and n.

    >>> estimate([1.0, 5.0])
    Estimate(mean=3.0, error=2.0, n=2)
    """
    values = list(values)
    n = len(values)
    if n == 0:
        return Estimate(math.nan, None, 0)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Estimate(mean, math.sqrt(variance / n), n)


def group(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the final runs by label, in order of appearance; tuning runs are left out."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.start["phase"] == "final":
            groups.setdefault(record.start["label"], []).append(record)
    return groups


def calls(row: Mapping[str, Any]) -> float:
    """Return oracle calls: losses, gradients and Hessian products, each counted once."""
    return row["value_calls"] + row["grad_calls"] + row["hvp_calls"]


def setting(spec: Mapping[str, Any]) -> str:
    """Return a run's hyperparameters as `k=v, k=v`."""
    parts = [f"{name}={value}" for name, value in spec["method_args"].items()]
    parts += [f"{name}: {value}" for name, value in spec["schedule"].items()]
    parts += [f"weight_decay={spec['weight_decay']} ({spec['decay']})"] if spec["weight_decay"] else []
    return ", ".join(parts) or "defaults"


def lines(records: Sequence[Record]) -> list[Line]:
    """Return one line a label, ranked by accuracy on the held-out images; diverged runs are counted, not averaged."""
    result = []
    for label, members in group(records).items():
        done = [record for record in members if record.status == "done"]
        finals = [record.last("eval") for record in done]
        trains = [record.last("train") for record in done]
        spec = members[0].start["spec"]
        result.append(
            Line(
                label=label,
                method=spec["method"],
                setting=setting(spec),
                accuracy=estimate(row["accuracy"] for row in finals),
                loss=estimate(row["loss"] for row in finals),
                train_loss=estimate(row["loss"] for row in trains if row),
                seconds=estimate(row["seconds"] for row in finals),
                calls=max((calls(row) for row in finals), default=0.0),
                diverged=sum(record.status == "diverged" for record in members),
                data=spec["data"],
                model=spec["model"],
                split=finals[0]["split"] if finals else "test",
            )
        )
    return sorted(result, key=lambda line: -line.accuracy.mean if line.accuracy.n else math.inf)


def cells(line: Line, rank: int) -> list[str]:
    """Return a line as the texts of its columns."""
    return [
        str(rank) if line.accuracy.n else "-",
        line.label,
        line.accuracy.show(2, 100),
        line.loss.show(4),
        line.train_loss.show(4),
        f"{line.calls:,.0f}",
        line.seconds.show(1),
        str(line.accuracy.n) + (f" (+{line.diverged} diverged)" if line.diverged else ""),
        line.setting,
    ]


COLUMNS = ("#", "method", "accuracy %", "loss", "train loss", "oracle calls", "seconds", "n", "setting")
