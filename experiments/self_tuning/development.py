"""Six deterministic problems on which candidate 2 was chosen: `python experiments/self_tuning/development.py`.

Of kinds that the thirteen development problems of candidate 1 lack: kinks, a curved valley, long runs on all data.
Prints the excess loss of `tuning_free()`, or of another contender (`--contender SaLSA`) at its default, after a quarter
and after all of the steps, over that of the best of Adam and momentum, each at ten rates, constant and with a cosine to
zero: geometric means over three seeds, clipped as in `score.py`.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import score
from contenders import CONTENDERS
from scipy import optimize

import optaxaccel

SEEDS = (1000, 1001, 1002)


class Problem(NamedTuple):
    """A loss of a vector, its start, the steps of the long run, and its least value."""

    loss: Callable[[Any], jax.Array]
    init: Callable[[jax.Array], jax.Array]
    steps: int
    least: float = 0.0


def normal(size: int, scale: float, shift: float = 0.0) -> Callable[[jax.Array], jax.Array]:
    """Return a start that is normally distributed."""
    return lambda key: shift + scale * jax.random.normal(key, (size,))


def hinge() -> Problem:
    """A support vector machine on the whole data; its least value by coordinate ascent on the dual."""
    r, decay, count = np.random.default_rng(21), 1e-2, 200
    inputs, w = r.normal(size=(count, 20)), r.normal(size=20)
    rows = inputs * np.sign(inputs @ w + 1.5 * r.normal(size=count))[:, None]
    dual, v, squares = np.zeros(count), np.zeros(20), np.sum(rows**2, axis=1)
    for _ in range(4000):
        for i in range(count):
            change = np.clip(dual[i] + decay * count * (1 - rows[i] @ v) / squares[i], 0, 1) - dual[i]
            dual[i] += change
            v += change * rows[i] / (decay * count)
    least = float(np.mean(np.maximum(0, 1 - rows @ v)) + decay / 2 * v @ v)
    rows = jnp.asarray(rows, jnp.float32)
    return Problem(lambda p: jnp.mean(jnp.maximum(0.0, 1 - rows @ p)) + decay / 2 * p @ p, normal(20, 0.1), 600, least)


def absolute_deviations() -> Problem:
    """Least absolute deviations with columns of different lengths; its least value is that of a linear programme."""
    r, (n, d) = np.random.default_rng(22), (150, 12)
    x = r.normal(size=(n, d)) * np.logspace(0, -1, d)
    y = x @ (3 * r.normal(size=d)) + r.standard_t(1.5, size=n) * 0.3
    solution = optimize.linprog(
        np.r_[np.zeros(d), np.ones(n) / n],
        A_ub=np.block([[x, -np.eye(n)], [-x, -np.eye(n)]]),
        b_ub=np.r_[y, -y],
        bounds=[(None, None)] * d + [(0, None)] * n,
    )
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    return Problem(lambda p: jnp.mean(jnp.abs(x @ p - y)), normal(d, 0.1), 600, float(solution.fun))


def valley() -> Problem:
    """A curved and narrow valley, whose bottom falls slowly; it has other minima."""

    def loss(p):
        return jnp.sum(30.0 * (p[1:] - jnp.sin(1.5 * p[:-1]) - 0.2 * p[:-1] ** 2) ** 2) + 0.05 * (p[0] - 2.5) ** 2

    return Problem(loss, normal(8, 0.3, -1.0), 800)


def logistic() -> Problem:
    """Logistic regression on the whole data, with columns of very different lengths, turned."""
    r, (n, d), decay = np.random.default_rng(24), (400, 40), 5e-5
    turn = np.linalg.qr(r.normal(size=(d, d)))[0]
    x = r.normal(size=(n, d)) * np.logspace(0.5, -1.5, d) @ turn
    rows = x * np.sign(x @ r.normal(size=d) * 1.5 + r.logistic(size=n))[:, None]

    def both(p):
        z = rows @ p
        slope = -rows.T @ (1 / (1 + np.exp(z))) / n + 2 * decay * p
        return np.mean(np.logaddexp(0, -z)) + decay * p @ p, slope

    options = {"maxiter": 20000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-12, "maxcor": 50}
    least = optimize.minimize(both, np.zeros(d), jac=True, method="L-BFGS-B", options=options).fun
    rows32 = jnp.asarray(rows, jnp.float32)
    return Problem(
        lambda p: jnp.mean(jax.nn.softplus(-(rows32 @ p))) + decay * p @ p, normal(d, 0.01), 600, float(least)
    )


def quadratic() -> Problem:
    """A turned quadratic with condition 10,000."""
    r, d = np.random.default_rng(25), 30
    turn = np.linalg.qr(r.normal(size=(d, d)))[0]
    hessian = jnp.asarray((turn * np.logspace(1, -3, d)) @ turn.T, jnp.float32)
    centre = jnp.asarray(r.normal(size=d), jnp.float32)
    return Problem(lambda p: 0.5 * (p - centre) @ (hessian @ (p - centre)), normal(d, 1.0), 600)


def three_factors() -> Problem:
    """A tensor of rank three as a sum of four products."""
    r, n = np.random.default_rng(26), 10
    tensor = np.einsum("ia,ja,ka->ijk", *[r.normal(size=(n, 3)) for _ in range(3)])
    target = jnp.asarray(tensor / tensor.std(), jnp.float32)

    def loss(p):
        return jnp.mean((jnp.einsum("ia,ja,ka->ijk", *p.reshape(3, n, 4)) - target) ** 2)

    return Problem(loss, normal(12 * n, 0.3), 600)


PROBLEMS = {f.__name__: f for f in (hinge, absolute_deviations, valley, logistic, quadratic, three_factors)}


def excess(problem: Problem, make: Callable[[Any, Callable], Any], rates: Any, cosine: bool, steps: int) -> np.ndarray:
    """Return the excess loss of each rate after some steps: geometric mean over seeds, clipped."""

    @jax.jit
    def run(rates, keys):
        def one(rate, key):
            def decay(t):
                return 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(t / steps, 1.0))) if cosine else 1.0

            tx, params = optax.with_extra_args_support(make(rate, decay)), problem.init(key)

            def step(_, carry):
                params, state = carry
                value, grad = jax.value_and_grad(problem.loss)(params)
                updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=problem.loss)
                return optax.apply_updates(params, updates), state

            end, state = jax.lax.fori_loop(0, steps, step, (params, tx.init(params)))
            return problem.loss(params), problem.loss(optaxaccel.eval_params(state, end))

        return jax.vmap(lambda rate: jax.vmap(lambda key: one(rate, key))(keys))(rates)

    starts, ends = run(jnp.asarray(rates), jax.vmap(jax.random.key)(jnp.array(SEEDS)))
    start = np.mean(np.asarray(starts, np.float64)) - problem.least
    ends = np.asarray(ends, np.float64) - problem.least
    ends = np.where(np.isfinite(ends), ends, np.inf)
    return np.exp(np.mean(np.log(np.clip(ends, score.LOW * start, score.HIGH * start)), axis=1))


def ratio(problem: Problem, steps: int, label: str) -> float:
    """Return the excess of a contender at its default over that of the best of the tuned."""
    tuned = [
        np.min(excess(problem, CONTENDERS[other].make, CONTENDERS[other].numbers, cosine, steps))
        for other in score.REFERENCE
        for cosine in (False, True)
    ]
    contender = CONTENDERS[label]
    return float(excess(problem, contender.make, [contender.default], False, steps)[0] / min(tuned))


def main() -> None:
    """Print the ratios and their score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--contender", choices=list(CONTENDERS), default="tuning_free")
    options, ratios = parser.parse_args(), []
    for name in options.problems:
        problem = PROBLEMS[name]()
        costs = [ratio(problem, steps, options.contender) for steps in (problem.steps // 4, problem.steps)]
        print(f"{name:20s} quarter {costs[0]:8.3g}  whole {costs[1]:8.3g}", flush=True)
        ratios += costs
    print("geometric mean of max(1, r) {:.2f}, worst {:.3g}, within 5 % {:.0%}".format(*score.summary(ratios)))


if __name__ == "__main__":
    main()
