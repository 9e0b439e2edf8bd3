"""Does PAL need its largest step, s_max?

Claim:    section 2.4 of the paper: the maximum step size "is necessary for the algorithm to operate stably"; section
          4.1 leaves it out of the ablation since it is "mandatory to achieve a stable learning progress". No number
          is given for a run without it.
Protocol: a perceptron (64 units) on the digits, batch 64, 20 epochs, no decay; mu {0.1, 0.01} x alpha {0, 0.4, 0.6} x
          lambda {0.4, 0.6, 0.8}, 18 settings, each with s_max 0.1, 1, 10 and none (1e30), and five seeds; nothing is
          chosen. A run failed if its training loss is not finite or above ln 10, which is chance.
Command:  optaxaccel run experiments/pal/largest_step.py --scale small
Cost:     a minute. Scales differ in network, data and epochs.
Expected: without s_max more runs fail than with the paper's 0.1 and 1.
"""

import itertools
import math

import numpy as np

from optaxaccel import pal
from optaxaccel.cli import run_definition
from optaxaccel.training.many import minibatches
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study

NONE = 1e30


def measure(
    data: str, train: int, hidden: int, batch: int, epochs: int, seeds: int, largest: list[float], every: int
) -> Measured:
    problem = minibatches.images(data, "mlp", train=train, test=2000, hidden=(hidden,))
    grid = list(itertools.product((0.1, 0.01), (0.0, 0.4, 0.6), (0.4, 0.6, 0.8)))[::every]
    settings = [{"mu": m, "alpha": a, "loose": loose, "most": most} for most in largest for m, a, loose in grid]
    runs = minibatches.train(
        lambda s: pal(
            measuring_step_size=s["mu"], max_step_size=s["most"], momentum=s["alpha"], loose_approximation=s["loose"]
        ),
        problem,
        settings,
        seeds=range(1, seeds + 1),
        epochs=epochs,
        batch_size=batch,
        watch=lambda state: state.step_size,
    )
    shape = (len(largest), len(grid), seeds)
    ends = np.nan_to_num(runs.train_loss[:, :, -1], nan=np.inf).reshape(shape)
    errors = runs.error[:, :, -1].reshape(shape)
    longest = np.nan_to_num(runs.watched, nan=np.inf).max((2, 3)).reshape(shape)
    points, values = [], {}
    failed = ends > math.log(10.0)
    for k, most in enumerate(largest):
        name = "no s_max" if most == NONE else f"s_max {most:g}"
        values[f"failed runs (%), {name}"] = float(100 * failed[k].mean())
        values[f"median training loss of all runs, {name}"] = float(np.median(ends[k]))
        best = int(ends[k].mean(1).argmin())
        values[f"training loss of the best setting, {name}"] = float(ends[k, best].mean())
        values[f"its standard error, {name}"] = float(ends[k, best].std(ddof=1) / seeds**0.5)
        values[f"test error of the best setting (%), {name}"] = float(100 * errors[k, best].mean())
        values[f"longest step of the median run, {name}"] = float(np.median(longest[k]))
        order = np.sort(ends[k].ravel().clip(1e-12, 1e3))
        points += [
            {"panel": "losses", "series": name, "x": 100 * (j + 0.5) / len(order), "y": float(v)}
            for j, v in enumerate(order)
        ]
        where = runs.train_loss.reshape(*shape, -1)[k].clip(1e-12, 1e3)
        points += [
            {"panel": "epochs", "series": name, "x": j, "y": float(v)}
            for j, v in enumerate(np.nan_to_num(np.median(where, (0, 1)), nan=1e3))
        ]
    with_it = [values[f"failed runs (%), s_max {most:g}"] for most in largest if most <= 1.0]
    if NONE in largest:
        values["failed runs, none minus the more of 0.1 and 1 (points)"] = values["failed runs (%), no s_max"] - max(
            with_it
        )
    return Measured(points, values)


EXPECTED = {
    "failed runs, none minus the more of 0.1 and 1 (points)": Expect(1e-9, 100.0, "paper, section 2.4"),
}
SMALL = {
    "data": "digits",
    "train": 1437,
    "hidden": 64,
    "batch": 64,
    "epochs": 20,
    "seeds": 5,
    "largest": [0.1, 1.0, 10.0, NONE],
    "every": 1,
}
FEW = {"train": 64, "hidden": 8, "batch": 32, "epochs": 1, "seeds": 2, "largest": [1.0, NONE], "every": 18}
RUNS = {
    "smoke": Study(measure, {**SMALL, **FEW}),
    "small": Study(measure, SMALL, EXPECTED),
    "paper": Study(measure, {**SMALL, "data": "mnist", "train": 60_000, "batch": 100, "epochs": 10}, EXPECTED),
}
PANELS = {
    "losses": Panel("all runs", "share of the runs (%)", "training loss at the end (nats)", log="y"),
    "epochs": Panel("median over runs", "epochs", "training loss (nats)", log="y"),
}

VERDICT = {
    "small": (
        "reproduced",
        "As the scaled claim: without s_max 27 % of the runs fail (24 of 90), with 10 still 22 %, with the "
        "paper's 0.1 and 1 none. It is stability that needs it, not the best result: the best setting without "
        "s_max ends at 1.0e-4 ± 0.1e-4, with s_max 1 at 2.0e-4 ± 0.4e-4, and with 0.1, where every step is cut, "
        "at 41e-4 ± 5e-4; its test error is 7.1 %, 7.1 % and 7.9 %.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
