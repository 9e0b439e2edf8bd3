"""Is PAL's training loss the lowest after equal time on VGG-16?

Claim:    Tables 2 and 3: VGG-16 D after 30 minutes: Adam 3.4e-10, PAL 2.3e-9, RMSProp 4.9e-9, SGD 1.0e-6; epochs 80
          (PAL) against 135 (SGD), 131, 131.
Protocol: a budget of training seconds, without compilation and evaluation, on one machine; every method has the same
          number of settings (the paper's best for this network and its neighbours in the grid), the best by training
          loss on a tuning seed is trained again with fresh seeds; epochs counted as in Table 2. Our CIFAR-10 is a
          lossy JPEG (q75) copy. small is the scaled claim: the 3-conv network with half the channels, 10,000 images,
          30 seconds of one core (taskset -c 0), four settings of each (the paper's best for VGG-16, the best
          for ResNet-32 and neighbours; three had RMSProp's best at an end), 5 seeds.
Command:  optaxaccel run experiments/pal/equal_time_vgg16.py --scale small
Cost:     small: 45 runs of 30 seconds. paper: 70 runs of 30 minutes, a day on one accelerator.
Expected: PAL makes about 60 % of SGD's epochs (two forward passes and one backward against one and one).
"""

from pal_grids import equal_time

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE, Reported
from optaxaccel.training.run.spec import Run

SMALL = Run(model="cnn", model_args={"width": 0.5}, data="cifar10", train_split="train[:10000]", batch_size=100)
PAPER = Run(model="vgg16_cifar", data="cifar10", train_split="train[:45000]", batch_size=100, normalise="pixel")
BEST = {
    "PAL": (0.1, 0.6, 0.6, 0.1, 0.9),
    "PAL without momentum": (0.01, 0.0, 0.4, 1.0, 0.9),
    "SGD": (0.01, 0.8, 1.0),
    "Adam": (0.0001, 0.95),
    "RMSProp": (0.001, 0.95),
}  # Table 3
RUNS = {
    "smoke": equal_time(Run(**SMOKE), None, seeds=1, count=1),
    "small": equal_time(SMALL, 30, seeds=5, count=4, of_paper=BEST),
    "paper": equal_time(PAPER, 1800, seeds=10, count=4, of_paper=BEST),
}

REPORTED = Reported(
    "train loss",
    {"PAL": "2.28e-9", "PAL without momentum": "5.00e-9", "SGD": "1.02e-6", "Adam": "3.35e-10", "RMSProp": "4.85e-9"},
    ("epochs", {"PAL": "80.0", "SGD": "135.3", "RMSProp": "131.1", "Adam": "130.7"}),
)  # Tables 3 and 2

VERDICT = {
    "small": (
        "not reproduced",
        "As the scaled claim, on three convolutions, with the paper's best settings for VGG-16 in every grid: "
        "after 30 seconds of one core SGD has the lowest training loss (0.79 ± 0.02); Adam (1.06 ± 0.01), PAL "
        "without momentum (1.07 ± 0.03), PAL (1.08 ± 0.02) and RMSProp (1.09 ± 0.02) follow, level within their "
        "errors. The paper has SGD last by far. Only PAL without momentum was best at the setting that the paper "
        "found for VGG-16. RMSProp's best rate lies inside its grid; the momentum of SGD's best and the loose "
        "approximation of PAL's stand at an end of settings that are all the paper's. PAL makes 6.6 epochs where "
        "SGD makes 9.9, 67 % (the paper: 59 %). It is the early phase only: in the paper's 30 minutes PAL makes 80 "
        "epochs. The machine's other core was busy with other work.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
