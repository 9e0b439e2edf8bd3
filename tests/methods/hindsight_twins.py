"""The rule of hindsight in NumPy, written from its formulas, along several directions, and `tuning_free` with it."""

import types

import numpy as np

EPS = np.finfo(float).eps


class Rate:
    """The rule in NumPy: told the loss before and after the last step and the gradient after it, it gives the rate."""

    def __init__(self, rate=0.01, kappa=1.5, every=1, calmest=1.0):
        self.rate, self.kappa, self.every, self.calmest = rate, kappa, every, calmest
        self.a = self.b = self.size = self.noise = None
        self.own = np.nan  # the loss of the last step on its own batch

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
        differs = abs(before - self.own)
        if differs < 8 * EPS * abs(after):
            differs = 0.0
        if self.a is None:
            self.a, self.b, usual, self.size = slope, curvature, 0.0, abs(after - before)
            self.noise, share = differs, float(differs > 0)
        else:
            usual, longest = self.size, 0.2 * t / self.every
            self.noise += (differs - self.noise) / max(5.0, longest)
            self.size += (abs(after - before) - self.size) / max(5.0, longest)
            share = self.noise**2 / (self.noise**2 + usual**2)
            self.a += (slope - self.a) / max(5.0, share * longest)
            self.b += (curvature - self.b) / max(5.0, share * longest)
        self.share = share
        with np.errstate(divide="ignore"):
            aim = 0.3 * np.log(self.kappa * self.a / (self.b * self.rate)) if self.a > 0 and self.b > 0 else 0.0
        aim = -0.3 if self.a <= 0 else 0.3 if self.b <= 0 else aim
        factor = np.exp(np.clip(aim, -0.3, min(0.3, 10 * self.every / (t + 1))))
        if max(share, self.calmest) * (after - before) > 3 * usual:
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
        rate.own = problem.value(x)
        previous, x = x, x - rate.rate * d
        rows.append(x)
    return np.array(rows)


class NoisyBowl:
    """Batches of a quadratic, each pulled aside by a vector of its own."""

    def __init__(self, noise, steps):
        self.sides = noise * np.random.default_rng(7).normal(size=(steps, 3))
        self.curvatures = np.array([1.0, 3.0, 10.0])

    def batch(self, t):
        """Return the problem of step t."""
        side, curvatures = self.sides[t], self.curvatures
        return types.SimpleNamespace(
            value=lambda x: 0.5 * x @ (curvatures * x) + side @ x, gradient=lambda x: curvatures * x + side
        )

    def twin(self, x, direction):
        """Return the points and the shares of noise of the rule in NumPy."""
        rate, rows, shares, previous = Rate(), [x], [], x
        for t in range(len(self.sides)):
            batch = self.batch(t)
            d = direction(batch.gradient(x))
            if t > 0:
                rate.look(t, x - previous, batch.gradient(x), batch.value(previous), batch.value(x))
                shares.append(rate.share)
            rate.own = batch.value(x)
            previous, x = x, x - rate.rate * d
            rows.append(x)
        return np.array(rows), np.array(shares)


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
    rate, direction, rows, shown = Rate(calmest=0.03), nesterov_adam(), [x], [x]
    previous, average, lead = x, x, None
    for t in range(steps):
        gradient, value = problem.gradient(x), problem.value(x)
        d = direction(gradient) + decay * x
        if t >= 20 and t % 8 == 7:  # the average is compared with the point
            other = problem.value(average)
            new = (other - value) / (abs(other) + abs(value))
            lead = new if lead is None else 0.8 * lead + 0.2 * new
        if t > 0:
            rate.look(t, x - previous, gradient, problem.value(previous), value)
        rate.own = value
        previous, x = x, x - rate.rate * d
        average = average + 9 / (t + 9) * (x - average)
        rows.append(x)
        shown.append(x if lead is not None and lead > 0 else average)
    return np.array(rows), np.array(shown)
