"""Test problems, each twice: in NumPy float64 (value and gradient written by hand) and in JAX (value only).

A fidelity test writes the paper's algorithm as a NumPy loop over flat vectors, runs the JAX method with `run_jax` on
the same problem, and compares the two trajectories:

    @pytest.mark.parametrize("problem", problems.ALL, ids=str)
    def test_follows_the_paper(problem):
        def paper(x):
            trajectory = [x]
            for k in range(30):
                x = x - problem.rate * problem.gradient(x)
                trajectory.append(x)
            return np.array(trajectory)

        got = problems.run_jax(optax.sgd(problem.rate), problem, 30)
        problems.assert_follows(got.params, paper, problem)

Parameters are trees for JAX and flat float64 vectors for NumPy, in the order of `jax.tree.leaves`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import optaxaccel

STEPS = 30
RTOL = 1e-9


class Problem(NamedTuple):
    """A function to minimise.

    Attributes:
      name: shown as the test's id.
      start: the first point, a tree of float64 NumPy arrays.
      formula: `formula(np or jnp, tree)` gives the value, from the one module it is handed.
      slope: `slope(tree)` gives the gradient as a tree, written by hand in NumPy.
      rate: a step with which gradient descent is stable from the start, about 1/L.
      smooth: whether the gradient is continuous.
    """

    name: str
    start: Any
    formula: Callable[[Any, Any], Any]
    slope: Callable[[Any], Any]
    rate: float
    smooth: bool = True

    def __str__(self) -> str:
        return self.name

    @property
    def x0(self) -> np.ndarray:
        """The first point as a flat vector."""
        return flatten(self.start)

    def tree(self, x: np.ndarray) -> Any:
        """The tree of NumPy arrays that belongs to a flat vector."""
        leaves, structure = jax.tree.flatten(self.start)
        parts = np.split(np.asarray(x, np.float64), np.cumsum([np.size(leaf) for leaf in leaves])[:-1])
        shaped = [part.reshape(np.shape(leaf)) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, shaped)

    def value(self, x: np.ndarray) -> float:
        """The value at a flat vector, in NumPy."""
        return float(self.formula(np, self.tree(x)))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """The gradient at a flat vector, in NumPy."""
        return flatten(self.slope(self.tree(x)))

    def loss(self, params: Any) -> jax.Array:
        """The value at a tree, in JAX: what a training loop passes as `value_fn`."""
        return self.formula(jnp, params)


def flatten(tree: Any) -> np.ndarray:
    """All leaves as one float64 vector."""
    return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)])


# --- The problems -----------------------------------------------------------------------------------------------------


def _quadratic() -> Problem:
    """Curvatures from 1e-4 to 1 in a rotated basis, the minimum away from zero, two leaves."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    hessian = (basis * np.logspace(-4, 0, 6)) @ basis.T
    centre = rng.normal(size=6)

    def joined(xp, p):
        return xp.concatenate([xp.ravel(p["kernel"]), p["offset"]]) - xp.asarray(centre, p["offset"].dtype)

    def formula(xp, p):
        d = joined(xp, p)
        return 0.5 * xp.dot(d, xp.dot(xp.asarray(hessian, d.dtype), d))

    def slope(p):
        g = hessian @ joined(np, p)
        return {"kernel": g[:4].reshape(2, 2), "offset": g[4:]}

    start = {"kernel": np.array([[3.0, -2.0], [1.0, 2.0]]), "offset": np.array([-1.0, 4.0])}
    return Problem("quadratic", start, formula, slope, rate=1.0)


def _rosenbrock() -> Problem:
    """The curved valley of Rosenbrock, two scalar leaves."""

    def formula(xp, p):
        return (1.0 - p["x"]) ** 2 + 100.0 * (p["y"] - p["x"] ** 2) ** 2

    def slope(p):
        off = p["y"] - p["x"] ** 2
        return {"x": -2.0 * (1.0 - p["x"]) - 400.0 * p["x"] * off, "y": 200.0 * off}

    return Problem("rosenbrock", {"x": np.array(-1.0), "y": np.array(1.2)}, formula, slope, rate=5e-4)


