"""Which slope makes PAL with momentum work: the exact one, or one of the two that the paper prints?

Claim:    the paper uses -||direction|| for the slope along the line (Algorithm 1), says that the exact one (Eq. 8) is
          too expensive, and that momentum speeds training up.
Protocol: full-batch training of a small perceptron on 256 digits, float64, measuring step 0.1, loose approximation
          0.6, largest step 1; momentum 0, 0.4 and 0.6; three slope rules; a seed fixes data and weights. Nothing is
          tuned.
Command:  optaxaccel run experiments/pal/slopes.py --scale small
Cost:     a few seconds. Scales differ in the number of steps and seeds.
Expected: without momentum the three agree to the digit. With momentum the rule as printed degenerates where the
          gradient turns slowly: its step becomes mu / (2 momentum lambda) whatever the curvature, so it ends above no
          momentum at all, and the exact slope far below.
"""

import numpy as np

from optaxaccel import pal
from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study, about
from optaxaccel.training.many.trajectory import follow

SLOPES = ("exact", "direction_norm", "gradient_norm")
OURS = "float64 twin of the rule"


def measure(steps: int, seeds: int, momenta: list[float]) -> Measured:
    import jax
    import jax.numpy as jnp
    import optax

    from optaxaccel import data

    images = data.load("digits").train
    points, ends, steps_taken = [], {}, {}
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        chosen = random.permutation(len(images.label))[:256]
        x, label = images.image[chosen].reshape(256, -1) / 255.0, images.label[chosen]
        start = [random.normal(size=s) * np.sqrt(2.0 / s[0]) for s in ((64, 32), (32, 10))]

        def loss(weights, x=x, label=label):
            logits = jax.nn.relu(x @ weights[0]) @ weights[1]
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))

        for momentum in momenta:
            for slope in SLOPES:
                path = follow(lambda m=momentum, s=slope: pal(momentum=m, slope=s), loss, start, steps)
                ends.setdefault((momentum, slope), []).append(path.values)
                moved = np.linalg.norm(np.diff(path.points, axis=0), axis=1)
                steps_taken.setdefault((momentum, slope), []).append(moved)
    values = {}
    for (momentum, slope), losses in ends.items():
        values[f"loss after {steps} steps, momentum {momentum}, {slope}"] = float(np.mean([v[-1] for v in losses]))
        panel = "none" if momentum == 0 else f"momentum {momentum}"
        for k, v in enumerate(np.mean(np.log10(losses), axis=0)):
            points.append({"panel": panel, "series": slope, "x": k, "y": float(10**v)})
        if momentum == max(momenta):
            for k, v in enumerate(np.mean(steps_taken[momentum, slope], axis=0)):
                points.append({"panel": "step", "series": slope, "x": k + 1, "y": float(v)})
    last = [values[f"loss after {steps} steps, momentum 0.0, {slope}"] for slope in SLOPES]
    values["largest difference between the rules without momentum"] = max(last) - min(last)
    m = max(momenta)
    best, printed = (values[f"loss after {steps} steps, momentum {m}, {s}"] for s in ("exact", "direction_norm"))
    values[f"as printed over exact, momentum {m}"] = printed / best
    values[f"as printed over no momentum, momentum {m}"] = printed / last[0]
    values["degenerate step: turning point of the profile"] = _degenerate()
    return Measured(points, values)


def _degenerate() -> float:
    """Return PAL's step as printed in the limit of a constant gradient on a line, over mu / (2 alpha lambda).

    With l(mu) - l(0) = -||g|| mu and a direction of length ||g||/(1 - alpha), the printed slope is too steep by that
    factor, and the parabola finds a curvature that is not there.
    """
    import jax.numpy as jnp

    path = follow(
        lambda: pal(momentum=0.6, slope="direction_norm", loose_approximation=0.6), jnp.sum, np.array([5.0, 5.0]), 60
    )
    step = np.linalg.norm(path.points[-1] - path.points[-2])
    return float(step / (0.1 / (2 * 0.6 * 0.6)))


def expected(steps: int) -> dict[str, Expect]:
    return {
        "largest difference between the rules without momentum": Expect(0.0, 1e-12, OURS),
        "as printed over exact, momentum 0.6": Expect(10.0, float("inf"), OURS),
        "as printed over no momentum, momentum 0.6": Expect(1.0, float("inf"), OURS),
        "degenerate step: turning point of the profile": about(1.0, 1e-6, "mu / (2 alpha lambda)"),
    }


RUNS = {
    "smoke": Study(measure, {"steps": 10, "seeds": 1, "momenta": [0.0, 0.6]}),
    "small": Study(measure, {"steps": 100, "seeds": 5, "momenta": [0.0, 0.4, 0.6]}, expected(100)),
    "paper": Study(measure, {"steps": 200, "seeds": 10, "momenta": [0.0, 0.4, 0.6]}, expected(200)),
}
PANELS = {
    "none": Panel("without momentum", "steps", "training loss (nats)", log="y"),
    "momentum 0.4": Panel("momentum 0.4", "steps", "training loss (nats)", log="y"),
    "momentum 0.6": Panel("momentum 0.6", "steps", "training loss (nats)", log="y"),
    "step": Panel("step length, momentum 0.6", "steps", "distance moved", log="y"),
}

VERDICT = {
    "small": (
        "partly reproduced",
        "The three rules agree without momentum, and the rule as printed degenerates to mu / (2 momentum "
        "lambda) where the gradient does not turn: exact. With momentum 0.6 it ends 12 times higher than the "
        "exact slope. But here it still ends below no momentum at all, which our earlier measurement on "
        "another network did not show: a miss of our own expectation, in the paper's favour.",
    ),
    "paper": (
        "partly reproduced",
        "Over 200 steps and ten seeds as at the small scale: with momentum 0.6 the rule as printed ends 16 "
        "times higher than the exact slope, and far below no momentum at all.",
    ),
}

if __name__ == "__main__":
    run_definition(__file__)
