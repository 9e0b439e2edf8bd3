"""What is merging the last eleven checkpoints worth, and is RNA the way to do it?

Claim:    none of the paper's beyond a better point than the last; means (LAWA), exponential means and decay-shaped
          weights (WSM) are what others merge checkpoints by, so RNA has to beat these, not only the last checkpoint.
Protocol: four tasks: softmax regression on the digits with full batches and with batches of 64, a perceptron of 64
          units on the digits, and one of 32 units that learns a random perceptron's outputs with noise. SGD with
          momentum 0.9, 40 epochs, at a constant rate and with cosine decay to zero; the rate is the one of four with
          which the last checkpoint's loss on held-out examples (a fifth of the training ones) is lowest, with a seed of
          its own. Of each run the parameters after the last eleven epochs are merged, and the loss on test examples is
          divided by the last checkpoint's: five seeds, geometric means. Settings are fixed beforehand: mean of eleven;
          LAWA, mean of five; EMA with decay 0.8; cosine and one minus square root; RNA with lambda 1e-8 (the paper's)
          and 1e-2. What a loss chooses (greedy, adaptive, adaptive RNA) looks at the held-out examples.
Command:  optaxaccel run experiments/rna/merging.py --scale small
Cost:     small: a minute or two on two cores.
Expected: with full batches RNA is lowest. With minibatches at a constant rate means and decays gain, and RNA with 1e-8
          is worse than the last checkpoint, because it magnifies noise. After cosine decay nothing gains or loses a
          tenth.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import optax

from optaxaccel import adaptive_weights, extrapolate_adaptive, greedy_weights, merge, merge_weights
from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study

CHECKPOINTS = 11
RATES = (0.01, 0.03, 0.1, 0.3)
TASKS = ("softmax, full batch", "softmax", "perceptron", "regression")
SCHEDULES = ("constant", "cosine")
LAWA, DECAY = 5, 0.8


def examples(task: str, images: int) -> dict[str, Any]:
    """Return (inputs, targets) to train on, to choose by and to test on."""
    from optaxaccel import data

    if task == "regression":
        random = np.random.default_rng(0)
        inner, outer = random.normal(size=(16, 32)), random.normal(size=32) / 6
        x = random.normal(size=(images + 1000, 16)).astype(np.float32)
        y = (np.tanh(x @ inner / 4) @ outer + 0.3 * random.normal(size=len(x))).astype(np.float32)
        train, test = (x[:images], y[:images]), (x[images:], y[images:])
    else:
        sets = data.load("digits")
        parts = [sets.train, sets.test]
        parts = [(np.asarray(p.image, np.float32).reshape(len(p.image), -1) / 255, np.asarray(p.label)) for p in parts]
        train, test = (parts[0][0][:images], parts[0][1][:images]), parts[1]
    size = len(train[0]) // 5
    return {"train": tuple(a[size:] for a in train), "held": tuple(a[:size] for a in train), "test": test}


def problem(task: str, inputs: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return init(key) -> a vector, and loss(vector, x, y)."""
    import jax
    import jax.numpy as jnp

    hidden, outputs = {"perceptron": 64, "regression": 32}.get(task, 0), 1 if task == "regression" else 10
    sizes = [inputs, hidden, outputs] if hidden else [inputs, outputs]
    shapes = [shape for a, b in itertools.pairwise(sizes) for shape in ((a, b), (b,))]
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])

    def init(key):
        keys = jax.random.split(key, len(shapes))
        parts = [
            jax.random.normal(k, shape) / np.sqrt(shape[0]) if len(shape) == 2 else jnp.zeros(shape)
            for k, shape in zip(keys, shapes, strict=True)
        ]
        return jnp.concatenate([part.ravel() for part in parts])

    def loss(w, x, y):
        parts = [w[a:b].reshape(shape) for a, b, shape in zip(ends, ends[1:], shapes, strict=False)]
        for k in range(0, len(parts), 2):
            x = x @ parts[k] + parts[k + 1]
            x = jnp.tanh(x) if k + 2 < len(parts) else x
        if task == "regression":
            return jnp.mean((x[:, 0] - y) ** 2)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(x, y))

    return init, loss


def trained(task: str, init: Any, loss: Any, data: Any, epochs: int) -> Callable[..., Any]:
    """Return train(seed, rate, whether it decays) -> the parameters after the last eleven epochs, stacked."""
    import jax
    import jax.numpy as jnp

    x, y = map(jnp.asarray, data)
    batch = len(x) if "full" in task else 64
    steps = len(x) // batch

    def train(seed, rate, decays):
        key = jax.random.key(seed)

        def epoch(carry, number):
            order = jax.random.permutation(jax.random.fold_in(key, number), len(x))[: steps * batch]

            def step(carry, place):
                (w, speed), (k, chosen) = carry, place
                done = (number * steps + k) / (epochs * steps)
                factor = jnp.where(decays, 0.5 * (1 + jnp.cos(jnp.pi * done)), 1.0)
                speed = 0.9 * speed + jax.grad(loss)(w, x[chosen], y[chosen])
                return (w - rate * factor * speed, speed), None

            places = jnp.arange(steps), order.reshape(steps, batch)
            carry, _ = jax.lax.scan(step, carry, places)
            return carry, carry[0]

        start = init(jax.random.fold_in(key, 10**6))
        _, path = jax.lax.scan(epoch, (start, jnp.zeros_like(start)), jnp.arange(epochs))
        return path[-min(CHECKPOINTS, epochs) :]

    return jax.jit(jax.vmap(train))


