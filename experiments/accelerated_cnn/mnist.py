"""Are AGD, GOSE, ANCM and the combined method better than momentum SGD on MNIST, and what do they cost?

Claim:    Figs. 1, 3, 5 and Table 1: on the 3-conv network after 6 epochs AGD is steadier and better than standard,
          GOSE a little better, combined about as fast as GOSE and better. Published accuracy: standard .9923, AGD
          .9896, GOSE .9915, ANCM .9909, combined .9926 (2 runs). Published seconds an epoch over standard: AGD 0.98,
          GOSE 1.48, ANCM 8.95, combined 1.49.
Protocol: rate 0.02, momentum 0.9, batch 128, no augmentation, channel-wise normalisation, as in the report; nothing
          is tuned; weights and batches are shared per seed. GOSE, combined: Lanczos every 16 steps when the mean
          gradient is below 1e-3; ANCM: a search every 100 steps (the report's code called its finder in none of its
          GOSE and combined runs). All runs in one process, so seconds compare. small: channels halved, 3 epochs, 5
          seeds: the scaled claim.
Command:  optaxaccel run experiments/accelerated_cnn/mnist.py --scale small
Cost:     small: 30 runs of half a minute, a quarter of an hour on one core. paper: minutes on one accelerator.
Expected: differences below the spread between seeds; GOSE about as fast as standard, since it searches only where the
          gradient is small.
"""

from cnn_methods import MNIST, contenders, reported

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE, Plan
from optaxaccel.training.run.spec import Run

SMALL = Run(model="cnn", model_args={"width": 0.5}, data="mnist", batch_size=128, epochs=3)
PAPER = Run(model="cnn", data="mnist", batch_size=128, epochs=6)
RUNS = {
    "smoke": Plan(contenders(Run(**SMOKE), 0.02)[:3], seeds=1),
    "small": Plan(contenders(SMALL, 0.02), seeds=5),
    "paper": Plan(contenders(PAPER, 0.02), seeds=5),
}
REPORTED = reported(MNIST, {"standard": "1", "AGD": "0.98", "GOSE": "1.48", "ANCM": "8.95", "combined": "1.49"})
VERDICT = {
    "small": (
        "not reproduced",
        "GOSE never met its gradient threshold, so of GOSE nothing is tested here but the cost of watching; where "
        "it can act is in [saddles.py](saddles.py), [searches.py](searches.py) and [long.py](long.py). "
        "As the scaled claim: the six end within 0.14 % of each other. AGD and the combined method, which is "
        "AGD to the digit, stand 0.11 ± 0.06 points above standard (paired, five seeds), ANCM 0.08 ± 0.04, "
        "optax's Nesterov momentum 0.13 ± 0.09; GOSE is where standard is. The report's own differences are "
        "as small, and its AGD is worse than standard on MNIST. GOSE and the combined method made no search, "
        "since the mean gradient never fell below its threshold; ANCM made 14 or 15 searches and one to ten "
        "jumps. The seconds over standard's (one core, nothing else on it) are 1.01 for AGD, 1.04 for GOSE, "
        "1.33 for ANCM and 1.07 for the combined method (the report: 0.98, 1.48, 8.95, 1.49); optax's "
        "Nesterov momentum, whose work is standard's, takes 1.08, so differences below a tenth mean nothing.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
