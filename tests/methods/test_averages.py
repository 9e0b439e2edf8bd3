"""Averages around a base: against NumPy in three sequences, against what they are for special values.

Each twin keeps x, y and z apart, as the papers print them; the methods keep two of the three.
"""

import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

import optaxaccel
from optaxaccel import eval_params, exponential_mean, polynomial_mean, primal_averaging, schedule_free

STEPS = problems.STEPS


def sgd(rate):
    return lambda t, g: rate * g


class Adam:
    """AdamW's step, without its decay."""

    def __init__(self, rate, b1=0.9, b2=0.999, eps=1e-8):
        self.rate, self.b1, self.b2, self.eps, self.m, self.v = rate, b1, b2, eps, 0.0, 0.0

    def __call__(self, t, g):
        self.m, self.v = self.b1 * self.m + (1 - self.b1) * g, self.b2 * self.v + (1 - self.b2) * g**2
        mean, square = self.m / (1 - self.b1**t), self.v / (1 - self.b2**t)
        return self.rate * mean / (np.sqrt(square) + self.eps)


def three_sequences(problem, make, mu_y, share, *, decay=lambda t: 0.0, decays="z", steps=STEPS):
    """Return twins of y and x: `make()` gives the base's step u(t, g), `share(t)` the weight of z in x."""

    def run(which):
        def trajectory(start):
            x, y, z, step, rows = start, start, start, make(), [start]
            for t in range(1, steps + 1):
                u = step(t, problem.gradient(y))
                z = z - decay(t) * (z if decays == "z" else y) - u
                x = (1 - share(t)) * x + share(t) * z
                y = mu_y * x + (1 - mu_y) * z
                rows.append({"x": x, "y": y}[which])
            return np.array(rows)

        return trajectory

    return run("y"), run("x")


def assert_follows(got, twins, problem):
    problems.assert_follows(got.params, twins[0], problem)
    problems.assert_follows(got.evaluated, twins[1], problem)


# --- Primal averaging -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mu_y", [0.0, 0.7, 0.97, 0.99, 1.0])
def test_primal_averaging_of_sgd(mu_y):
    """Beyond 0.98 another sequence is kept."""
    problem = problems.VALLEY
    got = problems.run_jax(primal_averaging(optax.sgd(0.03), mu_y=mu_y, mu_x=0.8), problem)
    assert_follows(got, three_sequences(problem, lambda: sgd(0.03), mu_y, lambda t: 0.2), problem)


@pytest.mark.parametrize("mu_y", [0.7, 0.99])
@pytest.mark.parametrize("base_at", ["z", "y"])
def test_primal_averaging_of_adamw_decays_where_the_base_stands(mu_y, base_at):
    problem = problems.MLP
    tx = primal_averaging(optax.adamw(0.02, weight_decay=0.5), mu_y=mu_y, mu_x=0.9, base_at=base_at)
    got = problems.run_jax(tx, problem)
    twins = three_sequences(problem, lambda: Adam(0.02), mu_y, lambda t: 1 - 0.9, decay=lambda t: 0.01, decays=base_at)
    assert_follows(got, twins, problem)


def test_gpa_adamw_with_schedules():
    problem = problems.QUADRATIC
    tx = optaxaccel.gpa_adamw(0.05, mu_y=0.6, mu_x=lambda k: 1 - 1 / (k + 2.0), b1=0.8, b2=0.9, weight_decay=0.4)
    got = problems.run_jax(tx, problem)
    make = lambda: Adam(0.05, 0.8, 0.9)  # noqa: E731
    twins = three_sequences(problem, make, 0.6, lambda t: 1 / (t + 1), decay=lambda t: 0.05 * 0.4)
    assert_follows(got, twins, problem)


def test_without_memory_it_is_the_base():
    problem = problems.VALLEY
    got = problems.run_jax(primal_averaging(optax.sgd(0.03, 0.9), mu_x=0.0), problem)
    want = problems.run_jax(optax.sgd(0.03, 0.9), problem)
    assert problems.relative_error(got.params, want.params) < 1e-12
    assert problems.relative_error(got.evaluated, want.params) < 1e-12