def _kinked() -> Problem:
    """A sum of five absolute values of linear functions: piecewise linear, convex."""
    rng = np.random.default_rng(1)
    matrix, target, weight = rng.normal(size=(5, 3)), rng.normal(size=5), np.array([3.0, 1.0, 0.3, 0.1, 0.03])

    def formula(xp, p):
        return xp.sum(weight * xp.abs(xp.dot(matrix, p["w"]) - target))

    def slope(p):
        return {"w": matrix.T @ (weight * np.sign(matrix @ p["w"] - target))}

    return Problem("kinked", {"w": np.array([2.0, -1.5, 1.0])}, formula, slope, rate=0.05, smooth=False)


def _kinked_valley() -> Problem:
    """INDIAN's Fig. 1: 100 (b - |a|)^2 + |1 - a|, neither smooth nor convex."""

    def formula(xp, p):
        return 100.0 * (p["b"] - xp.abs(p["a"])) ** 2 + xp.abs(1.0 - p["a"])

    def slope(p):
        off = p["b"] - np.abs(p["a"])
        return {"a": -200.0 * off * np.sign(p["a"]) - np.sign(1.0 - p["a"]), "b": 200.0 * off}

    start = {"a": np.array(-1.0), "b": np.array(0.5)}
    return Problem("kinked_valley", start, formula, slope, rate=2e-3, smooth=False)


def _valley() -> Problem:
    """A smooth valley along a sine, sloping to a bounded well; its curvature changes sign."""

    def formula(xp, p):
        off = p["y"] - xp.sin(2.0 * p["x"])
        return 2.0 * xp.sum(off**2) + xp.sum(p["x"] ** 2 / (1.0 + p["x"] ** 2))

    def slope(p):
        off = p["y"] - np.sin(2.0 * p["x"])
        down = 2.0 * p["x"] / (1.0 + p["x"] ** 2) ** 2
        return {"x": -8.0 * off * np.cos(2.0 * p["x"]) + down, "y": 4.0 * off}

    return Problem("valley", {"x": np.array([1.7, -0.9]), "y": np.array([0.4, 0.3])}, formula, slope, rate=0.03)


def _mlp() -> Problem:
    """A tanh network, 3 inputs, 4 hidden units, 3 classes, softmax cross-entropy over 12 fixed samples."""
    rng = np.random.default_rng(2)
    inputs, labels = rng.normal(size=(12, 3)), rng.integers(3, size=12)
    one_hot = np.eye(3)[labels]

    def formula(xp, p):
        hidden = xp.tanh(xp.dot(inputs, p["hidden"]["kernel"]) + p["hidden"]["bias"][None])
        logits = xp.dot(hidden, p["out"]["kernel"]) + p["out"]["bias"][None]
        top = xp.max(logits, axis=1, keepdims=True)
        log_sum = xp.log(xp.sum(xp.exp(logits - top), axis=1)) + top[:, 0]
        return xp.mean(log_sum - xp.sum(one_hot * logits, axis=1))

    def slope(p):
        hidden = np.tanh(inputs @ p["hidden"]["kernel"] + p["hidden"]["bias"])
        logits = hidden @ p["out"]["kernel"] + p["out"]["bias"]
        probability = np.exp(logits - logits.max(axis=1, keepdims=True))
        probability /= probability.sum(axis=1, keepdims=True)
        into_logits = (probability - one_hot) / len(inputs)
        into_hidden = (into_logits @ p["out"]["kernel"].T) * (1.0 - hidden**2)
        return {
            "hidden": {"kernel": inputs.T @ into_hidden, "bias": into_hidden.sum(axis=0)},
            "out": {"kernel": hidden.T @ into_logits, "bias": into_logits.sum(axis=0)},
        }

    start = {
        "hidden": {"kernel": rng.normal(size=(3, 4)), "bias": 0.1 * rng.normal(size=4)},
        "out": {"kernel": rng.normal(size=(4, 3)), "bias": 0.1 * rng.normal(size=3)},
    }
    return Problem("mlp", start, formula, slope, rate=0.5)


