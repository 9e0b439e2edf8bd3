"""Does PAL train with dropout, which the paper removed from its networks?

Claim:    none of the paper's: it removes dropout, since two losses of one step must be of the same function. Here both
          losses of a step are taken with the same mask, so the line search may stay as it is.
Protocol: Network in Network with dropout 0.5 after its first two blocks, and without; PAL (measuring step 0.1, momentum
          0.4, largest step 1, no decay) against SGD with momentum 0.9 and Adam. Five settings each (loose
          approximation; learning rate; three stood here before, and three of six bests at an end of them), the best by
          accuracy on a fifth of the training images is trained again with fresh seeds. small: a quarter of the channels
          on the digits, batch 64, 20 epochs, 5 seeds.
Command:  optaxaccel run experiments/pal/dropout.py --scale small
Cost:     small: 60 runs of half a minute, half an hour on one core. paper: CIFAR-10, hours on an accelerator.
Expected: with dropout PAL stands to SGD and Adam as without it (written before running).
"""

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE, Contender, Plan
from optaxaccel.training.run.spec import Run

METHODS = {
    "PAL": ("pal", "loose_approximation", (0.6, 0.8, 0.4, 1.0, 0.2), {"momentum": 0.4}),
    "SGD": ("optax.sgd", "learning_rate", (0.03, 0.1, 0.01, 0.003, 0.001), {"momentum": 0.9}),
    "Adam": ("optax.adam", "learning_rate", (0.001, 0.003, 0.01, 0.0003, 0.0001), {}),
}


def plan(base: Run, networks: dict[str, dict], seeds: int, count: int = 5) -> Plan:
    """Every method on every network."""
    return Plan(
        tuple(
            Contender(
                f"{label}, {name}",
                tuple(
                    base.replace(method=method, method_args={**fixed, argument: value}, model_args=network)
                    for value in values[:count]
                ),
            )
            for name, network in networks.items()
            for label, (method, argument, values, fixed) in METHODS.items()
        ),
        seeds,
    )


def nin(**more: float) -> dict[str, dict]:
    return {f"dropout {rate:g}": {"dropout": rate, **more} for rate in (0.0, 0.5)}


RUNS = {
    "smoke": plan(Run(**SMOKE), {"no dropout": {"hidden": (8,)}}, seeds=1, count=1),
    "small": plan(Run(model="nin", data="digits", batch_size=64, epochs=20), nin(width=0.25), seeds=5),
    "paper": plan(Run(model="nin", data="cifar10", batch_size=128, epochs=100), nin(), seeds=5),
}

VERDICT = {
    "small": (
        "measured",
        "It does, as expected. With dropout PAL reaches 93.8 ± 0.6 %, as without it (0.4 ± 0.7 less, paired); it "
        "stands 1.6 ± 0.7 points above SGD and 1.3 ± 0.6 below Adam, without dropout 0.4 ± 0.7 below SGD and 1.1 "
        "± 0.7 below Adam. With five settings each no best one stands at an end of its grid. Seconds are of a "
        "core that other work shared.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
