"""Is PAL's training loss the lowest after equal time on ResNet-32?

Claim:    Tables 2 and 3: ResNet-32 v2 after 30 minutes: PAL 1.8e-11, Adam 4.6e-9, RMSProp 5.0e-7, SGD 4.8e-6; epochs
          87 (PAL) against 173 (SGD), 169, 167.
Protocol: a budget of training seconds, without compilation and evaluation, on one machine; every method has the same
          number of settings (the paper's best for this network and its neighbours in the grid), the best by training
          loss on a tuning seed is trained again with fresh seeds; epochs counted as in Table 2. Our CIFAR-10 is a
          lossy JPEG (q75) copy. small is the scaled claim: a ResNet of 8 layers with half the channels, 10,000
          images, 30 seconds of one core (taskset -c 0), two settings, 5 seeds.
Command:  optaxaccel run experiments/pal/equal_time.py --scale small
Cost:     small: 35 runs of 30 seconds. paper: 60 runs of 30 minutes, a day on one accelerator.
Expected: PAL makes about 60 % of SGD's epochs (two forward passes and one backward against one and one).
"""

from pal_grids import equal_time

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE, Reported
from optaxaccel.training.run.spec import Run

NET = {"blocks": (1, 1, 1), "width": 0.5}
SMALL = Run(model="resnet20_cifar", model_args=NET, data="cifar10", train_split="train[:10000]", batch_size=100)
PAPER = Run(
    model="resnet32_v2_cifar",
    data="cifar10",
    train_split="train[:45000]",
    batch_size=100,
    normalise="pixel",
)
RUNS = {
    "smoke": equal_time(Run(**SMOKE), None, seeds=1, count=1),
    "small": equal_time(SMALL, 30, seeds=5),
    "paper": equal_time(PAPER, 1800, seeds=10),
}

REPORTED = Reported(
    "train loss",
    {"PAL": "1.80e-11", "PAL without momentum": "2.41e-11", "SGD": "4.77e-6", "Adam": "4.56e-9", "RMSProp": "5.01e-7"},
    ("epochs", {"PAL": "87.3", "SGD": "173.4", "RMSProp": "168.9", "Adam": "167.2"}),
)  # Tables 3 and 2

VERDICT = {
    "small": (
        "not reproduced",
        "As the scaled claim: after 30 seconds of one core Adam has the lowest training loss (1.38 ± 0.08), SGD "
        "(1.57 ± 0.07), PAL without momentum (1.67 ± 0.12), RMSProp (1.69 ± 0.34, one seed far off) and PAL "
        "(1.70 ± 0.10) follow; of PAL's distance only that to Adam is beyond two errors (0.33 ± 0.15, paired). "
        "PAL makes 3.5 epochs where SGD makes 4.5, 77 % (the paper: half). It is the early phase only: in the "
        "paper's 30 minutes PAL makes 87 epochs. The losses published before (1.02 to 1.27) were means of the "
        "last minibatches, in the mode of training. The machine's other core was busy with other work.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
