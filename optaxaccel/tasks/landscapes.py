"""Landscapes: deterministic functions whose minimum is known exactly, in float64, with f - f* as the score.

Where an answer was planted, the start is drawn and f* is what the planted answer gives.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel.tasks.task import Task


def _landscape(
    value: Callable[..., Any], init: Callable[[Any], Any], best: float, steps: int, train: Any = None
) -> Task:
    """Return the task of `value(params, data)`, whose least value is `best`."""

    def loss(params, net_state, batch, *, key, train):
        f = value(params, batch)
        return f, (net_state, {"gap": f - best})

    task = Task(lambda key: (init(key), {}), loss, score="gap", precision="float64", steps=steps)
    return task if train is None else task.replace(train=train)


def rosenbrock(*, dimension: int = 2, steps: int = 1000) -> Task:
    r"""Return Rosenbrock's valley, :math:`\sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2`, from (-1.2, 1, -1.2, ...).

    Args:
      dimension: number of variables, 2 or more; the minimum is 0 at (1, ..., 1).
      steps: updates of a run.
    """
    start = np.where(np.arange(dimension) % 2 == 0, -1.2, 1.0)

    def value(x, data):
        del data
        return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    return _landscape(value, lambda key: jnp.asarray(start), 0.0, steps)


def softmax_regression(*, examples: int = 500, features: int = 64, classes: int = 10, steps: int = 1000) -> Task:
    r"""Return softmax regression on handwritten digits with planted soft labels.

    The inputs are real, with the columns scaled and little correlated noise left in; the labels are the probabilities
    :math:`p = \mathrm{softmax}(X W_*)`, so that :math:`W_*` minimises the cross entropy, whose least value is the mean
    entropy of p. It is convex, and as ill-conditioned as the pixels are.

    Args:
      examples: of the 1,797 digits.
      features: pixels of 64, those with the largest variance.
      classes: of the planted labels.
      steps: updates of a run.
    """
    from optaxaccel.data import digits

    pixels = np.asarray(digits.read()[0], np.float64).reshape(-1, 64)[:examples] / 255.0
    x = pixels[:, np.sort(np.argsort(-pixels.var(axis=0))[:features])]
    planted = np.random.default_rng(0).normal(size=(x.shape[1], classes))
    logits = x @ planted
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    p = np.exp(log_p)

    def value(w, data):
        return -jnp.mean(jnp.sum(data["p"] * jax.nn.log_softmax(data["x"] @ w), axis=1))

    best = float(-(p * log_p).sum(axis=1).mean())
    return _landscape(value, lambda key: jnp.zeros(planted.shape), best, steps, {"x": x, "p": p})


def lasso(*, rows: int = 120, columns: int = 60, nonzeros: int = 10, strength: float = 0.1, steps: int = 1000) -> Task:
    r"""Return :math:`\frac{1}{2} \|A x - y\|^2 + \lambda \|x\|_1` with a sparse minimiser that is known exactly.

    For a planted x the residual is chosen so that :math:`A^T (A x - y) = -\lambda s` with a subgradient s of the
    1-norm, strictly inside [-1, 1] where x is 0. The function is not smooth: methods get a subgradient.

    Args:
      rows: of A, more than `columns`.
      columns: of A, standard normal over the square root of `rows`.
      nonzeros: of the minimiser.
      strength: lambda.
      steps: updates of a run.
    """
    rng = np.random.default_rng(0)
    a = rng.normal(size=(rows, columns)) / rows**0.5
    planted = np.where(np.arange(columns) < nonzeros, rng.normal(size=columns) + 2.0, 0.0)
    s = np.where(planted != 0, np.sign(planted), rng.uniform(-0.9, 0.9, columns))
    residual = -strength * a @ np.linalg.solve(a.T @ a, s)
    y = a @ planted - residual

    def value(x, data):
        return 0.5 * jnp.sum((data["a"] @ x - data["y"]) ** 2) + strength * jnp.sum(jnp.abs(x))

    best = 0.5 * residual @ residual + strength * np.abs(planted).sum()
    return _landscape(value, lambda key: jnp.zeros(columns), float(best), steps, {"a": a, "y": y})


def matrix_factorisation(*, size: int = 30, rank: int = 5, steps: int = 1000) -> Task:
    r"""Return :math:`\frac{1}{2} \|U V^T - M\|^2 / n` for a matrix M of that rank, from a start near a saddle.

    Args:
      size: n, of M, whose singular values are 1, 1/2, ..., 1/rank times n.
      rank: of M and of the factors.
      steps: updates of a run.
    """
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(size, rank)))[0] for _ in range(2))
    m = size * (left / np.arange(1, rank + 1)) @ right.T

    def value(params, data):
        return 0.5 * jnp.sum((params["u"] @ params["v"].T - data["m"]) ** 2) / size

    def init(key):
        return {n: 0.1 * jax.random.normal(k, (size, rank)) for n, k in zip("uv", jax.random.split(key), strict=True)}

    return _landscape(value, init, 0.0, steps, {"m": m})


def phase_retrieval(*, dimension: int = 20, ratio: int = 6, steps: int = 1000) -> Task:
    r"""Return :math:`\frac{1}{4 m} \sum_i ((a_i^T x)^2 - y_i)^2`, a signal from squares, known but for its sign.

    Args:
      dimension: of the signal, of unit norm.
      ratio: measurements m for each of its numbers.
      steps: updates of a run.
    """
    rng = np.random.default_rng(0)
    a, planted = rng.normal(size=(ratio * dimension, dimension)), rng.normal(size=dimension)
    y = (a @ (planted / np.linalg.norm(planted))) ** 2

    def value(x, data):
        return 0.25 * jnp.mean(((data["a"] @ x) ** 2 - data["y"]) ** 2)

    def init(key):
        return jax.random.normal(key, (dimension,)) / dimension**0.5

    return _landscape(value, init, 0.0, steps, {"a": a, "y": y})


def cp_tensor(*, size: int = 10, rank: int = 3, steps: int = 1000) -> Task:
    r"""Return :math:`\frac{1}{2} \|\sum_r u_r \otimes v_r \otimes w_r - T\|^2` for a tensor of that rank, with swamps.

    Args:
      size: of each of the three axes.
      rank: of the tensor and of its decomposition.
      steps: updates of a run.
    """
    rng = np.random.default_rng(0)
    u, v, w = (rng.normal(size=(size, rank)) / size**0.5 for _ in range(3))
    tensor = np.einsum("ir,jr,kr->ijk", u, v, w)

    def value(params, data):
        product = jnp.einsum("ir,jr,kr->ijk", *params)
        return 0.5 * jnp.sum((product - data["t"]) ** 2)

    def init(key):
        return [jax.random.normal(k, (size, rank)) / size**0.5 for k in jax.random.split(key, 3)]

    return _landscape(value, init, 0.0, steps, {"t": tensor})
