"""Physics-informed networks in float64: the residual of an equation as the loss, the relative L2 error as the score."""

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel.tasks import equations, networks
from optaxaccel.tasks.equations import Equation
from optaxaccel.tasks.task import Task


def poisson_1d(*, width: int = 16, layers: int = 2, points: int = 0, resample: bool = False, steps: int = 1000) -> Task:
    """Return Poisson's equation on an interval, see `informed`."""
    return informed(equations.poisson_1d(), width=width, layers=layers, points=points, resample=resample, steps=steps)


def poisson_2d(*, width: int = 16, layers: int = 2, points: int = 0, resample: bool = False, steps: int = 1000) -> Task:
    """Return Poisson's equation on a square, see `informed`."""
    return informed(equations.poisson_2d(), width=width, layers=layers, points=points, resample=resample, steps=steps)


def burgers(*, width: int = 16, layers: int = 2, points: int = 0, resample: bool = False, steps: int = 1000) -> Task:
    """Return the viscous equation of Burgers, see `informed`."""
    return informed(equations.burgers(), width=width, layers=layers, points=points, resample=resample, steps=steps)


def allen_cahn(*, width: int = 16, layers: int = 2, points: int = 0, resample: bool = False, steps: int = 1000) -> Task:
    """Return the equation of Allen and Cahn, see `informed`."""
    return informed(equations.allen_cahn(), width=width, layers=layers, points=points, resample=resample, steps=steps)


def informed(equation: Equation, *, width: int, layers: int, points: int, resample: bool, steps: int) -> Task:
    """Return the task of an equation: full batch, or collocation points drawn anew every step.

    Args:
      equation: with its solution, residual, points and reference.
      width: of the hidden tanh layers.
      layers: number of hidden layers.
      points: random collocation points; 0 for the equation's own fixed ones.
      resample: whether they are drawn anew at every step; then there are as many as the equation has, or `points`.
      steps: updates of a run.
    """
    at, want = equation.test_points, equation.reference
    fixed = equation.points if points == 0 else equations.random_points(equation, points, 0)
    low, reach = equation.low, equation.high - equation.low

    def sample(key):
        return {"points": low + reach * jax.random.uniform(key, fixed.shape)}

    def loss(params, net_state, batch, *, key, train):
        left = jax.vmap(lambda x: equation.residual(params, x))(batch["points"])
        metrics = {}
        if not train:
            predicted = jax.vmap(lambda x: equation.solution(params, x))(jnp.asarray(at))
            metrics = {"relative_l2": jnp.linalg.norm(predicted - want) / np.linalg.norm(want)}
        return jnp.mean(left**2), (net_state, metrics)

    return Task(
        lambda key: (networks.dense(key, (equation.inputs, *[width] * layers, 1)), {}),
        loss,
        train=sample if resample else {"points": fixed},
        test={"points": fixed},
        score="relative_l2",
        predict=lambda params, net_state, points: jax.vmap(lambda x: equation.solution(params, x))(jnp.asarray(points)),
        precision="float64",
        steps=steps,
    )