@pytest.mark.parametrize(("mu_y", "nesterov"), [(1.0, False), (0.8, True)])
def test_of_sgd_it_is_momentum(mu_y, nesterov):
    """With mu_y = 1 the heavy ball, with mu_y = mu_x Nesterov's, in the form of PyTorch and optax."""
    problem = problems.VALLEY
    got = problems.run_jax(primal_averaging(optax.sgd(0.1), mu_y=mu_y, mu_x=0.8), problem)
    want = problems.run_jax(optax.sgd(0.2 * 0.1, 0.8, nesterov=nesterov), problem)
    assert problems.relative_error(got.params, want.params) < 1e-12


# --- Schedule-free ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base_at", ["y", "z"])
def test_schedule_free_with_warm_up_and_powers(base_at):
    problem = problems.MLP

    def rate(count):
        return 0.4 * jnp.minimum(1.0, (count + 1.0) / 10)

    tx = schedule_free(optax.sgd(rate), learning_rate=rate, mu_y=0.8, r=1.0, weight_lr_power=1.5, base_at=base_at)
    got = problems.run_jax(tx, problem)
    rates = 0.4 * np.minimum(1.0, np.arange(1, STEPS + 1) / 10)
    weights = np.arange(1, STEPS + 1) * rates**1.5
    shares = weights / np.cumsum(weights)
    twins = three_sequences(problem, lambda: lambda t, g: rates[t - 1] * g, 0.8, lambda t: shares[t - 1])
    assert_follows(got, twins, problem)


def test_schedule_free_adamw():
    problem = problems.QUADRATIC
    tx = optaxaccel.schedule_free_adamw(0.1, b1=0.9, b2=0.95, weight_decay=0.3, warmup_steps=4)
    got = problems.run_jax(tx, problem)
    rates = 0.1 * np.minimum(1.0, np.arange(1, STEPS + 1) / 4)
    shares = rates**2 / np.cumsum(rates**2)

    def make():
        adam = Adam(1.0, 0.0, 0.95)
        return lambda t, g: rates[t - 1] * adam(t, g)

    twins = three_sequences(problem, make, 0.9, lambda t: shares[t - 1], decay=lambda t: 0.3 * rates[t - 1], decays="y")
    assert_follows(got, twins, problem)


def test_schedule_free_agrees_with_optax_without_warm_up():
    problem = problems.VALLEY
    got = problems.run_jax(schedule_free(optax.sgd(0.05)), problem)
    want = problems.run_jax(optax.contrib.schedule_free(optax.sgd(0.05), 0.05), problem)
    assert problems.relative_error(got.params, want.params) < 1e-12
    assert problems.relative_error(got.evaluated, want.evaluated) < 1e-12


def test_a_warm_up_that_begins_at_zero_is_no_division_by_zero():
    rate = optax.linear_schedule(0.0, 1.0, 2)
    tx, y = schedule_free(optax.sgd(rate), learning_rate=rate), jnp.array(1.0)
    state = tx.init(y)
    for _ in range(2):
        updates, state = tx.update(jnp.array(1.0), state, y)
        y = optax.apply_updates(y, updates)
    np.testing.assert_allclose(eval_params(state, y), 0.5)  # the first z has no weight


# --- Means beside a run -----------------------------------------------------------------------------------------------


def exponential(decay, debias):
    def mean(z):
        x, rows = z[0], [z[0]]
        for t in range(1, len(z)):
            c = (1 - decay) / (1 - decay**t) if debias else 1 - decay
            x = x + c * (z[t] - x)
            rows.append(x)
        return np.array(rows)

    return mean


def polynomial(power):
    def mean(z):
        rows = [z[0]]
        for t in range(1, len(z)):  # its weights in closed form: products of k + 1, ..., so that no recursion is used
            weights = [np.prod([(j + i) / (i + 1) for i in range(int(power))]) for j in range(1, t + 1)]
            rows.append(np.average(z[1 : t + 1], axis=0, weights=weights))
        return np.array(rows)

    return mean


