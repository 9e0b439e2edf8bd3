"""What does the derivative of an equilibrium layer cost on MNIST, and does a cheaper one train as well?

Claim:    Bai, Kolter and Koltun, 2019: a layer that is solved for, with the derivative of the solution, trains
          as an explicit network does, with the memory of one layer. Geng et al., 2021: phantom gradients train as well.
Protocol: z = tanh(z W + x U + b), 64 units, W bounded to a gain of 0.9, a linear readout; batches of 100 images as one
          unknown, solved to 1e-3; Adam 2e-3. The explicit network has the same parameters and three layers, all W.
          Every contender has the same starts and batches; nothing is tuned. small: 2 epochs, 3 seeds; paper: 10, 5.
Command:  optaxaccel run experiments/equilibrium/mnist.py --scale small
Cost:     about five minutes on two shared cores, preparing the images included.
Expected: accuracies within a point of each other; Anderson takes fewer evaluations than plain iteration.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxaccel
from optaxaccel import data
from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study

UNITS, BATCH, GAIN = 64, 100, 0.9
Layer = Callable[[Callable[[Any], Any], Any], tuple[Any, Any]]


def solved(cell, start, **options):
    """Return the equilibrium and the evaluations that it took."""
    solution = optaxaccel.fixed_point(cell, start, rtol=1e-3, history=5, max_maps=100, **options)
    return solution.value, solution.maps


def unrolled(cell, start):
    """Return what three layers of the same weights make."""
    return cell(cell(cell(start))), jnp.array(3)


CONTENDERS: dict[str, Layer] = {
    "Anderson, implicit": solved,
    "plain, implicit": functools.partial(solved, method="plain"),
    "Anderson, phantom": functools.partial(solved, phantom=1),
    "explicit, 3 layers": unrolled,
}


def logits_of(layer: Layer, params, images):
    """Return logits and the evaluations of the cell."""
    weight = GAIN * params["W"] / jnp.maximum(1.0, jnp.linalg.norm(params["W"], 2))
    injected = images @ params["U"] + params["b"]
    z, maps = layer(lambda z: jnp.tanh(z @ weight + injected), jnp.zeros_like(injected))
    return z @ params["V"] + params["c"], maps


def start(seed: int, pixels: int):
    """Return parameters."""
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        "U": jax.random.normal(keys[0], (pixels, UNITS)) / pixels**0.5,
        "W": jax.random.orthogonal(keys[1], UNITS),
        "V": jax.random.normal(keys[2], (UNITS, 10)) / UNITS**0.5,
        "b": jnp.zeros(UNITS),
        "c": jnp.zeros(10),
    }


def measure(epochs: int, seeds: int, contenders: int, steps: int, images: str) -> Measured:
    """Train every contender; means over seeds."""
    train, test = data.load(images).train, data.load(images).test
    prepared = [(np.float32(s.image.reshape(len(s.label), -1)) / 255, np.asarray(s.label)) for s in (train, test)]
    points: list[dict[str, Any]] = []
    values: dict[str, float] = {}
    for name, layer in list(CONTENDERS.items())[:contenders]:
        runs = [_train(layer, prepared, epochs, steps, seed) for seed in range(seeds)]
        accuracies, seconds, maps = (np.array(column) for column in zip(*runs, strict=True))
        values[f"accuracy, {name}"] = float(accuracies[:, -1].mean())
        values[f"milliseconds a step, {name}"] = float(1e3 * np.median(seconds))
        values[f"evaluations of the cell, {name}"] = float(maps.mean())
        means = accuracies.mean(axis=0)
        points += [{"panel": "accuracy", "series": name, "x": k + 1.0, "y": float(y)} for k, y in enumerate(means)]
    if len(values) == 3 * len(CONTENDERS):
        values["accuracy of phantom less implicit"] = (
            values["accuracy, Anderson, phantom"] - values["accuracy, Anderson, implicit"]
        )
        values["evaluations of Anderson over plain"] = (
            values["evaluations of the cell, Anderson, implicit"] / values["evaluations of the cell, plain, implicit"]
        )
    return Measured(points, values)


def _train(layer: Layer, prepared, epochs: int, steps: int, seed: int):
    """Return the accuracies after every epoch, seconds a step and mean evaluations of the cell in the last epoch."""
    (images, labels), (test, truth) = prepared
    tx = optax.adam(2e-3)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, x, y):
        def loss(params):
            logits, maps = logits_of(layer, params, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), maps

        (_, maps), grad = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = tx.update(grad, state)
        return optax.apply_updates(params, updates), state, maps

    right = jax.jit(lambda params, x, y: jnp.sum(jnp.argmax(logits_of(layer, params, x)[0], 1) == y))
    params, accuracies, seconds, maps = start(seed, images.shape[1]), [], [], []
    state, rng = tx.init(params), np.random.default_rng(seed)
    for _ in range(epochs):
        order, taken = rng.permutation(len(labels))[: steps * BATCH], []
        for chosen in order.reshape(-1, BATCH):
            began = time.perf_counter()
            params, state, count = step(params, state, images[chosen], labels[chosen])
            taken.append(float(count))
            seconds.append(time.perf_counter() - began)
        maps = taken
        hits = sum(int(right(params, test[k : k + 1000], truth[k : k + 1000])) for k in range(0, len(truth), 1000))
        accuracies.append(100 * hits / len(truth))
    return accuracies, float(np.median(seconds)), float(np.mean(maps))


EXPECTED = {
    "accuracy, Anderson, implicit": Expect(95.0, 100.0, "what a network of one hidden layer reaches"),
    "accuracy of phantom less implicit": Expect(-1.0, 1.0, "Geng et al., 2021"),
    "evaluations of Anderson over plain": Expect(0.0, 1.0, "what acceleration is for"),
}
PANELS = {"accuracy": Panel("MNIST", "epochs", "test accuracy, %")}
RUNS = {
    "smoke": Study(measure, {"epochs": 1, "seeds": 1, "contenders": 1, "steps": 3, "images": "digits"}, EXPECTED),
    "small": Study(measure, {"epochs": 2, "seeds": 3, "contenders": 4, "steps": 600, "images": "mnist"}, EXPECTED),
    "paper": Study(measure, {"epochs": 10, "seeds": 5, "contenders": 4, "steps": 600, "images": "mnist"}, EXPECTED),
}

VERDICT = {
    "small": (
        "reproduced",
        "All four end within 0.3 points of each other: implicit 95.7 %, plain iteration 95.7, phantom 95.9, explicit "
        "96.0. So the cheaper derivative trains as well, and at half of Anderson's time a step (1.7 against 3.4 ms). "
        "Nothing speaks for the solver here: to a tolerance of 1e-3 at a gain of 0.9 Anderson saves 3 % of the "
        "evaluations and takes twice the time of plain iteration, and three explicit layers are the quickest of all.",
    ),
}

if __name__ == "__main__":
    run_definition(__file__)
