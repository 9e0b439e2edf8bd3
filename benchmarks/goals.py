"""What the figures should come to, and what stands between where they do not: the table that `make bench` ends with."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import half, updates
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
COUNTED = (
    "by the compiler's count {} arrays of the parameters' size are read and written for SGD's 6, {:.2f} times as many"
)
TWICE = f"XLA's CPU backend writes one array a loop, so the gradient is read twice: {COUNTED.format(7, 7 / 6)}"
READS = "the gradient is read once more to see that it is finite, and XLA's CPU backend writes one array a loop"
DEEP = "seconds of the processor to compile a training step"
SWEEP = "16 runs of a perceptron on digits, 264 steps of sgd"
KERNELS = "58 kernels a block of 1.6 ms each are left; a loop over equal blocks takes 5 s however many there are"
SHAPES = "each of its 36 layers has a shape of its own, so that no two kernels are equal"
BFGS = ("a step of BFGS on a chain of", "BFGS on a chain of", "seconds to", "100 steps of bfgs")
HALF = ("update alone of bfloat16", "step of a transformer in bfloat16")
ROUNDED = "XLA's CPU compiler writes a slot of a bfloat16 ring by converting the whole ring to float32 and back"
CACHE = (
    "their losses and gradients alone, together, take 0.39; the matrix of one start, 0.8 MB, stays in a core's cache, "
    "those of 32 do not; every step waits for the member whose search takes longest"
)
PARSED = "parsing JSON takes 0.6 s, starting and importing matplotlib 0.6, drawing nine panels 0.9: 0.3 of 6.9 s before"


OURS, SELF_SCALED, CHAINS = "optaxaccel, bfgs", "optaxaccel, ssbroyden", ("1,000", "5,000")
POISSON = f"{BFGS[2]} a relative error of 1e-06 on Poisson's equation, 321 numbers, 3 starts, against "


def _ring(arrays: int) -> str:
    return f"the slots are read again by the loop that makes the move: {COUNTED.format(arrays, arrays / 6)}"


GOALS = (
    Goal("INDIAN, over SGD with momentum, plain process", PLAIN, "indian", 1.1, TWICE),
    Goal("AGD, likewise", PLAIN, "agd", 1.1, TWICE),
    Goal("INDIAN, freed memory kept", ALONE, "indian", 1.1, TWICE),
    Goal("AGD, freed memory kept", ALONE, "agd", 1.1, TWICE),
    Goal("Interpolatron, two pairs, plain process", PLAIN, "interpolatron k=2", 1.8, _ring(11)),
    Goal("Interpolatron, three pairs", PLAIN, "interpolatron k=3", 2.2, _ring(13)),
    Goal("Anderson, two pairs", PLAIN, "anderson k=2", 2.6, _ring(15)),
    Goal("Anderson, three pairs", PLAIN, "anderson k=3", 3.2, _ring(18)),
    Goal(
        "Anderson on one vector of 10^6, over jaxopt",
        "one step of Anderson acceleration",
        "anderson",
        0.8,
        "distances of gradients, written in seven other ways, took 0.94 to 2.4 times what they take, and a product "
        "of the same array, which loses the digits of their differences, 0.6",
    ),
    Goal(
        "GOSE without a search, over SGD with momentum",
        f"{SEARCH}gose_sgd",
        "gose_sgd",
        1.25,
        "written by hand without a search, the finite test and the mean alone take 1.44, 11 arrays for 6. The place "
        f"of a jump, which a branch has to fill, takes 1.4 in fresh memory; {READS}",
    ),
    Goal("GOSE without a search, over AGD", f"{SEARCH}gose_agd", "gose_agd", 1.25, "as for SGD"),
    Goal(
        "ANCM without a search, over AGD",
        f"{SEARCH}ancm",
        "ancm",
        1.25,
        f"{READS}: a pass of 0.3; the round's start is read",
    ),
    Goal(
        "extrapolate, K = 10, in copies of the history",
        "extrapolation, K=10",
        "extrapolate, a stacked tree",
        3.0,
        "its products in float32 take 400 operations for eleven numbers read: of 24.6 ms for one leaf of 2.4 million, "
        "copying it takes 19.4 and the differences alone 12.1; the combination and a sample come on top",
    ),
    Goal(
        "training loop over a bare step of 0.1 ms",
        "training loop, mlp",
        "training loop",
        1.15,
        "an epoch of 22 steps ends a call of many, and asks for a row of every second one",
    ),
    Goal(
        "16 small runs together, over one after another",
        SWEEP,
        "together",
        0.2,
        "one after another, too, makes many steps in one call; what is left is arithmetic, evaluations and rows",
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
    Goal("compile a step of ResNet-98, over before", DEEP, "ResNet-98", 0.2, KERNELS, True),
    Goal("compile a step of ResNet-200, over before", DEEP, "ResNet-200", 0.2, KERNELS, True),
    Goal("compile a step of DenseNet-40, over before", DEEP, "DenseNet-40", 0.2, SHAPES, True),
    Goal(
        "report on 300,000 rows, processor time, over before", "report on a record", "processor time", 0.3, PARSED, True
    ),
    Goal("report on 300,000 rows, memory, over before", "report on a record", "most memory", 0.25, "", True),
    *(
        Goal(
            f"update of bfloat16 parameters over AdamW's: {name}", HALF[0], name, updates.ARRAYS[name] / half.ADAMW, why
        )
        for name, why in (("indian", ""), ("agd", ""), ("interpolatron k=2", ""), ("anderson k=2", ROUNDED))
    ),
    Goal(
        "step of a bfloat16 transformer with tuning_free, over AdamW's",
        HALF[1],
        "tuning_free",
        1.34,
        "the forward pass that it adds is a third of a step of two layers, and a tree of averages is written",
    ),
    *(Goal(f"step of BFGS, n = {n}, over SciPy", f"{BFGS[0]} {n} unknowns", OURS, 0.35, "") for n in CHAINS),
    *(Goal(f"BFGS to a share of the loss, n = {n}, over optimistix", f"{BFGS[1]} {n}", OURS, 0.7, "") for n in CHAINS),
    Goal("seconds to 1e-6 on Poisson's equation, over SciPy's BFGS", POISSON + "SciPy's BFGS", SELF_SCALED, 0.25, ""),
    Goal("the same over optax.lbfgs", POISSON + "optax.lbfgs", SELF_SCALED, 0.2, ""),
    Goal(
        "seconds to compile minimize",
        f"{BFGS[2]} compile",
        "a network of 96 numbers",
        3.0,
        "processor time: by the clock it takes 2.9 s on two idle cores; some 170 small kernels",
    ),
    Goal("BFGS from 32 starts together, over one after another", BFGS[3], "together", 0.25, CACHE),
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
