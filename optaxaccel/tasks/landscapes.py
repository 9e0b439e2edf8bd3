"""Landscapes: deterministic functions whose minimum is known, in float64, with f - f* as the score."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from optaxaccel.tasks.task import Task


def rosenbrock(*, dimension: int = 2, steps: int = 1000) -> Task:
    r"""Return Rosenbrock's valley, :math:`\sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2`, from (-1.2, 1, -1.2, ...).

    Args:
      dimension: number of variables, 2 or more; the minimum is 0 at (1, ..., 1).
      steps: updates of a run.
    """
    start = np.where(np.arange(dimension) % 2 == 0, -1.2, 1.0)

    def value(x: Any) -> Any:
        return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    def loss(params, net_state, batch, *, key, train):
        f = value(params)
        return f, (net_state, {"gap": f})

    return Task(lambda key: (jnp.asarray(start), {}), loss, score="gap", precision="float64", steps=steps)