QUADRATIC = _quadratic()
ROSENBROCK = _rosenbrock()
KINKED = _kinked()
KINKED_VALLEY = _kinked_valley()
VALLEY = _valley()
MLP = _mlp()
ALL = (QUADRATIC, ROSENBROCK, KINKED, KINKED_VALLEY, VALLEY, MLP)


# --- The harness ------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """What a run leaves: row k of the arrays belongs to the point after k steps.

    Attributes:
      params: the parameters, shape (steps + 1, d).
      evaluated: `optaxaccel.eval_params` of them, shape (steps + 1, d).
      state: the last optimiser state.
      tree: the last parameters as a tree.
    """

    params: np.ndarray
    evaluated: np.ndarray
    state: Any
    tree: Any


def run_jax(tx: optax.GradientTransformation, problem: Problem, steps: int = STEPS, **extra: Any) -> Run:
    """Run a method in float64, one jitted step at a time, with `value`, `grad` and `value_fn` always passed."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float64), problem.start)
        tx = optax.with_extra_args_support(tx)
        state = tx.init(params)

        @jax.jit
        def step(params, state):
            value, grads = jax.value_and_grad(problem.loss)(params)
            updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=problem.loss, **extra)
            params = optax.apply_updates(params, updates)
            return params, state, show(params, state)

        def show(params, state):
            return ravel_pytree(params)[0], ravel_pytree(optaxaccel.eval_params(state, params))[0]

        rows = [show(params, state)]
        for _ in range(steps):
            params, state, row = step(params, state)
            rows.append(row)
        seen, evaluated = (np.array(column) for column in zip(*rows, strict=True))
    assert seen.dtype == np.float64
    return Run(seen, evaluated, state, params)


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """The largest entry of the difference, over all steps, each relative to the largest entry of that step."""
    assert got.shape == want.shape, (got.shape, want.shape)
    assert np.all(np.isfinite(want)), "the reference diverges: choose a smaller rate"
    return float(np.max(np.max(np.abs(got - want), axis=1) / np.max(np.abs(want), axis=1)))


def amplification(twin: Callable[[np.ndarray], np.ndarray], problem: Problem, size: float = 1e-15) -> float:
    """How much the NumPy twin itself, `twin(x0) -> (steps + 1, d)`, magnifies a relative error `size` of the start.

    Divided by `size`, so that about (factor x 1e-16 x steps) is the error that rounding alone explains.
    """
    nudge = np.random.default_rng(3).choice([-1.0, 1.0], problem.x0.shape)
    return relative_error(twin(problem.x0 * (1.0 + size * nudge)), twin(problem.x0)) / size


def assert_follows(
    got: np.ndarray,
    twin: Callable[[np.ndarray], np.ndarray],
    problem: Problem,
    *,
    rtol: float = RTOL,
    rounding_errors: float = 0.0,
) -> None:
    """Assert that a trajectory equals that of the NumPy twin to `rtol`.

    Args:
      got: trajectory of the method, shape (steps + 1, d).
      twin: the paper's algorithm in NumPy, from the flat start to its trajectory of the same shape.
      problem: where both ran.
      rtol: the largest relative error allowed.
      rounding_errors: only where a problem is seen to magnify rounding: that many relative errors of 1e-15 in the
        start, magnified as the twin itself magnifies them, are allowed on top of `rtol`.
    """
    allowed = rtol
    if rounding_errors:
        allowed += rounding_errors * 1e-15 * amplification(twin, problem)
    error = relative_error(got, twin(problem.x0))
    assert error <= allowed, f"{problem}: relative error {error:.3g} > {allowed:.3g}"
