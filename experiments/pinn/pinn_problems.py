"""The equations of `optaxaccel.tasks.equations` as these experiments pose them: networks, their loss and their error.

A network holds some 330 numbers in float64.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel.tasks import equations
from optaxaccel.tasks.equations import Equation, random_points

__all__ = ["EQUATIONS", "Equation", "error_of", "loss_of", "random_points", "start"]

WIDTH = 16
EQUATIONS = {name: getattr(equations, name) for name in ("poisson_1d", "poisson_2d", "burgers", "allen_cahn")}


def start(equation: Equation, seed: int) -> list[dict[str, jax.Array]]:
    """Return a fresh network, Glorot's scale."""
    rng, sizes = np.random.default_rng(seed), (equation.inputs, WIDTH, WIDTH, 1)
    return [
        {"kernel": jnp.asarray(rng.normal(size=(m, n)) * (2.0 / (m + n)) ** 0.5), "bias": jnp.zeros(n)}
        for m, n in itertools.pairwise(sizes)
    ]


def loss_of(equation: Equation) -> Callable[..., jax.Array]:
    """Return the loss as a function of the parameters and of `points`."""

    def loss(params: Any, points: jax.Array) -> jax.Array:
        return jnp.mean(jax.vmap(lambda x: equation.residual(params, x))(points) ** 2)

    return loss


def error_of(equation: Equation) -> Callable[[Any], float]:
    """Return the relative L2 error against the reference as a function of the parameters."""
    test, want = jnp.asarray(equation.test_points), jnp.asarray(equation.reference)

    @jax.jit
    def error(params: Any) -> jax.Array:
        return jnp.linalg.norm(jax.vmap(lambda x: equation.solution(params, x))(test) - want) / jnp.linalg.norm(want)

    return lambda params: float(error(params))
