"""Does RNA beside training lower the error of VGG on CIFAR-10?

Claim:    Fig. 1 and Table 1 (VGG): lowest top-1 error 6.18 % without and 5.86 % with RNA; the extrapolated network is
          near its final accuracy at half the epochs, its curve is smoother, and it gains nothing for some epochs
          after a drop of the rate.
Protocol: SGD with momentum 0.9 and weight decay 1e-5, rate 0.01, a tenth of it after each drop, random translation,
          as in the paper; after every epoch the last 11 iterates are extrapolated (lambda 1e-8) and the copy is
          evaluated, training is untouched. Lowest test error on the way with and without extrapolation, as the paper
          reports it. Variants: batch statistics combined with the same weights, or refreshed on training images;
          lambda, fixed or chosen by the loss on 1,024 training images; and, where there are no batch statistics that
          a jump would leave behind (small), online: training itself goes on from the extrapolated point. Nothing is
          tuned. Our CIFAR-10 is a lossy JPEG (q75) copy. small is the scaled claim: the 3-conv network with half the
          channels (no batch norm), 10,000 images, 24 epochs, drops at 14 and 20, 5 seeds.
Command:  optaxaccel run experiments/rna/vgg.py --scale small
Cost:     small: 25 runs of a minute, half an hour. paper: 300 epochs, runs of hours on
          one accelerator.
Expected: as for ResNet-18.
"""

from rna_plans import ONLINE, lowest_error, plan, smoke

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE
from optaxaccel.training.run.spec import Run

PLAIN = ("combined", "lambda 1e-4", "adaptive", *ONLINE)
SMALL = Run(model="cnn", model_args={"width": 0.5}, data="cifar10", train_split="train[:10000]", epochs=24)
RUNS = {
    "smoke": smoke(Run(**SMOKE)),
    "small": plan(SMALL.replace(augment="translate"), 0.01, (14, 20), 5, PLAIN, constant=False),
    "paper": plan(
        Run(model="vgg16_bn_cifar", data="cifar10", augment="translate", epochs=300),
        0.01,
        (150, 250),
        3,
        ("combined", "refreshed", "lambda 1e-4", "adaptive"),
        constant=False,
    ),
}

REPORTED = lowest_error("6.18", "5.86")

VERDICT = {
    "small": (
        "not reproduced",
        "As the scaled claim, on a network without batch norm and at the paper's small rate: the extrapolated "
        "network is worse than the network in nearly every epoch before the first drop (by 5 points at epoch "
        "8, 2 at half the epochs: 43.9 against 41.9 %), as good after it, and its lowest error is the "
        "network's (36.4 % both; the paper: 0.32 below). The iterates move steadily here and do not swing, so "
        "a mean of eleven of them lies behind. lambda 1e-4 changes nothing. The adaptive choice sees this and "
        "returns the newest iterate or nearly so. Online, training that goes on from the extrapolated point "
        "is held back by it: 47.9 %, with lambda 1e-1 49.3 %.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
