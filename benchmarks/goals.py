"""What the figures should come to, and what stands between where they do not: the table that `make bench` ends with."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.compare import JUDGED
from benchmarks.measure import Row


class Goal(NamedTuple):
    """One line of the table.

    Attributes:
      what: what is measured, against what.
      benchmark: how the title of its rows begins; several tables may.
      variant: the row.
      at_most: the largest figure that is good enough; where `before`, as a share of the other checkout's.
      why: what stands between, where it is known; printed where the goal is missed.
      before: whether the figure is that of the other checkout of `--against`.
    """

    what: str
    benchmark: str
    variant: str
    at_most: float
    why: str
    before: bool = False


ALONE, PLAIN = "update alone, 11.2 M", "update alone in a plain process"
SEARCH = "update alone without a search, 11.2 M parameters, 62 leaves: "
TWICE = "XLA's CPU backend writes one array a loop, so the gradient is read twice: seven passes for SGD's six"
RING = "each slot of the history that is not the newest is read once more by the loop that makes the move"
READS = "the gradient is read once more to see that it is finite, and XLA's CPU backend writes one array a loop"
GOALS = (
    Goal("INDIAN, over SGD with momentum, plain process", PLAIN, "indian", 1.1, TWICE),
    Goal("AGD, likewise", PLAIN, "agd", 1.1, TWICE),
    Goal("INDIAN, freed memory kept", ALONE, "indian", 1.1, TWICE),
    Goal("AGD, freed memory kept", ALONE, "agd", 1.1, TWICE),
    Goal("Interpolatron, two pairs, plain process", PLAIN, "interpolatron k=2", 1.8, RING),
    Goal("Interpolatron, three pairs", PLAIN, "interpolatron k=3", 2.2, RING),
    Goal("Anderson, two pairs", PLAIN, "anderson k=2", 2.6, RING),
    Goal("Anderson, three pairs", PLAIN, "anderson k=3", 3.2, RING),
    Goal(
        "Anderson on one vector of 10^6, over jaxopt",
        "one step of Anderson acceleration",
        "anderson",
        0.8,
        "jaxopt makes the move by two products of a matrix with a vector, ours sums eleven arrays in one loop",
    ),
    Goal(
        "GOSE without a search, over SGD with momentum",
        f"{SEARCH}gose_sgd",
        "gose_sgd",
        1.25,
        "the mean of gradients is read and written, 7 arrays for 5: 1.4 is the limit. The place of a jump is written "
        f"and read, too, and {READS}",
    ),
    Goal("GOSE without a search, over AGD", f"{SEARCH}gose_agd", "gose_agd", 1.25, "as for SGD"),
    Goal("ANCM without a search, over AGD", f"{SEARCH}ancm", "ancm", 1.25, f"{READS}; the round's start is read"),
    Goal(
        "extrapolate, K = 10, in copies of the history",
        "extrapolation, K=10",
        "extrapolate, a stacked tree",
        3.0,
        "its products in float32 take 400 operations for eleven numbers read, twice what reading takes",
    ),
    Goal(
        "training loop over a bare step of 0.1 ms",
        "training loop, mlp",
        "training loop",
        1.15,
        "a row is written every second step, since an epoch has 22, and each step is a call of its own",
    ),
    Goal(
        "16 small runs in one program, over one after another",
        "sweep of 16 settings",
        "in one program",
        0.2,
        "their matrix products are small, and sixteen of them take the time of sixteen",
    ),
    Goal(
        "step of the three-convolution network, over PyTorch",
        "training step, three-convolution network, 32x32x3, batch 128, against PyTorch",
        "ours, a device a core",
        0.95,
        "XLA's convolutions are as fast as PyTorch's, not faster",
    ),
    Goal(
        "step of ResNet-18, over PyTorch",
        "training step, ResNet-18 with a CIFAR stem, batch 32, against PyTorch",
        "ours, a device a core",
        1.15,
        "the kernel gradients of its 3x3 convolutions",
    ),
    Goal("report on 300,000 rows, processor time, over before", "report on a record", "processor time", 0.3, "", True),
    Goal("report on 300,000 rows, memory, over before", "report on a record", "most memory", 0.25, "", True),
)


def table(rows: Sequence[Row], before: Sequence[Row] = ()) -> str:
    """Return a Markdown table of the goals that these rows say something about, met or missed, with the reason."""
    lines = ["| what | goal | measured | quartiles | |", "| --- | ---: | ---: | ---: | --- |"]
    for goal in GOALS:
        row = _row(rows, goal)
        if row is None:
            continue
        measured = _figure(row)
        if goal.before:
            old = _row(before, goal)
            if old is None:
                lines.append(f"| {goal.what} | {goal.at_most:g} | | | needs --against |")
                continue
            measured /= _figure(old)
        quartiles = "" if goal.before or not row.get("quartiles") else "-".join(f"{q:.2f}" for q in row["quartiles"])
        verdict = "met" if measured <= goal.at_most else f"missed: {goal.why}" if goal.why else "missed"
        lines.append(f"| {goal.what} | {goal.at_most:g} | {measured:.2f} | {quartiles} | {verdict} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _row(rows: Sequence[Row], goal: Goal) -> Row | None:
    chosen = (r for r in rows if r["benchmark"].startswith(goal.benchmark) and r["variant"] == goal.variant)
    return next(chosen, None)


def _figure(row: Row) -> float:
    return next(row[name] for name in JUDGED if row.get(name) is not None)