def latest(history, period):
    def mean(z):
        rows = []
        for t in range(len(z)):
            stored = z[period : t + 1 : period][-history:]
            rows.append(np.mean(stored, axis=0) if len(stored) else z[t])
        return np.array(rows)

    return mean


MEANS = {
    "exponential": (lambda base: exponential_mean(base, decay=0.8), exponential(0.8, True)),
    "exponential from the start": (
        lambda base: exponential_mean(base, decay=0.8, debias=False),
        exponential(0.8, False),
    ),
    "polynomial": (polynomial_mean, polynomial(8)),
    "polynomial 1": (lambda base: polynomial_mean(base, power=1.0), polynomial(1)),
    "latest": (lambda base: optaxaccel.latest_weight_average(base, history=3, period=4), latest(3, 4)),
    "latest of one": (lambda base: optaxaccel.latest_weight_average(base, history=1, period=1), latest(1, 1)),
}


@pytest.mark.parametrize("name", MEANS)
def test_means_leave_the_run_alone_and_are_those_of_its_iterates(name):
    wrap, mean = MEANS[name]
    problem, base = problems.VALLEY, optax.adam(0.1)
    got, want = (problems.run_jax(tx, problem) for tx in (wrap(base), base))
    np.testing.assert_allclose(got.params, want.params, rtol=1e-13, atol=1e-13)
    assert problems.relative_error(got.evaluated, mean(want.params)) < 1e-12


def test_averaged_sgd_is_a_mean_of_momentum():
    problem = problems.VALLEY
    got = problems.run_jax(optaxaccel.averaged_sgd(0.02, momentum=0.8, power=2.0), problem)
    want = problems.run_jax(optax.sgd(0.02, 0.8), problem)
    assert problems.relative_error(got.evaluated, polynomial(2)(want.params)) < 1e-12


# --- The outer step ---------------------------------------------------------------------------------------------------


def outer(problem, period, eta, mu, inner, steps=STEPS):
    def run(which):
        def trajectory(start):
            slow, fast, b, step, rows = start, start, np.zeros_like(start), inner(), [start]
            for t in range(1, steps + 1):
                fast = fast - step(t, problem.gradient(fast))
                if t % period == 0:
                    s = slow - fast
                    b = mu * b + s
                    slow = slow - eta * (mu * b + s)
                    fast = slow
                rows.append({"fast": fast, "slow": slow}[which])
            return np.array(rows)

        return trajectory

    return run("fast"), run("slow")


@pytest.mark.parametrize(("period", "eta", "mu"), [(4, 0.7, 0.6), (1, 0.5, 0.9), (7, 0.3, 0.0)])
def test_the_outer_step_follows_the_rule(period, eta, mu):
    problem = problems.MLP
    tx = optaxaccel.outer_nesterov(optax.adam(0.05), period=period, step_size=eta, momentum=mu)
    assert_follows(problems.run_jax(tx, problem), outer(problem, period, eta, mu, lambda: Adam(0.05)), problem)


def test_snoo_adamw_is_the_outer_step_around_adamw():
    problem = problems.VALLEY
    tx = optaxaccel.snoo_adamw(0.05, period=5, step_size=0.6, momentum=0.5, b1=0.8, weight_decay=0.1)
    other = optaxaccel.outer_nesterov(
        optax.adamw(0.05, b1=0.8, weight_decay=0.1), period=5, step_size=0.6, momentum=0.5
    )
    got, want = (problems.run_jax(t, problem) for t in (tx, other))
    np.testing.assert_array_equal(got.params, want.params)


def test_a_whole_step_without_momentum_is_the_base():
    problem = problems.VALLEY
    got = problems.run_jax(optaxaccel.outer_nesterov(optax.adam(0.1), period=3, step_size=1.0, momentum=0.0), problem)
    want = problems.run_jax(optax.adam(0.1), problem)
    assert problems.relative_error(got.params, want.params) < 1e-12
