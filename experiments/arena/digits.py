"""Which method trains a small network on handwritten digits best, when all may tune equally much?

Claim:    none of a paper's; this is the suite's own comparison on data that needs no download.
Protocol: four settings a method, each trained once on 80 % of the training images and judged on the other 20 %; the
          best setting is trained again from fresh seeds on all training images and judged on the test images.
Command:  optaxaccel run experiments/arena/digits.py --scale small
Cost:     small: 20 + 25 runs of 660 updates, under a minute on two cores; paper: the same with 10 seeds, 100 epochs.
Expected: test accuracies within a few tenths of a percent of each other; the order is not stable at 5 seeds.
"""

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE, Contender, Plan
from optaxaccel.training.run.spec import Run

BASE = Run(model="mlp", data="digits", batch_size=64, epochs=30)

GRIDS = {  # label: (method, four settings)
    "SGD momentum": ("optax.sgd", [{"learning_rate": r, "momentum": 0.9} for r in (0.01, 0.03, 0.1, 0.3)]),
    "Adam": ("optax.adam", [{"learning_rate": r} for r in (0.0003, 0.001, 0.003, 0.01)]),
    "PAL": ("pal", [{"measuring_step_size": m, "momentum": a} for m in (0.1, 0.01) for a in (0.0, 0.4)]),
    "Interpolatron": ("interpolatron", [{"learning_rate": r} for r in (0.1, 0.3, 0.5, 1.0)]),
    "INDIAN": ("indian", [{"learning_rate": r, "alpha": 0.5, "beta": 0.1} for r in (0.03, 0.1, 0.2, 0.5)]),
}


def plan(base: Run, seeds: int) -> Plan:
    return Plan(
        tuple(
            Contender(label, tuple(base.replace(method=method, method_args=setting) for setting in settings))
            for label, (method, settings) in GRIDS.items()
        ),
        seeds=seeds,
    )


RUNS = {
    "smoke": plan(Run(**SMOKE), seeds=1),
    "small": plan(BASE, seeds=5),
    "paper": plan(BASE.replace(epochs=100), seeds=10),
}

VERDICT = {
    "small": (
        "measured",
        "The demo of the README: at five seeds the five methods lie within 0.4 % of each other, less than an error.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
