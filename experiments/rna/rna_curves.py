"""Curves of the test error over epochs, of a network and of the extrapolation of its last epochs' iterates."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel import extrapolate
from optaxaccel.training.many import minibatches
from optaxaccel.training.many.minibatches import Problem

BASES: dict[str, tuple[Callable[[Any], optax.GradientTransformation], Sequence[float]]] = {
    "SGD": (optax.sgd, (0.03, 0.1, 0.3, 1.0)),
    "momentum": (lambda rate: optax.sgd(rate, momentum=0.9), (0.003, 0.01, 0.03, 0.1)),
    "Nesterov": (lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True), (0.003, 0.01, 0.03, 0.1)),
    "Adam": (optax.adam, (0.0003, 0.001, 0.003, 0.01)),
}
"""The methods that extrapolation goes around, each with its four rates."""


def curves(
    problem: Problem,
    base: str,
    *,
    epochs: int,
    batch: int,
    seeds: int,
    window: int,
    regularizations: Sequence[float],
    rate: float | None = None,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Tune the rate, unless it is given, on held-out training images; train and extrapolate a copy after every epoch.

    That is what the paper does. The rate falls to a tenth after half of the epochs and after five sixths, the
    paper's 150 and 250 of 300.

    Returns:
      The rate; the test error of the network after every epoch, [seeds, epochs + 1]; and, from epoch `window` on, of
      the extrapolations of the last `window` + 1 iterates, [regularizations, seeds, epochs + 1 - window], and of the
      plain mean of the last `window`, likewise.
    """
    make, rates = BASES[base]

    def falling(setting: Any, steps: int) -> optax.GradientTransformation:
        drops = {epochs // 2 * steps: 0.1, epochs * 5 // 6 * steps: 0.1}
        return make(optax.piecewise_constant_schedule(setting["rate"], drops))

    def run(problem: Problem, rates: Sequence[float], seeds: Sequence[int], keep: bool) -> minibatches.Trained:
        steps = len(problem.train[1]) // batch
        return minibatches.train(
            lambda setting: falling(setting, steps),
            problem,
            [{"rate": rate} for rate in rates],
            seeds=seeds,
            epochs=epochs,
            batch_size=batch,
            keep=keep,
        )

    if rate is None:
        tuned = run(problem.held_out(), rates, [1000], False)
        rate = rates[int(np.argmin(np.nan_to_num(tuned.error[:, 0, -1], nan=1.0)))]
    iterates = run(problem, [rate], range(1, seeds + 1), True)
    kept = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), iterates.kept)
    return rate, iterates.error[0], *extrapolated(problem, kept, window, regularizations)


def extrapolated(
    problem: Problem, kept: Any, window: int, regularizations: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the test errors of the extrapolations and of the plain means, for every epoch that has a whole window."""
    test = jax.tree.map(jnp.asarray, problem.test)

    @jax.jit
    def errors(kept: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        def one(seed: Any, start: jax.Array) -> tuple[jax.Array, jax.Array]:
            stacked = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, window + 1), seed)
            points = [extrapolate(stacked, stacked=True, regularization=r) for r in regularizations]
            mean = jax.tree.map(lambda leaf: leaf[1:].mean(0), stacked)
            return jnp.stack([problem.error(p, x, y) for p in points]), problem.error(mean, x, y)

        starts = jnp.arange(len(jax.tree.leaves(kept)[0][0]) - window)
        return jax.lax.map(lambda start: jax.vmap(one, (0, None))(kept, start), starts)

    each, mean = jax.device_get(errors(kept, *test))  # [epochs, seeds, regularizations], [epochs, seeds]
    return each.transpose(2, 1, 0), mean.T
