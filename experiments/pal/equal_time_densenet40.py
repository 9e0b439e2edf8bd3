"""Is PAL's training loss the lowest after equal time on DenseNet-40?

Claim:    Tables 2 and 3: DenseNet-40 (k = 12) after 120 minutes: PAL 2.0e-9, Adam 3.5e-9, RMSProp 3.0e-7, SGD 5.9e-6;
          epochs 83 (PAL) against 131 (SGD), 134, 129.
Protocol: a budget of training seconds, without compilation and evaluation, on one machine; every method has the same
          number of settings (the paper's best for this network and its neighbours in the grid), the best by training
          loss on a tuning seed is trained again with fresh seeds; epochs counted as in Table 2. Our CIFAR-10 is a
          lossy JPEG (q75) copy. small is the scaled claim: three blocks of two layers, 10,000 images, 60 seconds of
          one core (taskset -c 0), two settings of each (the paper's best for DenseNet-40 is one), 5 seeds.
Command:  optaxaccel run experiments/pal/equal_time_densenet40.py --scale small
Cost:     small: 35 runs of a minute. paper: 60 runs of two hours, four days on one accelerator.
Expected: PAL makes about 60 % of SGD's epochs (two forward passes and one backward against one and one).
"""

from pal_grids import equal_time

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE, Reported
from optaxaccel.training.run.spec import Run

NET = {"blocks": (2, 2, 2)}
SMALL = Run(model="densenet40", model_args=NET, data="cifar10", train_split="train[:10000]", batch_size=100)
PAPER = Run(model="densenet40", data="cifar10", train_split="train[:45000]", batch_size=100, normalise="pixel")
BEST = {
    "PAL": (0.1, 0.6, 0.6, 1.0, 0.95),
    "PAL without momentum": (0.1, 0.0, 0.4, 1.0, 0.95),
    "SGD": (0.01, 0.95, 1.0),
    "Adam": (0.01, 0.95),
    "RMSProp": (0.001, 0.95),
}  # Table 3; there s_max of PAL without momentum is printed as 17, which is not in the paper's grid; 1 is
RUNS = {
    "smoke": equal_time(Run(**SMOKE), None, seeds=1, count=1),
    "small": equal_time(SMALL, 60, seeds=5, of_paper=BEST),
    "paper": equal_time(PAPER, 7200, seeds=10, of_paper=BEST),
}

REPORTED = Reported(
    "train loss",
    {"PAL": "2.00e-9", "PAL without momentum": "4.67e-8", "SGD": "5.88e-6", "Adam": "3.51e-9", "RMSProp": "3.03e-7"},
    ("epochs", {"PAL": "82.7", "SGD": "130.7", "RMSProp": "134.4", "Adam": "129.1"}),
)  # Tables 3 and 2

VERDICT = {
    "small": (
        "not tested at this size",
        "Fewer than two epochs fit into 60 seconds of one core, where the paper has 83 to 134: the claim cannot "
        "show. By then RMSProp (1.54 ± 0.03) and Adam (1.64 ± 0.04) have the lowest training loss; SGD (1.68 ± "
        "0.02), PAL without momentum (1.69 ± 0.04) and PAL (1.76 ± 0.04) follow, PAL 0.09 ± 0.04 behind SGD "
        "(paired). PAL makes 81 % of SGD's epochs (the paper: 63 %). The machine's other core was busy with "
        "other work.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
