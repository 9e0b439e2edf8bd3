"""Functions of one flat float64 vector with a known lowest value, and where runs on them start."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

PROBLEM_SEED = 77_777  # of the problem; the starts have small seeds


class Problem(NamedTuple):
    """A function, its lowest value and its starts.

    Attributes:
      loss: of a flat vector.
      lowest: the value that nothing goes below.
      start: (seed) -> a flat vector; all seeds differ.
    """

    loss: Callable[[Any], jax.Array]
    lowest: float
    start: Callable[[int], np.ndarray]


def softmax(images: int, ridge: float) -> Problem:
    """Softmax regression on the digits with a ridge: convex, ill-conditioned; Newton's method tells the minimum."""
    x, labels, classes = _digits(images)
    size = x.shape[1] * classes

    def loss(w):
        logits = x @ w.reshape(x.shape[1], classes)
        return _cross_entropy(logits, labels) + 0.5 * ridge * jnp.sum(w**2)

    return Problem(loss, _newton(loss, size), lambda seed: 0.01 * np.random.default_rng(seed).normal(size=size))


def perceptron(images: int, hidden: int) -> Problem:
    """A tanh network with one hidden layer on the digits; nothing goes below a cross-entropy of 0."""
    x, labels, classes = _digits(images)
    sizes = ((x.shape[1], hidden), (hidden + 1, classes))
    first = sizes[0][0] * hidden

    def loss(w):
        inner = jnp.tanh(x @ w[:first].reshape(sizes[0]))
        inner = jnp.concatenate([inner, jnp.ones_like(inner[:, :1])], axis=1)
        return _cross_entropy(inner @ w[first:].reshape(sizes[1]), labels)

    def start(seed):
        random = np.random.default_rng(seed)
        return np.concatenate([random.normal(size=s).ravel() / np.sqrt(s[0]) for s in sizes])

    return Problem(loss, 0.0, start)


def factorisation(rows: int, columns: int, rank: int, smallest: float, saddle: bool = False) -> Problem:
    """|U V' - M|^2 / 2 with M of the rank of U and V, so that 0 is reached, singular values from 1 down to `smallest`.

    A saddle is a point made of some of M's singular triples: the gradient is zero, and it is no minimum.
    """
    random = np.random.default_rng(PROBLEM_SEED)
    roots = np.sqrt(np.geomspace(1.0, smallest, rank))
    left = np.linalg.qr(random.normal(size=(rows, rank)))[0] * roots
    right = np.linalg.qr(random.normal(size=(columns, rank)))[0] * roots
    target = left @ right.T

    def loss(w):
        u, v = w[: rows * rank].reshape(rows, rank), w[rows * rank :].reshape(columns, rank)
        return 0.5 * jnp.sum((u @ v.T - target) ** 2)

    def start(seed):
        if saddle:  # `seed % rank` of the triples are there, the rest is zero
            there = np.arange(rank) < seed % rank
            return np.concatenate([(left * there).ravel(), (right * there).ravel()])
        return np.random.default_rng(seed).normal(size=(rows + columns) * rank) / np.sqrt(rank)

    return Problem(loss, 0.0, start)


def phase_retrieval(size: int, measurements: int, smallest: float, saddle: bool = False) -> Problem:
    """Mean ((a'x)^2 - y)^2 / 4, y = (a'z)^2, |z| = 1, Gaussian a of scales from 1 to `smallest`; zero is critical."""
    random = np.random.default_rng(PROBLEM_SEED)
    a = random.normal(size=(measurements, size)) * np.geomspace(1.0, smallest, size)
    z = random.normal(size=size)
    z /= np.linalg.norm(z)
    y = (a @ z) ** 2

    def loss(x):
        return 0.25 * jnp.mean(((a @ x) ** 2 - y) ** 2)

    def start(seed):
        return np.zeros(size) if saddle else np.random.default_rng(seed).normal(size=size) / np.sqrt(size)

    return Problem(loss, 0.0, start)


def tensor(size: int, rank: int) -> Problem:
    """A cubic tensor as a sum of `rank` outer products of three vectors; 0 is reached."""
    random = np.random.default_rng(PROBLEM_SEED)
    factors = random.normal(size=(3, size, rank)) / np.sqrt(size)
    target = np.einsum("ir,jr,kr->ijk", *factors)

    def loss(w):
        u, v, t = w.reshape(3, size, rank)
        return 0.5 * jnp.sum((jnp.einsum("ir,jr,kr->ijk", u, v, t) - target) ** 2)

    return Problem(loss, 0.0, lambda seed: np.random.default_rng(seed).normal(size=3 * size * rank) / np.sqrt(size))


def _digits(images: int) -> tuple[jax.Array, jax.Array, int]:
    """The first images with a constant one behind, pixels in [0, 1], the labels, and how many classes there are."""
    from optaxaccel import data

    whole = data.load("digits")
    x = np.asarray(whole.train.image[:images], float).reshape(images, -1) / np.max(whole.train.image)
    return jnp.asarray(np.c_[x, np.ones(images)]), jnp.asarray(whole.train.label[:images]), whole.classes


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def _newton(loss: Callable[[Any], jax.Array], size: int) -> float:
    """The minimum of a strictly convex function by Newton's method with halved steps."""
    value, slope, curvature = jax.jit(loss), jax.jit(jax.grad(loss)), jax.jit(jax.hessian(loss))
    w = jnp.zeros(size)
    for _ in range(60):
        if np.linalg.norm(slope(w)) < 1e-12:
            break
        step = np.linalg.solve(curvature(w), slope(w))
        scale = 1.0
        while scale > 1e-3 and float(value(w - scale * step)) > float(value(w)):
            scale /= 2
        w = w - scale * step
    return float(value(w))


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "softmax": softmax,
    "perceptron": perceptron,
    "factorisation": factorisation,
    "phase retrieval": phase_retrieval,
    "tensor": tensor,
}
