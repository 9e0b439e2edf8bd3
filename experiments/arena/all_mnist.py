"""Which of all methods trains a perceptron on MNIST best, tuned equally or not at all?

Claim:    none of a paper's; this is the suite's own comparison of all methods and baselines.
Protocol: written before running. Every method varies its main hyperparameter over five decades, eleven values,
          everything else at its default (momentum 0.9 where it is a method's point; RNA over the last 5 epochs), no
          schedules: the same budget for all. (A first pass over four decades had optima at the ends of the grid; it was
          widened once, for all methods.) Each setting is trained on 80 % of the training images and judged on the other
          20 %, with one seed that chooses and another one that tells what the choice is worth; the best is trained
          again from fresh seeds on all training images and judged on the test images. Diverged runs count as worst.
          small: the perceptron of 128 units, batch 128, 2 epochs, 5 seeds.
Command:  optaxaccel run experiments/arena/all_mnist.py --scale small
Cost:     small: 320 runs, an hour on two shared cores. paper: the 3-conv network, 10 epochs, 5 seeds.
Expected: tuned, most methods lie within half a percent.
"""

from arena_methods import plan, smoke

from optaxaccel.cli import run_definition
from optaxaccel.training.run.spec import Run

RUNS = {
    "smoke": smoke(),
    "small": plan(Run(model="mlp", data="mnist", batch_size=128, epochs=2, eval_every=0.25), seeds=5),
    "paper": plan(Run(model="cnn", data="mnist", batch_size=128, epochs=10), seeds=5),
}

VERDICT = {
    "small": (
        "measured",
        "Accelerated gradient descent, AdaGrad, Polyak's step and plain momentum lead, within 0.1 % of each "
        "other; PAL without decay of its step sizes is last: it follows every batch to its minimum and stays "
        "on a noise floor. Short runs (2 epochs) favour what is fast early. Seconds are of a core that other "
        "work shared.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