def merged(history: list[Any], loss: Any, validation: Any) -> dict[str, Any]:
    """Return what every contender makes of one run's last parameters."""
    count = len(history)
    x, y = validation
    lawa = np.pad(merge_weights("mean", min(LAWA, count)), (max(0, count - LAWA), 0))
    about = {"x": x, "y": y}
    return {
        "last": history[-1],
        "mean": merge(history, "mean"),
        "LAWA": merge(history, lawa),
        "EMA": merge(history, "ema", decay=DECAY),
        "decay, cosine": merge(history, "cosine"),
        "decay, 1 - sqrt": merge(history, "one_minus_sqrt"),
        "RNA, 1e-8": merge(history, "rna", regularization=1e-8),
        "RNA, 1e-2": merge(history, "rna", regularization=1e-2),
        "adaptive RNA": extrapolate_adaptive(history, loss, **about),
        "greedy": merge(history, greedy_weights(history, loss, **about)),
        "adaptive": merge(history, adaptive_weights(history, loss, **about)),
    }


def measure(epochs: int, seeds: int, images: int, tasks: int = len(TASKS)) -> Measured:
    import jax

    points, values = [], {}
    for place, task in enumerate(TASKS[:tasks], 1):
        parts = examples(task, images)
        init, plain = problem(task, parts["train"][0].shape[1])
        loss = jax.jit(plain)
        train = trained(task, init, plain, parts["train"], epochs)
        for schedule in SCHEDULES:
            decays = schedule == "cosine"
            tuning = train(np.full(len(RATES), 1000), np.asarray(RATES, np.float32), np.full(len(RATES), decays))
            losses = [float(loss(path[-1], *parts["held"])) for path in tuning]
            rate = RATES[int(np.nanargmin(np.where(np.isfinite(losses), losses, np.inf)))]
            values[f"rate, {task}, {schedule}"] = rate
            runs = train(np.arange(1, seeds + 1), np.full(seeds, rate, np.float32), np.full(seeds, decays))
            errors: dict[str, list[float]] = {}
            for path in runs:
                for name, w in merged(list(path), loss, parts["held"]).items():
                    errors.setdefault(name, []).append(float(loss(w, *parts["test"])))
            values[f"test loss, {task}, {schedule}: last"] = float(np.mean(errors["last"]))
            for name, tested in errors.items():
                if name == "last":
                    continue
                gains = np.log(np.array(tested) / np.array(errors["last"]))
                mean, error = gains.mean(), gains.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
                values[f"{task}, {schedule}: {name}"] = float(np.exp(mean))
                low, high = float(np.exp(mean - error)), float(np.exp(mean + error))
                y = float(np.exp(mean))
                points.append({"panel": schedule, "series": name, "x": place, "y": y, "low": low, "high": high})
    return Measured(points, values)


THEORY, NOISE = "theory: a quadratic's iterates", "weights of both signs magnify noise"
KNOWN = "papers on averaging"
EXPECTED = {
    "softmax, full batch, constant: RNA, 1e-8": Expect(0.0, 1.0, THEORY),
    **{f"{task}, constant: mean": Expect(0.0, 1.0, KNOWN) for task in TASKS[1:]},
    **{f"{task}, constant: RNA, 1e-8": Expect(1.0, float("inf"), NOISE) for task in TASKS[1:]},
    **{f"{task}, cosine: mean": Expect(0.9, 1.1, "a decayed run averages itself") for task in TASKS[1:]},
    **{f"{task}, cosine: RNA, 1e-8": Expect(0.9, 1.1, "a decayed run stands still") for task in TASKS[1:]},
}
RUNS = {
    "smoke": Study(measure, {"epochs": 4, "seeds": 1, "images": 100, "tasks": 1}),
    "small": Study(measure, {"epochs": 40, "seeds": 5, "images": 1437}, EXPECTED),
    "paper": Study(measure, {"epochs": 160, "seeds": 10, "images": 1437}, EXPECTED),
}
AXES = "1 softmax, full batch; 2 softmax; 3 perceptron; 4 regression"
PANELS = {
    schedule: Panel(f"{schedule} rate", AXES, "test loss over the last checkpoint's", log="y", kind="points")
    for schedule in SCHEDULES
}

VERDICT = {
    "small": (
        "measured",
        "For RNA: with full batches, where training is far from done, it ends 8 percent below the last "
        "checkpoint's test loss and adaptive RNA 14 percent, while every mean ends 1 to 3 percent above it; on "
        "the regression it gains 1.0 percent, as much as each mean (0.9 to 1.0). Against it: on the digits with "
        "minibatches at a constant rate it is 0.6 percent worse (softmax) and 0.8 better (perceptron), both "
        "within two standard errors, and adaptive RNA is up to 3 percent worse than the last checkpoint on test "
        "examples (softmax, and both networks on the digits after cosine decay), since it goes along a line that "
        "the held-out examples like. After cosine decay nothing gains a hundredth. Four of our thirteen "
        "expectations failed: means gain nothing on the digits, and RNA with 1e-8 does not magnify noise on the "
        "perceptron and the regression. The rates were chosen for the last checkpoint, which leaves a mean little"
        " noise to remove, and are at an end of the grid in six of eight cases: nothing here says what merging is"
        " worth at a rate chosen for it.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
