"""Histories of iterates, and RNA on them as the paper prints it, in NumPy."""

import numpy as np
import problems


def descent(problem, number, rate=None):
    """The iterates of gradient descent as rows, oldest first."""
    points = [problem.x0]
    for _ in range(number - 1):
        points.append(points[-1] - (rate or problem.rate) * problem.gradient(points[-1]))
    return np.array(points)


def decaying(number, size=400, slowest=0.999, fastest=0.3, seed=0):
    """Iterates of gradient descent on a quadratic with many curvatures: sums of geometric sequences."""
    rng = np.random.default_rng(seed)
    rates = np.linspace(fastest, slowest, size)
    return 1.0 + rng.normal(size=size) * rates ** np.arange(number)[:, None]


def residuals(points):
    """Successive differences as columns."""
    return np.diff(points, axis=0).T


def weights(points, regularization, relative=True):
    """Algorithm 1: (R'R + lambda I) z = 1, c = z / sum z; plain means where that breaks down."""
    r = residuals(points)
    gram = r.T @ r
    scale = np.linalg.norm(gram, 2)
    k = len(gram)
    if scale == 0:
        return np.full(k, 1 / k)
    if relative:
        gram = gram / scale
    z = np.linalg.solve(gram + regularization * np.eye(k), np.ones(k))
    return np.full(k, 1 / k) if abs(z.sum()) < 1e-10 else z / z.sum()


def extrapolated(points, regularization, relative=True, iterate="tail"):
    """The combination of theta_1, ..., theta_K, or of theta_0, ..., theta_{K-1}."""
    c = weights(points, regularization, relative)
    return c @ (points[1:] if iterate == "tail" else points[:-1])


def objective(r, c, ridge):
    """What the weights minimise among those of sum one."""
    return float(np.sum((r @ c) ** 2) + ridge * c @ c)


def optimum(r, ridge):
    """The least objective, from a QR factorisation of [R; sqrt(ridge) I], which squares no condition number."""
    k = r.shape[1]
    triangle = np.linalg.qr(np.vstack([r, np.sqrt(ridge) * np.eye(k)]))[1]
    z = np.linalg.solve(triangle, np.linalg.solve(triangle.T, np.ones(k)))
    return objective(r, z / z.sum(), ridge)


def trees(points, problem=problems.MLP):
    """Rows as trees."""
    return [problem.tree(x) for x in points]
