"""Does RNA speed up logistic regression, where the problem is smooth and convex but no quadratic?

Claim:    RNA was made for smooth convex problems: extrapolated iterates of gradient descent converge faster, and an
          adaptive lambda with a line search is never worse than the last iterate.
Protocol: full-batch softmax regression on the digits with 1e-4/2 ||w||^2, gradient descent with step 1/L, K = 10,
          float64. Offline (lambda 1e-8), offline adaptive (grid of lambda, line search), online every 10 steps, and
          Nesterov's method with the same step, which costs the same. min f by 40 Newton steps. Nothing is tuned.
Command:  optaxaccel run experiments/rna/logistic.py --scale small
Cost:     under a minute. Scales differ in the number of rounds.
Expected: all three below gradient descent; adaptive never above the last iterate; online and Nesterov far below.
"""

import numpy as np
import optax

from optaxaccel import agd, extrapolate, extrapolate_adaptive, rna_sgd
from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study
from optaxaccel.training.many.trajectory import follow

THEORY = "paper, section 2"


def measure(rounds: int, images: int) -> Measured:
    import jax
    import jax.numpy as jnp

    from optaxaccel import data

    k, train = 10, data.load("digits").train
    x = np.concatenate([train.image[:images].reshape(images, -1) / 255.0, np.ones((images, 1))], axis=1)
    label = np.asarray(train.label[:images])
    smoothness = 0.5 * np.linalg.norm(x, 2) ** 2 / images + 1e-4

    def loss(w):
        logits = x @ w.reshape(x.shape[1], 10)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label)) + 0.5e-4 * jnp.sum(w**2)

    start = np.zeros(x.shape[1] * 10)
    with jax.enable_x64(True):
        gradient, hessian = jax.jit(jax.grad(loss)), jax.jit(jax.hessian(loss))
        w = jnp.asarray(start)
        for _ in range(40):
            step = jnp.linalg.solve(hessian(w), gradient(w))
            length = 1.0  # halved until f does not rise
            while length > 1e-6 and loss(w - length * step) > loss(w):
                length /= 2
            w = w - length * step
        least, rest = float(loss(w)), float(jnp.linalg.norm(gradient(w)))
    rate = float(1.0 / smoothness)
    plain = follow(lambda: optax.sgd(rate), loss, start, k * rounds)
    errors = {
        "gradient descent": plain.values[::k],
        "Nesterov (AGD, momentum 0.9)": follow(lambda: agd(rate), loss, start, k * rounds).values[::k],
        "online, every 10 steps": follow(
            lambda: rna_sgd(rate, history=k, period=k, regularization=1e-8), loss, start, k * rounds
        ).values[::k],
    }
    with jax.enable_x64(True):
        windows = [jnp.asarray(plain.points[k * r - k : k * r + 1]) for r in range(1, rounds + 1)]
        fixed = [float(loss(extrapolate(window, stacked=True, regularization=1e-8))) for window in windows]
        errors["offline"] = np.array([plain.values[0], *fixed])
        every = max(1, rounds // 20)
        adaptive = [float(loss(extrapolate_adaptive(list(window), loss))) for window in windows[::every]]
    last = plain.values[k :: k * every][: len(adaptive)]
    points, values = [], {"gradient norm at min f": rest}
    for name, path in errors.items():
        points += [{"panel": "value", "series": name, "x": k * r, "y": float(v - least)} for r, v in enumerate(path)]
        values[f"{AT_END}: {name}"] = float((path[-1] - least) / (plain.values[-1] - least))
    positions = [k * (1 + r * every) for r in range(len(adaptive))]
    points += [
        {"panel": "value", "series": "offline, adaptive", "x": p, "y": float(v - least)}
        for p, v in zip(positions, adaptive, strict=True)
    ]
    values["largest f offline adaptive minus the last iterate's"] = float(np.max(np.array(adaptive) - last))
    return Measured(points, values)


AT_END = "f - min f over gradient descent's at the end"
EXPECTED = {
    "gradient norm at min f": Expect(0.0, 1e-8, "Newton's method"),
    f"{AT_END}: offline": Expect(0.0, 0.9, THEORY),
    f"{AT_END}: online, every 10 steps": Expect(0.0, 0.1, THEORY),
    f"{AT_END}: Nesterov (AGD, momentum 0.9)": Expect(0.0, 0.5, "theory of accelerated gradient"),
    "largest f offline adaptive minus the last iterate's": Expect(-float("inf"), 1e-12, "forced decrease"),
}
RUNS = {
    "smoke": Study(measure, {"rounds": 2, "images": 100}),
    "small": Study(measure, {"rounds": 60, "images": 1437}, EXPECTED),
    "paper": Study(measure, {"rounds": 300, "images": 1437}, EXPECTED),
}
PANELS = {"value": Panel("logistic regression on digits", "gradients", "f - min f (nats)", log="y")}

VERDICT = {
    "small": (
        "partly reproduced",
        "Extrapolation offline and online helps, adaptive is never worse. Online stays above a tenth of "
        "gradient descent's gap (0.15), which we had expected it to pass, and Nesterov's method with untuned "
        "momentum 0.9 does as well (0.11) at the same cost.",
    ),
    "paper": (
        "reproduced",
        "Over 300 rounds and all 1,437 images everything holds: continued online the gap is 77,000 times "
        "smaller than gradient descent's and 1,800 times smaller than that of Nesterov's method with untuned "
        "momentum; offline it is a third, and the adaptive choice is never worse.",
    ),
}

if __name__ == "__main__":
    run_definition(__file__)
