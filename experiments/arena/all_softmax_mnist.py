"""Which of all methods is best on stochastic softmax regression, ill-conditioned and convex?

Claim:    none of a paper's; this is the suite's own comparison of all methods and baselines.
Protocol: written before running. Every method varies its main hyperparameter over five decades, eleven values,
          everything else at its default (momentum 0.9 where it is a method's point; RNA over the last 5 epochs), no
          schedules: the same budget for all. (A first pass over four decades had optima at the ends of the grid; it was
          widened once, for all methods.) Each setting is trained with one seed that chooses, by the training loss, and
          with another one that tells what the choice is worth; the best is trained again from fresh seeds. Diverged
          runs count as worst. small: MNIST, pixels in [0, 1] without centring, batch 128, 1 epoch, 5 seeds.
Command:  optaxaccel run experiments/arena/all_softmax_mnist.py --scale small
Cost:     small: 320 runs, half an hour on two shared cores. paper: 10 epochs, 5 seeds.
Expected: Adam, AdaGrad and momentum ahead of plain gradient descent.
"""

from arena_methods import plan, smoke

from optaxaccel.cli import run_definition
from optaxaccel.training.run.spec import Run

BASE = Run(model="mlp", model_args={"hidden": ()}, data="mnist", normalise="none", batch_size=128, epochs=1)
RUNS = {
    "smoke": smoke(by="train loss"),
    "small": plan(BASE.replace(eval_every=0.1), seeds=5, by="train loss"),
    "paper": plan(BASE.replace(epochs=10), seeds=5, by="train loss"),
}

VERDICT = {
    "small": (
        "measured",
        "Schedule-free SGD leads, then Adam, RMSProp and accelerated momentum; plain gradient descent is "
        "behind all forms of momentum and AdaGrad, as expected. PAL without decay is last: a noise floor "
        "again.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
