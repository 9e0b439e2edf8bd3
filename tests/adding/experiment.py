"""Does gradient descent tell bright from dark?

Claim:    a toy's, that it does.
Protocol: one setting, one seed, no tuning.
Command:  optaxaccel run experiments/arena/toy.py --scale small
Cost:     seconds.
Expected: every test image right.
"""

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import Contender, Plan
from optaxaccel.training.run.spec import Run

RUN = Run(method="toy", method_args={"learning_rate": 0.5}, model="toy", data="toy", batch_size=16, steps=8)
PLAN = Plan((Contender("toy", (RUN,)),), seeds=1)
RUNS = dict.fromkeys(("smoke", "small", "paper"), PLAN)

if __name__ == "__main__":
    run_definition(__file__)
