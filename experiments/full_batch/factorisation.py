"""Which method factorises a matrix best, from random starts?

Claim:    the suite's own: extrapolation and exact parabolas win by orders of magnitude where gradients are exact.
Protocol: written before running, but for one thing: after a first look at the tensor three starts choose instead of
          one, since a setting good from one diverged from others. A 30 x 20 matrix of rank 5 with singular values from
          1 to 0.05, factors of rank 5, random starts, float64. A first version was so well conditioned that nearly all
          methods reached rounding. Every contender begins with 33 settings: eleven values of its main hyperparameter
          over five decades by three of another one, or 33 of the main one; L-BFGS with three. Where the best stands at
          an end, a decade of the main one or the next of the other one is tried as well, until it does not; of equally
          good settings the middle one is taken. (The grids were fixed at first, and bests stood at their ends.) Three
          starts choose, five others tell: the excess loss over that of the start after 300 oracle calls, geometric
          mean, where a run that ends above its start counts as its start. A call is a loss, with or without its
          gradient; a Hessian product is two. paper: 3,000 calls, ten starts.
Command:  optaxaccel run experiments/full_batch/factorisation.py --scale small
Cost:     some minutes on two shared cores.
Expected: L-BFGS, Anderson, RNA at every step and PAL orders below heavy ball.
"""

from full_batch_methods import BELOW, PANELS, runs  # noqa: F401

from optaxaccel.cli import run_definition

RUNS = runs(
    "factorisation",
    {"rows": 30, "columns": 20, "rank": 5, "smallest": 0.05},
    {"rows": 4, "columns": 3, "rank": 2, "smallest": 0.5},
    BELOW,
)

VERDICT = {
    "small": (
        "partly reproduced",
        "Adam is first (2e-7), then optax's L-BFGS and PAL (1.5e-6), which is fifteen times below heavy ball at "
        "equal calls, an order and not six; our L-BFGS has 1.3e-5, with the memory that the tuning starts chose. "
        "What extrapolates is behind heavy ball by a factor of 2 (safeguarded Anderson) to 17. `nesterov` loses "
        "one start of five. No method comes to 1e-8 within 300 calls from every start.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
