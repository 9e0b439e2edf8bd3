"""Which of PAL's features matter: momentum, loose approximation, decay?

Claim:    Table 1: of 1,080 settings in 8 disjoint sets the best have loose approximation and decay; with momentum on
          top training is fastest; momentum without decay is the worst. Published ranks of the sets' best by training
          loss: none 142, d 27, lambda 32, lambda d 1, alpha 349, alpha d 15, alpha lambda 164, alpha lambda d 1.
Protocol: the paper's grid as printed: mu {0.1, 0.01, 0.001}, alpha {0, 0.2, ..., 1}, lambda {0.2, ..., 1.2}, s_max
          {0.1, 1}, decay {0.8, ..., 1}; a feature is off at alpha 0, lambda 1, decay 1. Every setting with every
          seed; ranked by the loss on training images at the end; the mean of log10 of the minibatches' loss
          stands for the paper's integral. Slope "exact" (the paper's rule is studied in slopes.py). small is the
          scaled claim: a perceptron (64 units) on the digits, batch 64, 20 epochs, 5 seeds.
Command:  optaxaccel run experiments/pal/ablation.py --scale small
Cost:     small: 5,400 runs of 440 updates, six minutes on one core. paper: 10,800 runs of half an hour on one
          accelerator of 2019.
Expected: the paper's order of the eight sets.
"""

from itertools import product

from pal_grids import RATES, pal

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE, Contender, Grid, Reported
from optaxaccel.training.run.spec import Run

MU, S_MAX = (0.1, 0.01, 0.001), (0.1, 1.0)
ALPHA, LAMBDA = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)


def grid(base: Run, seeds: int, every: int = 1) -> Grid:
    """Sort all settings into the eight sets of features that they use."""
    sets: dict[str, list[Run]] = {}
    for mu, alpha, loose, s_max, rate in product(MU, ALPHA, LAMBDA, S_MAX, RATES):
        used = (("alpha", alpha != 0.0), ("lambda", loose != 1.0), ("d", rate != 1.0))
        label = " ".join(name for name, on in used if on) or "none"
        sets.setdefault(label, []).append(pal(base, mu, alpha, loose, s_max, rate))
    return Grid(tuple(Contender(label, tuple(settings[::every])) for label, settings in sets.items()), seeds)


SMALL = Run(model="mlp", model_args={"hidden": (64,)}, data="digits", batch_size=64, epochs=20, eval_every=20)
PAPER = Run(
    model="resnet34_v2_cifar",
    data="cifar10",
    train_split="train[:45000]",
    batch_size=100,
    normalise="pixel",
    epochs=87,
    eval_every=5,
)
RUNS = {
    "smoke": grid(Run(**SMOKE), seeds=1, every=400),
    "small": grid(SMALL, seeds=5),
    "paper": grid(PAPER, seeds=10),
}

REPORTED = Reported(
    "train loss (rank)",
    {
        "none": "1.06e-8 (142)",
        "d": "6.99e-12 (27)",
        "lambda": "1.25e-11 (32)",
        "lambda d": "0 (1)",
        "alpha": "8.65e-5 (349)",
        "alpha d": "2.96e-13 (15)",
        "alpha lambda": "3.67e-8 (164)",
        "alpha lambda d": "0 (1)",
    },
)  # Table 1; 0 is below 1e-13

VERDICT = {
    "small": (
        "partly reproduced",
        "As the scaled claim: all three features together are best (rank 1) and loose approximation helps "
        "everywhere, as in the paper. Momentum helps here even without decay, where the paper has it as the "
        "worst set (rank 349), and decay alone gains nothing within 20 epochs (the paper: rank 27 against "
        "142). Our slope along the line is exact; the paper's is not when there is momentum (slopes.py).",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
