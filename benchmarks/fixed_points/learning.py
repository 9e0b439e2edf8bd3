"""Maps from optimisation and machine learning: gradient, proximal and splitting steps, factorisations, a deep layer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def _gradient(dtype: Any, condition: float, number: int = 200):
    rng = np.random.default_rng(20)
    basis = np.linalg.qr(rng.normal(size=(number, number)))[0]
    hessian = jnp.asarray(basis @ np.diag(np.logspace(0, -np.log10(condition), number)) @ basis.T, dtype)
    goal = jnp.asarray(rng.normal(size=number), dtype)
    return lambda x: x - hessian @ (x - goal), np.zeros(number)


def gradient_1e2(dtype: Any):
    """Gradient descent on a quadratic of condition 100."""
    return _gradient(dtype, 1e2)


def gradient_1e4(dtype: Any):
    """Gradient descent on a quadratic of condition 10^4."""
    return _gradient(dtype, 1e4)


def gradient_1e6(dtype: Any):
    """Gradient descent on a quadratic of condition 10^6: a residual of 1e-8 leaves an error of a percent."""
    return _gradient(dtype, 1e6)


def logistic(dtype: Any, number: int = 300, size: int = 50):
    """Gradient descent on a regularised logistic regression."""
    rng = np.random.default_rng(21)
    data = rng.normal(size=(number, size)) * np.logspace(0, -1, size)
    label = np.sign(data @ rng.normal(size=size) + 0.1 * rng.normal(size=number))
    rows = jnp.asarray(data * label[:, None], dtype)
    rate = 4 / (np.linalg.norm(data, 2) ** 2 / number + 0.004)

    def image(w):
        return w - rate * (-rows.T @ jax.nn.sigmoid(-rows @ w) / number + 1e-3 * w)

    return image, np.zeros(size)


def smacof(dtype: Any, number: int = 60):
    """Multidimensional scaling of 60 points in the plane from noisy distances, by majorisation."""
    rng = np.random.default_rng(22)
    points = rng.normal(size=(number, 2))
    wanted = np.linalg.norm(points[:, None] - points, axis=2) * (1 + 0.2 * rng.normal(size=(number, number)))
    wanted = jnp.asarray(np.abs(wanted + wanted.T) / 2 * (1 - np.eye(number)), dtype)
    apart = jnp.eye(number, dtype=dtype)

    def image(x):
        x = x.reshape(number, 2)
        distance = jnp.sqrt(jnp.sum((x[:, None] - x) ** 2, axis=2) + apart)
        ratio = wanted / distance
        return ((jnp.diag(jnp.sum(ratio, axis=1)) - ratio) @ x / number).reshape(-1)

    start = points + 0.5 * rng.normal(size=(number, 2))
    return image, (start - start.mean(axis=0)).reshape(-1)


def lasso(dtype: Any, rows: int = 300, size: int = 1000):
    """Proximal gradient steps of the lasso: soft thresholding has kinks."""
    rng = np.random.default_rng(23)
    data = rng.normal(size=(rows, size)) / np.sqrt(rows)
    truth = np.zeros(size)
    truth[rng.choice(size, 40, replace=False)] = rng.normal(size=40)
    side = jnp.asarray(data @ truth + 0.01 * rng.normal(size=rows), dtype)
    rate = 1 / np.linalg.norm(data, 2) ** 2
    data = jnp.asarray(data, dtype)

    def image(x):
        y = x - rate * data.T @ (data @ x - side)
        return jnp.sign(y) * jnp.maximum(jnp.abs(y) - rate * 0.01, 0)

    return image, np.zeros(size)


def projections(dtype: Any, size: int = 200, planes: int = 100):
    """Alternating projections onto a subspace and a ball that touch at a small angle."""
    rng = np.random.default_rng(24)
    basis = jnp.asarray(np.linalg.qr(rng.normal(size=(size, planes)))[0], dtype)
    other = np.linalg.qr(np.asarray(basis, float) + 0.15 * rng.normal(size=(size, planes)) / np.sqrt(size) * 3)[0]
    other, shift = jnp.asarray(other, dtype), jnp.asarray(rng.normal(size=size), dtype)

    def image(x):
        y = basis @ (basis.T @ x)
        y = shift + other @ (other.T @ (y - shift))
        return y * jnp.minimum(1, 30 / jnp.linalg.norm(y))

    return image, rng.normal(size=size)


def drs_qp(dtype: Any, size: int = 200, rows: int = 60):
    """Douglas and Rachford's splitting of a quadratic programme with a box and equations."""
    rng = np.random.default_rng(25)
    factor = rng.normal(size=(size, size)) / np.sqrt(size)
    hessian, equations = factor @ factor.T + 0.01 * np.eye(size), rng.normal(size=(rows, size)) / np.sqrt(size)
    system = np.block([[hessian + np.eye(size), equations.T], [equations, np.zeros((rows, rows))]])
    inverse = jnp.asarray(np.linalg.inv(system)[:size], dtype)
    linear = jnp.asarray(rng.normal(size=size), dtype)
    side = jnp.asarray(equations @ rng.uniform(-0.5, 0.5, size=size), dtype)

    def image(z):
        x = jnp.clip(z, -1, 1)
        y = inverse @ jnp.concatenate([2 * x - z - linear, side])
        return z + y - x

    return image, np.zeros(size)


