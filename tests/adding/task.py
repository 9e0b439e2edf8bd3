"""A parabola: what a task needs at least."""

import jax.numpy as jnp

from optaxaccel.tasks import Task, from_loss


def parabola(*, steps: int = 20) -> Task:
    """Return x^2 from 1.

    Args:
      steps: updates of a run.
    """
    return from_loss(lambda x: x**2, jnp.array(1.0), steps=steps)
