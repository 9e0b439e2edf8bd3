"""How much do the report's methods vary from seed to seed, and from epoch to epoch?

Claim:    section 6.1 of the report: AGD "turns out to be more stable" than standard SGD, ANCM "shows a very stable
          trend of increasing", "GOSE is more stable than standard SGD"; from 2 and 3 runs of six epochs.
Protocol: the 3-conv network with a quarter of its channels, the digits, batch 64, momentum 0.9, rate 0.02, 8 epochs,
          ten seeds; nothing is tuned. GOSE as it is and once with searches at every check (16 steps), whatever the
          gradient, since its threshold is not met in so few epochs. Spread: the standard deviation over seeds of the
          test accuracy after the last epoch. Unsteadiness: that of its change from one epoch to the next over the
          last half of the epochs, mean over seeds. The error of a spread of ten is 24 % of it.
Command:  optaxaccel run experiments/accelerated_cnn/seeds.py --scale small
Cost:     one to two minutes. Scales differ in network, data, epochs and seeds.
Expected: if the report holds, AGD, GOSE and ANCM have less spread and less unsteadiness than standard.
"""

import numpy as np
import optax

from optaxaccel import agd, ancm, gose_sgd
from optaxaccel.cli import run_definition
from optaxaccel.training.many import minibatches
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study

REPORT = "report, section 6.1"
METHODS = {
    "standard": lambda rate: optax.sgd(rate, momentum=0.9),
    "AGD": agd,
    "GOSE": gose_sgd,
    "GOSE, always searching": lambda rate: gose_sgd(rate, gradient_threshold=1e9),
    "ANCM": ancm,
}


def measure(
    data: str, train: int, width: float, batch: int, rate: float, epochs: int, seeds: int, methods: list[str]
) -> Measured:
    problem = minibatches.images(data, "cnn", train=train, test=10_000, width=width)
    points, values, spread, unsteady = [], {}, {}, {}
    for name in methods:
        runs = minibatches.train(
            lambda setting, name=name: METHODS[name](setting["rate"]),
            problem,
            [{"rate": rate}],
            seeds=range(1, seeds + 1),
            epochs=epochs,
            batch_size=batch,
            watch=lambda state: (getattr(state, "num_searches", 0), getattr(state, "num_jumps", 0)),
            together=1,
        )
        accuracy = 100 * (1.0 - runs.error[0])
        end = accuracy[:, -1]
        spread[name] = float(end.std(ddof=1))
        unsteady[name] = float(np.diff(accuracy[:, -(epochs // 2 + 1) :], axis=1).std(1).mean())
        values[f"accuracy at the end (%), {name}"] = float(end.mean())
        values[f"spread over seeds (points), {name}"] = spread[name]
        values[f"lowest and highest apart (points), {name}"] = float(np.ptp(end))
        values[f"unsteadiness (points), {name}"] = unsteady[name]
        values[f"training loss at the end, {name}"] = float(runs.train_loss[0, :, -1].mean())
        for what, counted in zip(("searches", "jumps"), runs.watched, strict=True):
            values[f"{what} a run, {name}"] = float(np.asarray(counted)[0, :, -1, -1].mean())
        points += [
            {
                "panel": "accuracy",
                "series": name,
                "x": k,
                "y": float(accuracy[:, k].mean()),
                "low": float(accuracy[:, k].min()),
                "high": float(accuracy[:, k].max()),
            }
            for k in range(1, epochs + 1)
        ]
        order = np.sort(end)
        points += [{"panel": "seeds", "series": name, "x": k + 1, "y": float(v)} for k, v in enumerate(order)]
    for name in methods[1:]:
        values[f"spread over standard's: {name}"] = spread[name] / max(spread["standard"], 1e-9)
        values[f"unsteadiness over standard's: {name}"] = unsteady[name] / max(unsteady["standard"], 1e-9)
    return Measured(points, values)


EXPECTED = {
    f"{what} over standard's: {name}": Expect(0.0, 0.999, REPORT)
    for name in ("AGD", "GOSE", "ANCM")
    for what in ("spread", "unsteadiness")
}
SMALL = {
    "data": "digits",
    "train": 1437,
    "width": 0.25,
    "batch": 64,
    "rate": 0.02,
    "epochs": 8,
    "seeds": 10,
    "methods": list(METHODS),
}
FEW = {"train": 32, "width": 0.0625, "batch": 16, "epochs": 2, "seeds": 2, "methods": ["standard", "AGD"]}
RUNS = {
    "smoke": Study(measure, {**SMALL, **FEW}),
    "small": Study(measure, SMALL, EXPECTED),
    "paper": Study(
        measure, {**SMALL, "data": "mnist", "train": 60_000, "width": 1.0, "batch": 128, "epochs": 6}, EXPECTED
    ),
}
PANELS = {
    "accuracy": Panel("mean and range of the seeds", "epochs", "test accuracy (%)"),
    "seeds": Panel("after the last epoch", "seeds, from worst to best", "test accuracy (%)"),
}

VERDICT = {
    "small": (
        "partly reproduced",
        "Steadier from epoch to epoch are AGD and ANCM, with 0.74 and 0.48 times standard's unsteadiness. Over "
        "ten seeds their spread is smaller as well, 1.9 and 2.1 points against 2.4, but a spread of ten has an "
        "error of a quarter, so that is not shown. Of GOSE the claim does not hold: its threshold is not met, "
        "it makes no search and is standard but for rounding, which is all that its two ratios of 0.998 and "
        "0.999 say; made to search at every check (eleven searches, ten jumps a run) it is as unsteady as "
        "standard (1.04), with the same spread within the errors and 1.3 points less accuracy.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