def nearest_correlation(dtype: Any, size: int = 80):
    """The nearest correlation matrix (Higham 2002): Dykstra's correction is the unknown, with the matrix."""
    rng = np.random.default_rng(26)
    noise = rng.uniform(-1, 1, size=(size, size))
    start = (noise + noise.T) / 2
    np.fill_diagonal(start, 1.0)
    given = jnp.asarray(start, dtype)
    eye = jnp.eye(size, dtype=dtype)

    def image(x):
        dual = x.reshape(size, size)
        values, vectors = jnp.linalg.eigh(given + dual)
        positive = (vectors * jnp.maximum(values, 0)) @ vectors.T
        return (dual + eye * (1 - positive)).reshape(-1)

    return image, np.zeros(size * size)


def nmf(dtype: Any, rows: int = 30, columns: int = 50, rank: int = 5):
    """Multiplicative updates of a nonnegative factorisation, on logarithms; plain iteration needs 10^5 steps.

    Entries that vanish stay at the least normal number: in float32 the map would leave its domain after 300 turns.
    """
    rng = np.random.default_rng(27)
    data = rng.gamma(1.0, size=(rows, rank)) @ rng.gamma(1.0, size=(rank, columns)) + 0.1 * rng.uniform(
        size=(rows, columns)
    )
    data = jnp.asarray(data, dtype)

    def image(x):
        w, h = jnp.exp(x[: rows * rank]).reshape(rows, rank), jnp.exp(x[rows * rank :]).reshape(rank, columns)
        h = h * (w.T @ data + 1e-3) / (w.T @ (w @ h) + 1e-3)
        w = w * (data @ h.T + 1e-3) / ((w @ h) @ h.T + 1e-3)
        scale = jnp.sum(w, axis=0)
        entries = jnp.concatenate([(w / scale).reshape(-1), (h * scale[:, None]).reshape(-1)])
        return jnp.log(jnp.maximum(entries, jnp.finfo(dtype).tiny))

    return image, np.log(rng.uniform(0.5, 1.5, size=rows * rank + rank * columns))


def deq(dtype: Any, size: int = 256, batch: int = 4):
    """An equilibrium layer, tanh(z W' + U x + b), for a batch of four as one unknown; W has spectral radius 0.9."""
    rng = np.random.default_rng(28)
    weight = rng.normal(size=(size, size))
    weight = jnp.asarray(0.9 * weight / np.max(np.abs(np.linalg.eigvals(weight))), dtype)
    injected = jnp.asarray(0.1 * rng.normal(size=(size, batch)), dtype)
    weight, injected = weight.T, injected.T  # examples are rows, as in layers

    def image(z):
        return jnp.tanh(z.reshape(batch, size) @ weight + injected).reshape(-1)

    return image, np.zeros(size * batch)
