"""Plain iteration: the next point is F of the last one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.numerics import trees
from optaxaccel.solvers.domain import Domain
from optaxaccel.solvers.evaluation import Evaluation, Products
from optaxaccel.solvers.outcome import FixedPointStatus


class PlainSteps(NamedTuple):
    """State of plain iteration: as much of `AndersonSteps` as every method has."""

    residual: jax.Array
    status: jax.Array
    rejected: jax.Array
    backward: jax.Array


def start(x0: Any) -> PlainSteps:
    """Return the state before the first evaluation."""
    del x0
    none = jnp.zeros((), jnp.int32)
    far = jnp.full((), jnp.inf, trees.accumulation_dtype())
    return PlainSteps(far, jnp.full((), FixedPointStatus.RUNNING.value, jnp.int32), none, none)


def step(evaluation: Evaluation, state: PlainSteps, domain: Domain, products: Products) -> tuple[Any, PlainSteps]:
    """Make one turn."""
    del domain, products
    residual = jnp.where(evaluation.finite, evaluation.residual, state.residual)
    return evaluation.image, state._replace(residual=residual, status=evaluation.status(plain=True))
