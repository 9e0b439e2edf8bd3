"""Does a larger lambda remove the outliers of RNA's error?

Claim:    section 3.2 of the paper: lambda "can be tricky: for example, a larger lambda removes the outlier validation
          performance at epoch 40 of Figure 1, for ResNet-18 on ImageNet"; and after a drop of the rate it takes
          several epochs until there is acceleration again, since the window then holds iterates from both sides of
          it.
Protocol: as variance.py, with momentum 0.9 and the rates 0.03, 0.1 and 0.2 as they are (the first is what tuning
          chooses there; the others are rough, as the paper's 0.1 is), for six lambda (relative to ||R'R||) from 1e-8 to
          100. An outlier of a run: the largest test error of the extrapolation above the network's of the same epoch,
          over the epochs whose window holds the first drop, and over all others. Five seeds.
Command:  optaxaccel run experiments/rna/outlier.py --scale small
Cost:     under a minute. Scales differ in network, images, epochs and seeds.
Expected: at one rate at least, outliers of more than a point with lambda 1e-8, smaller ones with the largest lambda.
"""

import numpy as np
from rna_curves import curves

from optaxaccel.cli import run_definition
from optaxaccel.training.many import minibatches
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study

PAPER = "paper, section 3.2"
PHASES = ("windows with the drop", "other windows")


def measure(
    data: str,
    train: int,
    test: int,
    hidden: int,
    epochs: int,
    batch: int,
    seeds: int,
    window: int,
    rates: list[float],
    regularizations: list[float],
) -> Measured:
    problem = minibatches.images(data, "mlp", train=train, test=test, hidden=(hidden,))
    points, values, worst = [], {}, {}
    epoch, drop = np.arange(window, epochs + 1), epochs // 2
    inside = (epoch > drop) & (epoch - window < drop)
    for rate in rates:
        _, network, rna, mean = curves(
            problem,
            "momentum",
            epochs=epochs,
            batch=batch,
            seeds=seeds,
            window=window,
            regularizations=regularizations,
            rate=rate,
        )
        values[f"rate {rate:g}: lowest error (%), the network"] = float(100 * network.min(1).mean())
        for r, errors in [*zip(regularizations, rna, strict=True), (float("nan"), mean)]:
            name = "mean of ten" if r != r else f"lambda {r:g}"
            above = 100 * (errors - network[:, window:])
            for phase, which in zip(PHASES, (inside, ~inside), strict=True):
                largest = float(above[:, which].max(1).mean())
                worst[rate, r] = max(largest, worst.get((rate, r), largest))
                values[f"rate {rate:g}: largest error above the network's (points), {phase}, {name}"] = largest
            values[f"rate {rate:g}: lowest error (%), {name}"] = float(100 * errors.min(1).mean())
            if name in (f"lambda {regularizations[0]:g}", f"lambda {regularizations[-1]:g}"):
                points += [
                    {"panel": "curve", "series": f"rate {rate:g}, {name}", "x": int(k), "y": float(v)}
                    for k, v in zip(epoch, above.mean(0), strict=True)
                ]
        points += [
            {"panel": "outlier", "series": f"rate {rate:g}", "x": r, "y": worst[rate, r]} for r in regularizations
        ]
    first, last = regularizations[0], regularizations[-1]
    where = max(rates, key=lambda rate: worst[rate, first])
    values["largest outlier of any rate (points), smallest lambda"] = worst[where, first]
    values["the same rate's, largest lambda over smallest"] = worst[where, last] / max(worst[where, first], 1e-9)
    return Measured(points, values)


LAMBDAS = [1e-8, 1e-6, 1e-4, 1e-2, 1.0, 100.0]
EXPECTED = {
    "largest outlier of any rate (points), smallest lambda": Expect(1.0, 100.0, PAPER),
    "the same rate's, largest lambda over smallest": Expect(-1.0, 0.5, PAPER),
}
SMALL = {
    "data": "mnist",
    "train": 1000,
    "test": 1000,
    "hidden": 32,
    "epochs": 36,
    "batch": 50,
    "seeds": 5,
    "window": 10,
    "rates": [0.03, 0.1, 0.2],
    "regularizations": LAMBDAS,
}
FEW = {"data": "digits", "train": 64, "test": 20, "hidden": 8, "epochs": 6, "batch": 16, "seeds": 2, "window": 2}
RUNS = {
    "smoke": Study(measure, {**SMALL, **FEW, "rates": [0.1], "regularizations": LAMBDAS[:1]}),
    "small": Study(measure, SMALL, EXPECTED),
    "paper": Study(measure, {**SMALL, "train": 60_000, "test": 10_000, "hidden": 128, "epochs": 300}, EXPECTED),
}
PANELS = {
    "outlier": Panel("largest outlier, mean over seeds", "lambda", "above the network (points)", log="x"),
    "curve": Panel("mean over seeds", "epochs", "above the network (points)"),
}

VERDICT = {
    "small": (
        "not reproduced",
        "Outliers there are, at the roughest rate (0.2: 2.1 points with lambda 1e-8, mean of five seeds), but a "
        "larger lambda makes them larger, not smaller: 4.1 points with lambda 100, which is the plain mean of "
        "ten iterates. So it is at the other rates: 0.4 points with 1e-8 and at most 1.7 with larger ones at "
        "rate 0.1, 0.3 and 0.8 at rate 0.03. Windows that hold the drop of the rate are no worse than others "
        "with small lambda (0.1 to 0.8 points). The paper's outlier is of a ResNet-18 on ImageNet, with batch "
        "statistics, which none of this has; at rate 0.2 the network itself ends at 30 % error.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
