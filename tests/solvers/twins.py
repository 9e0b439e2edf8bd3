"""Float64 NumPy twins of the fixed-point rules, written from their description: flat vectors, plain Python control."""

import numpy as np


def dot(a, b):
    return float(np.real(np.vdot(a, b)))


def anderson(fun, x0, maps, history=10):
    """Return the points that the default rule evaluates, and the counts of rejected and backward extrapolations."""
    c, points = np.asarray(x0), []
    x = r = y_taken = None
    pairs, turn, halved, jump = [], 0, 0, False
    rejected = backward = 0
    for _ in range(maps):
        points.append(c)
        y = fun(c)
        q = y - c
        length = np.sqrt(dot(q, q))
        if not jump or (np.isfinite(length) and length <= 10 * np.sqrt(dot(r, r))):
            if turn > 0:
                pairs = [*pairs, (c - x, q - r)][-history:]
            x, r, y_taken = c, q, y
            turn, halved, jump = turn + 1, 0, False
            c = y
            if turn % 2 == 0 and pairs:
                dx, dr = (np.stack(column, axis=1) for column in zip(*pairs, strict=True))
                gram, side = np.real(dr.conj().T @ dr), np.real(dr.conj().T @ r)
                scale = 1 / np.sqrt(np.diag(gram))
                values, vectors = np.linalg.eigh(gram * scale[:, None] * scale)
                values = np.maximum(values, 2 * np.finfo(float).eps * values[-1])
                gamma = scale * (vectors @ ((vectors.T @ (scale * side)) / values))
                s = r - (dx + dr) @ gamma
                if dot(s, r) > 0 and np.all(np.isfinite(s)):
                    c, jump = x + s, True
                else:
                    pairs, backward = [], backward + 1
        else:
            rejected, halved = rejected + 1, halved + 1
            if halved <= 3:
                c = x + (c - x) / 2
            else:
                c, jump = y_taken, False
    return points, rejected, backward


def acx(fun, x0, maps):
    """Return the points that ACX 3, 2 evaluates where no extrapolation is taken back."""
    x, points = np.asarray(x0), []
    for order in [3, 2] * maps:
        residuals, c = [], x
        for _ in range(order):
            points.append(c)
            residuals.append(fun(c) - c)
            c = fun(c)
        if order == 2:
            r1, r2 = residuals
            d = r2 - r1
            s = -abs(dot(d, r1) / dot(d, d))
            x = x - 2 * s * r1 + s**2 * d
        else:
            r1, r2, r3 = residuals
            d, e = r2 - r1, r3 - 2 * r2 + r1
            s = -abs(dot(e, d) / dot(e, e))
            x = x - 3 * s * r1 + 3 * s**2 * d - s**3 * e
        if len(points) >= maps:
            return points[:maps]
    raise AssertionError
