"""Does RNA beside training lower the error of ResNet-18 on CIFAR-10?

Claim:    Fig. 1 and Table 1 (ResNet-18): lowest top-1 error 4.71 % without and 4.64 % with RNA; the extrapolated
          network is near its final accuracy at half the epochs, its curve is smoother, and it gains nothing for some
          epochs after a drop of the rate.
Protocol: SGD with momentum 0.9 and weight decay 1e-5, rate 0.1, a tenth of it after each drop, random translation, as
          in the paper; after every epoch the last 11 iterates are extrapolated (lambda 1e-8) and the copy is
          evaluated, training is untouched. Lowest test error on the way with and without extrapolation, as the paper
          reports it. Variants: batch statistics combined with the same weights, or refreshed on training images;
          lambda, fixed or chosen by the loss on 1,024 training images. Nothing is tuned. Our CIFAR-10 is a lossy JPEG
          (q75) copy. small is the scaled claim: a ResNet of 8 layers with half the channels, 10,000 images, 16
          epochs, drops at 10 and 13, 5 seeds; and once more without drops.
Command:  optaxaccel run experiments/rna/resnet18.py --scale small
Cost:     small: 30 runs of two minutes, an hour on two shared cores. paper: 300 epochs, 5 runs of hours on one
          accelerator.
Expected: smaller error than the network's for most epochs before a drop, hardly any difference in the end.
"""

from rna_plans import lowest_error, plan, smoke

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE
from optaxaccel.training.run.spec import Run

NET = {"blocks": (1, 1, 1), "width": 0.5}
SMALL = Run(model="resnet20_cifar", model_args=NET, data="cifar10", train_split="train[:10000]", epochs=16)
PAPER = Run(model="resnet18_cifar", data="cifar10", augment="translate", epochs=300)
ALL = ("combined", "refreshed", "lambda 1e-4", "lambda 1e-1", "adaptive")
RUNS = {
    "smoke": smoke(Run(**SMOKE)),
    "small": plan(SMALL.replace(augment="translate"), 0.1, (10, 13), 5, ALL, constant=True),
    "paper": plan(
        Run(model="resnet18_cifar", data="cifar10", augment="translate", epochs=300),
        0.1,
        (150, 250),
        3,
        ALL,
        constant=True,
    ),
}

REPORTED = lowest_error("4.71", "4.64")

VERDICT = {
    "small": (
        "partly reproduced",
        "As the scaled claim. Before the first drop of the rate the extrapolated network is better in nearly "
        "every epoch, at half the epochs by 3.9 points, and its curve is smoother (mean second difference 1.9 "
        "points against 4.3). After the drop it gains nothing. Half the epochs do not bring it near its final "
        "error (48.7 % at epoch 8, 39.9 % in the end), and its lowest error is not below the network's: 39.8 "
        "% both, where the paper has 0.07 less. What the drop does for the network the extrapolation does "
        "without it: at a constant rate its lowest error is 39.3 ± 0.5 %, the network's 42.5 % (3.2 ± 0.4 "
        "points, paired), and that is no worse than the best of all runs with drops. Refreshed statistics are "
        "better than combined ones early (53.7 against 55.8 % at epoch 4) and the same in the end; lambda "
        "1e-4 changes nothing and 1e-1 is worse (40.2 %); the adaptive choice is the best before the drop "
        "(45.7 against 47.0 %, refreshed, at half the epochs) and no better after it.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
