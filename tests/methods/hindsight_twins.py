"""The rule of hindsight in NumPy, written from its formulas, along several directions, and `tuning_free` with it."""

import numpy as np

EPS = np.finfo(float).eps


class Rate:
    """The rule in NumPy: told the loss before and after the last step and the gradient after it, it gives the rate."""

    def __init__(self, rate=0.01, kappa=1.5, every=1):
        self.rate, self.kappa, self.every = rate, kappa, every
        self.a = self.b = self.size = None

    def due(self, t):
        return t < 20 or t % self.every == 0

    def look(self, t, u, gradient, before, after):
        s = gradient @ u
        c = 2 * (before - after + s)
        if abs(c) < 8 * EPS * abs(after):
            c = 0.0
        if s == 0:
            return
        slope, curvature = (c - s) / self.rate, c / self.rate**2
        if self.a is None:
            self.a, self.b, usual, self.size = slope, curvature, 0.0, abs(after - before)
        else:
            window = max(5.0, 0.2 * t / self.every)
            self.a += (slope - self.a) / window
            self.b += (curvature - self.b) / window
            usual = self.size
            self.size += (abs(after - before) - self.size) / window
        with np.errstate(divide="ignore"):
            aim = 0.3 * np.log(self.kappa * self.a / (self.b * self.rate)) if self.a > 0 and self.b > 0 else 0.0
        aim = -0.3 if self.a <= 0 else 0.3 if self.b <= 0 else aim
        factor = np.exp(np.clip(aim, -0.3, min(0.3, 10 * self.every / (t + 1))))
        if after - before > 3 * usual:
            best = (s - c) / -c if s < c and c > 0 else None
            factor = min(factor, 0.25 if best is None else np.clip(best, 0.05, 1.0))
        self.rate *= factor


def twin(problem, x, directions, steps, **settings):
    """The trajectory of x <- x - rate d in NumPy."""
    rate, rows, previous = Rate(**settings), [x], x
    for t in range(steps):
        gradient = problem.gradient(x)
        d = directions(gradient)
        if t > 0 and rate.due(t):
            rate.look(t, x - previous, gradient, problem.value(previous), problem.value(x))
        previous, x = x, x - rate.rate * d
        rows.append(x)
    return np.array(rows)


def plain():
    return lambda g: g


def momentum(decay=0.9):
    total = 0

    def direction(g):
        nonlocal total
        total = decay * total + g
        return total

    return direction


def adam(b1=0.9, b2=0.999):
    m = v = t = 0

    def direction(g):
        nonlocal m, v, t
        m, v, t = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g, t + 1
        return (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)

    return direction


def nesterov_adam(b1=0.95, b2=0.99):
    m = v = t = 0

    def direction(g):
        nonlocal m, v, t
        m, v, t = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g, t + 1
        ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        return ahead / (np.sqrt(v / (1 - b2**t)) + 1e-8)

    return direction


def indian(rate=0.5, alpha=0.5, beta=0.1):
    z = 0

    def direction(g):
        nonlocal z
        d = rate * (z - beta * g)
        z = (1 - alpha * rate) * z - rate * (1 - alpha * beta) * g
        return -d

    return direction


def whole_twin(problem, x, steps, decay=0.0):
    """`tuning_free` in NumPy: the points, and those to evaluate at."""
    rate, direction, rows, shown = Rate(), nesterov_adam(), [x], [x]
    previous, average, lead = x, x, None
    for t in range(steps):
        gradient, value = problem.gradient(x), problem.value(x)
        d = direction(gradient) + decay * x
        if t >= 20 and t % 8 == 7:  # this measurement compares the average with the point
            other = problem.value(average)
            new = (other - value) / (abs(other) + abs(value))
            lead = new if lead is None else 0.8 * lead + 0.2 * new
        elif t > 0:
            rate.look(t, x - previous, gradient, problem.value(previous), value)
        previous, x = x, x - rate.rate * d
        average = average + 9 / (t + 9) * (x - average)
        rows.append(x)
        shown.append(x if lead is not None and lead > 0 else average)
    return np.array(rows), np.array(shown)
