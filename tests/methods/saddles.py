"""Problems with saddles, and negative curvature descent in NumPy with an exact eigendecomposition as its finder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from problems import Problem, flatten


def _saddle():
    """x^2/2 - y^2/2 + y^4/4: a saddle at the origin, minima of -1/4 at y = 1 and y = -1."""

    def formula(xp, p):
        return p["x"] ** 2 / 2 - p["y"] ** 2 / 2 + p["y"] ** 4 / 4

    def slope(p):
        return {"x": p["x"], "y": p["y"] ** 3 - p["y"]}

    return Problem("saddle", {"x": np.array(0.9), "y": np.array(-0.05)}, formula, slope, rate=0.3)


def _factorisation():
    """||u v' - M||^2 / 2 for a 3 x 4 matrix M: a saddle at zero, the best approximation of rank one as minimum."""
    target = np.random.default_rng(5).normal(size=(3, 4))

    def formula(xp, p):
        return 0.5 * xp.sum((p["u"][:, None] * p["v"][None, :] - xp.asarray(target, p["u"].dtype)) ** 2)

    def slope(p):
        off = p["u"][:, None] * p["v"][None, :] - target
        return {"u": off @ p["v"], "v": off.T @ p["u"]}

    start = {"u": np.array([0.02, -0.01, 0.03]), "v": np.array([-0.01, 0.02, 0.01, -0.03])}
    return Problem("factorisation", start, formula, slope, rate=0.05)


SADDLE = _saddle()
FACTORISATION = _factorisation()
FACTORISED = 0.5 * float(np.sum(np.linalg.svd(np.random.default_rng(5).normal(size=(3, 4)))[1][1:] ** 2))


def dimension(problem):
    return len(problem.x0)


@functools.cache
def _hessian(problem_name, formula):
    del problem_name
    return jax.jit(jax.hessian(lambda tree: formula(jnp, tree)))


def hessian(problem, x):
    """The dense Hessian, float64."""
    with jax.enable_x64(True):
        blocks = _hessian(problem.name, problem.formula)(problem.tree(x))
    sizes = [np.size(leaf) for leaf in jax.tree.leaves(problem.start)]
    rows = jax.tree.leaves(blocks)
    table = [[np.reshape(rows[i * len(sizes) + j], (a, b)) for j, b in enumerate(sizes)] for i, a in enumerate(sizes)]
    return np.block(table)


def descend(problem, x, length, threshold, max_steps):
    """Negative curvature descent as the paper prints it; returns the point and the number of jumps."""
    for jumps in range(max_steps):
        values, vectors = np.linalg.eigh(hessian(problem, x))
        if values[0] >= -threshold:
            return x, jumps
        v = vectors[:, 0]
        there = x - length(values[0]) * np.sign(v @ problem.gradient(x)) * v
        if problem.value(there) >= problem.value(x):
            return x, jumps
        x = there
    return x, max_steps


def run_from(tx, problem, start, steps, **extra):
    """The points of a float32 run as one compiled scan, flat, and the last state."""
    loss = problem.loss
    params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), start)
    tx = optax.with_extra_args_support(tx)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss, **extra)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, updates)

        return jax.lax.scan(step, (params, tx.init(params)), length=steps)

    (params, state), (points, _) = run(params)
    flat = np.stack([flatten(jax.tree.map(lambda p, i=i: p[i], points)) for i in (0, steps // 2, steps - 1)])
    return flat, state


def zeros(problem):
    return jax.tree.map(np.zeros_like, problem.start)
