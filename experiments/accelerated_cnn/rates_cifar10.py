"""Which learning rates fail on CIFAR-10?

Claim:    section 6.4, the half on CIFAR-10 (rates.py has the half on MNIST): the rate 0.3 fails "whatever algorithm
          used, as long as it is SGD-based": the loss becomes nan within the first epoch; 0.003 and 0.0003 are too
          slow.
Protocol: CIFAR-10 (lossy JPEG q75 copy) with the 3-conv network, momentum 0.9, rates 0.3, 0.03, 0.003, 0.0003 for the
          report's methods but the combined one, which is AGD where no search is due; nothing is tuned. A run failed
          if its training loss is not finite or above ln 10 (chance) at the end. small: a quarter of the channels,
          images averaged to 16 x 16, the first 2,560 of them, batch 64, two epochs (80 updates), five seeds: the
          scaled claim.
Command:  optaxaccel run experiments/accelerated_cnn/rates_cifar10.py --scale small
Cost:     two minutes. Scales differ in network, images and epochs.
Expected: at 0.3 every run fails, at 0.03 none; at 0.003 the loss has fallen less than at 0.03.
"""

import math

import numpy as np
import optax

from optaxaccel import agd, ancm, gose_sgd
from optaxaccel.cli import run_definition
from optaxaccel.training.many import minibatches
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study

REPORT = "report, section 6.4"
METHODS = {
    "standard": lambda rate: optax.sgd(rate, momentum=0.9),
    "AGD": agd,
    "GOSE": gose_sgd,
    "ANCM": ancm,
}


def measure(
    data: str,
    train: int,
    pool: int,
    width: float,
    batch: int,
    epochs: int,
    seeds: int,
    rates: list[float],
    methods: list[str],
) -> Measured:
    problem = minibatches.images(data, "cnn", train=train, test=1000, pool=pool, width=width)
    points, values, failures = [], {}, np.zeros(len(rates))
    for name in methods:
        runs = minibatches.train(
            lambda setting, name=name: METHODS[name](setting["rate"]),
            problem,
            [{"rate": rate} for rate in rates],
            seeds=range(1, seeds + 1),
            epochs=epochs,
            batch_size=batch,
            together=1,
        )
        end = runs.train_loss[:, :, -1]
        failed = ~(end < math.log(10.0))
        failures += failed.sum(1)
        for rate, loss, bad, error in zip(rates, end, failed, runs.error[:, :, -1], strict=True):
            values[f"failed seeds of {seeds}, rate {rate:g}: {name}"] = float(bad.sum())
            values[f"seeds that are not finite, rate {rate:g}: {name}"] = float((~np.isfinite(loss)).sum())
            if not bad.all():
                values[f"training loss of those that did not fail, rate {rate:g}: {name}"] = float(loss[~bad].mean())
                values[f"their test accuracy (%), rate {rate:g}: {name}"] = float(100 * (1.0 - error[~bad]).mean())
            y = np.nan_to_num(loss, nan=10.0).clip(max=10.0)
            bounds = {"low": float(y.min()), "high": float(y.max())}
            points += [{"panel": "loss", "series": name, "x": rate, "y": float(y.mean()), **bounds}]
    for rate, count in zip(rates, failures, strict=True):
        values[f"failed runs (%), rate {rate:g}, all methods"] = float(100 * count / (seeds * len(methods)))
    return Measured(points, values)


RATES = [0.3, 0.03, 0.003, 0.0003]
EXPECTED = {
    "failed runs (%), rate 0.3, all methods": Expect(100.0, 100.0, REPORT),
    "failed runs (%), rate 0.03, all methods": Expect(0.0, 0.0, REPORT),
}
SMALL = {
    "data": "cifar10",
    "train": 2560,
    "pool": 2,
    "width": 0.25,
    "batch": 64,
    "epochs": 2,
    "seeds": 5,
    "rates": RATES,
    "methods": list(METHODS),
}
FEW = {"data": "digits", "train": 32, "pool": 1, "width": 0.0625, "batch": 16, "epochs": 1, "rates": [0.03]}
RUNS = {
    "smoke": Study(measure, {**SMALL, **FEW, "methods": ["standard"]}),
    "small": Study(measure, SMALL, EXPECTED),
    "paper": Study(measure, {**SMALL, "train": 50_000, "pool": 1, "width": 1.0, "batch": 128, "epochs": 6}, EXPECTED),
}
PANELS = {"loss": Panel("mean and range of the seeds", "rate", "training loss (nats), cut at 10", log="x")}

VERDICT = {
    "small": (
        "partly reproduced",
        "As the scaled claim: 0.3 fails with all four methods, four seeds of five each, but by chance level and "
        "not by infinity: no loss is nan, and the fifth seed has learnt next to nothing (10 to 19 % accuracy). "
        "At 0.03 no run fails and all learn (27 to 30 % after 80 updates); at 0.003 the training loss has "
        "fallen less (2.21 to 2.29 against 1.91 to 1.98), at 0.0003 hardly at all: nine of twenty runs are "
        "still above ln 10 there, being slow, not lost. ANCM is ahead of the others at the two small rates, as "
        "on MNIST. GOSE is standard but for rounding.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
