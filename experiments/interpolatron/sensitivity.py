"""Is Interpolatron insensitive to its coefficients and its learning rate, where SGD is not?

Claim:    Figs. 6 and 7: alpha_1 in {0.05, 0.1, 0.25, 0.5} and beta in {0.05, 0.1, 0.25} hardly matter for two steps;
          SGD relies heavily on beta.
Protocol: all combinations of the paper and SGD with the three beta, weight decay and drops as in resnet98.py, nothing
          chosen; ranked by training loss. Sensitivity is the ratio of the largest to the smallest final loss. Our
          CIFAR-10 is a lossy JPEG (q75) copy. small is the scaled claim: the 3-conv network with half its channels,
          10,000 images, 10 epochs, 5 seeds.
Command:  optaxaccel run experiments/interpolatron/sensitivity.py --scale small
Cost:     small: 75 runs of half a minute, an hour on one busy core. paper: 15 runs of half
          a day on one accelerator.
Expected: on noisy problems the slow modes go as SGD with beta / sum(i alpha_i): Interpolatron at beta is SGD at about
          half of it, so it should be as sensitive as SGD.
"""

from interpolatron_plans import falling

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import SMOKE, Contender, Grid
from optaxaccel.training.run.spec import Run

ALPHAS, BETAS = (0.05, 0.1, 0.25, 0.5), (0.05, 0.1, 0.25)


def grid(base: Run, drops: tuple[int, ...], seeds: int, betas: tuple[float, ...] = BETAS) -> Grid:
    base = base.replace(weight_decay=4e-4)
    contenders = {
        f"alpha_1 {alpha:g}": tuple(
            falling(base, "interpolatron", drops, learning_rate=beta, coefficients=(alpha, round(1 - alpha, 9)))
            for beta in betas
        )
        for alpha in ALPHAS
    }
    contenders["SGD"] = tuple(falling(base, "optax.sgd", drops, learning_rate=beta) for beta in betas)
    return Grid(tuple(Contender(label, settings) for label, settings in contenders.items()), seeds)


SMALL = Run(model="cnn", model_args={"width": 0.5}, data="cifar10", train_split="train[:10000]", epochs=10)
RUNS = {
    "smoke": grid(Run(**SMOKE), (1,), seeds=1, betas=(0.1,)),
    "small": grid(SMALL.replace(eval_every=5), (4, 6, 8), seeds=5),
    "paper": grid(Run(model="resnet98_cifar", data="cifar10", epochs=250), (100, 150, 200), seeds=2),
}

VERDICT = {
    "small": (
        "not reproduced",
        "On this scaled problem Interpolatron is no less sensitive than SGD: the largest training loss at the end over "
        "the smallest, across the three beta, is 1.17 for SGD and 1.23, 1.25, 1.28, 1.32 for alpha_1 of 0.05, 0.1, "
        "0.25, 0.5 (five seeds; by held-out loss, which was all that the runs published before had, 1.10 and 1.19 to "
        "1.23); across alpha_1, at the best beta, it is 1.16. It is what the slow modes say: two steps at beta go as "
        "SGD at beta / (2 - alpha_1), so all end above SGD with the same beta, but for alpha_1 = 0.5 with the "
        "largest. After ten epochs every method still gains from the largest beta; after 250, as in the paper, the "
        "differences may be smaller.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
