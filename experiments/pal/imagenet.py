"""How does PAL do on ImageNet after 72 hours?

Claim:    Table 3: ResNet-34, batch 256, training loss after 72 hours: SGD 9.2e-2, PAL 1.8e-1, Adam 7.2e-1, RMSProp
          3.62; epochs 111 (PAL) against 162, 161, 161.
Protocol: the paper's best settings, nothing chosen, equal time. ImageNet is not here, so small runs the same settings
          on CIFAR-10 (lossy JPEG q75 copy) with a ResNet of 8 layers, half the channels, 10,000 images, 20 seconds, 5
          seeds: it tests the code, not the claim.
Command:  optaxaccel run experiments/pal/imagenet.py --scale small
Cost:     small: 25 runs of 20 seconds. paper: 15 runs of three days on one accelerator.
Expected: the paper's order.
"""

from pal_grids import best_on_imagenet

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE, Reported
from optaxaccel.training.run.spec import Run

NET = {"blocks": (1, 1, 1), "width": 0.5}
SMALL = Run(
    model="resnet20_cifar", model_args=NET, data="cifar10", train_split="train[:10000]", batch_size=100, epochs=200
)
PAPER = Run(model="resnet34_v2", data="imagenet2012", test_split="validation", batch_size=256)
RUNS = {
    "smoke": best_on_imagenet(Run(**SMOKE), None, seeds=1),
    "small": best_on_imagenet(SMALL, 20, seeds=5),
    "paper": best_on_imagenet(PAPER, 72 * 3600, seeds=3),
}

REPORTED = Reported(
    "train loss",
    {"SGD": "9.2e-2", "PAL": "1.8e-1", "PAL without momentum": "2.1e-1", "Adam": "7.2e-1", "RMSProp": "3.62"},
    ("epochs", {"PAL": "111.4", "SGD": "162.3", "RMSProp": "160.6", "Adam": "161.1"}),
)  # Tables 3 and 2

VERDICT = {
    "small": (
        "not testable here",
        "ImageNet is not at hand. The scaled run, on another data set and network, only shows that the "
        "definition works. The training loss was not evaluated; means over the last minibatches, published "
        "before, had PAL first and misled: by held-out loss after 20 seconds RMSProp (1.56 ± 0.01) and Adam "
        "(1.57) are first, SGD (1.58 ± 0.05) follows, and PAL without momentum (1.63 ± 0.04) and with it (1.71 ± "
        "0.07, 39.3 ± 1.4 %, Adam 43.3 ± 0.3) are last. PAL makes 3.1 epochs where SGD makes 4.3, 72 % (the "
        "paper: 69 %).",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
