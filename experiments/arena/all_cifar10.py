"""Which of all methods trains a convolutional network on CIFAR-10 best, tuned equally or not at all?

Claim:    none of a paper's; this is the suite's own comparison of all methods and baselines.
Protocol: written before running. Every method varies its main hyperparameter over five decades, eleven values,
          everything else at its default (momentum 0.9 where it is a method's point; RNA over the last 5 epochs), no
          schedules: the same budget for all. (A first pass over four decades had optima at the ends of the grid; it was
          widened once, for all methods. PAL's best stood at the lower end after that, so its eleven values begin a
          decade lower here.) Each setting is trained on 80 % of the training images and judged on the other 20 %, with
          one seed that chooses and another one that tells what the choice is worth; the best is trained again from
          fresh seeds on all training images and judged on the test images. Diverged runs count as worst. small: the
          3-conv network with a quarter of its channels, 10,000 images, batch 128, 3 epochs, 5 seeds; every second value
          of the grid (six). Our CIFAR-10 is a lossy JPEG (q75) copy.
Command:  optaxaccel run experiments/arena/all_cifar10.py --scale small
Cost:     small: 340 runs, an hour on one core. paper: the whole network and data, 20 epochs, eleven values, 5
          seeds.
Expected: momentum, Adam and PAL near the top; short runs favour what is fast early.
"""

from arena_methods import decades, plan, smoke

from optaxaccel.cli import run_definition
from optaxaccel.training.run.spec import Run

SMALL = Run(model="cnn", model_args={"width": 0.25}, data="cifar10", train_split="train[:10000]", epochs=3)
SMALLER = {"PAL": decades(-4)}  # measuring steps
RUNS = {
    "smoke": smoke(),
    "small": plan(SMALL.replace(normalise="half"), seeds=5, every=2, shifted=SMALLER),
    "paper": plan(Run(model="cnn", data="cifar10", normalise="half", epochs=20), seeds=5),
}

VERDICT = {
    "small": (
        "measured",
        "Three epochs reward what is fast early: schedule-free SGD (48.4 ± 0.9 %) leads by four points before "
        "Adam, Nesterov's method and accelerated gradient descent; RMSProp, AdaGrad and Nesterov momentum follow "
        "five to seven points behind the first, heavy ball twelve. PAL without decay of its step sizes (33.7 ± "
        "2.3 %) is where plain SGD is (35.4 ± 1.0 %); Interpolatron is last (30.0 ± 0.9 %). RNA over the last "
        "five epochs extrapolates from the start of the run here.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
