"""Which of all methods is best on full-batch softmax regression, ill-conditioned and convex?

Claim:    none of a paper's; this is the suite's own comparison of all methods and baselines.
Protocol: written before running. Every method varies its main hyperparameter over five decades, eleven values,
          everything else at its default (momentum 0.9 where it is a method's point; with settings for full batches:
          Anderson over 10 steps, RNA at every step over 10, PAL with momentum 0.9 and exact parabolas), no schedules:
          the same budget for all. (A first pass over four decades had optima at the ends of the grid; it was widened
          once, for all methods.) Each setting is trained with one seed that chooses, by the training loss, and with
          another one that tells what the choice is worth; the best is trained again from fresh seeds. Diverged runs
          count as worst. small: digits, unscaled pixels in [0, 1] without centring (the Hessian is singular: some
          pixels are always 0), batches of 1,436 of the 1,437 images (an even number, for two devices), 300 steps, 5
          seeds.
Command:  optaxaccel run experiments/arena/all_softmax_digits.py --scale small
Cost:     small: 580 runs, a quarter of an hour on two shared cores. paper: 3,000 steps, 10 seeds.
Expected: L-BFGS first, then methods with momentum; PAL near the top without tuning.
"""

from typing import Any

from arena_methods import plan, smoke

from optaxaccel.cli import run_definition
from optaxaccel.training.run.spec import Run

TARGET = 0.01  # nats; the loss of images that can be told apart has no minimum: what counts are the calls to here
BASE = Run(model="mlp", model_args={"hidden": ()}, data="digits", normalise="none", batch_size=1436, steps=300)
ABOUT: dict[str, Any] = {"by": "train loss", "full_batch": True, "target": TARGET}
RUNS = {
    "smoke": smoke(by="train loss"),
    "small": plan(BASE.replace(eval_every=15, log_every=1), seeds=5, **ABOUT),
    "paper": plan(
        BASE.replace(steps=3000, eval_every=3000, log_every=1),
        seeds=10,
        by="train loss",
        full_batch=True,
        target=TARGET,
    ),
}

VERDICT = {
    "small": (
        "measured",
        "The images can be told apart, so the loss has no minimum and every method wants the largest rate: most "
        "best settings stand at an end of their grids, and the order is that of who dares most. L-BFGS comes to "
        "a loss of exactly zero from every start, PAL with momentum 0.9 and exact parabolas to 5e-6, Nesterov's "
        "estimate sequences to 2e-4, all below heavy ball (1e-3) at equal calls. Anderson over ten steps and RNA "
        "at every step are a matter of rounding here: four and three starts of five end below 1e-7 with weights "
        "so large that the test loss is absurd, one of each at a loss above 10,000, and a run on two threads in "
        "place of one had Anderson at zero from all five and RNA from none. Read the calls to a loss of 0.01 in "
        "the comparison over all problems instead. Seconds are of a core that other work shared.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
