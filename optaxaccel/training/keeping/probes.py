"""Probes of curvature beside training: the largest and the smallest eigenvalue of the Hessian, by Lanczos.

A probe is called after evaluations with the loss on one fixed batch; what it returns becomes a row of the record. The
two functions serve loops of one's own, too.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel import registry
from optaxaccel.numerics import eigenpairs, hessians, trees
from optaxaccel.numerics.lanczos import lanczos
from optaxaccel.tasks import batches
from optaxaccel.tasks.task import Task

Loss = Callable[[Any], jax.Array]
_DRAW = 20_000_531  # seed of the batch that probes of a task look at, the same for all runs


@functools.partial(jax.jit, static_argnames=("loss", "num_steps", "seed", "sign"))
def _lowest(
    loss: Callable[..., jax.Array], params: Any, data: Any, num_steps: int, seed: int, sign: float
) -> jax.Array:
    """Return the smallest eigenvalue of `sign` times the Hessian that Lanczos sees in as many products."""
    product = hessians.hessian_product(lambda p: loss(p, **data), params, {})
    start = eigenpairs.random_unit(jax.random.key(seed), params)
    return lanczos(lambda vector: trees.scale(sign, product(vector)), start, num_steps).eigenvalue


def sharpness(
    loss: Callable[..., jax.Array], params: Any, *, num_steps: int = 20, seed: int = 0, **data: Any
) -> jax.Array:
    """Return the largest eigenvalue of the Hessian of a loss, from below.

    Gradient descent at a rate r is stable on a quadratic while r times it is below 2.

    Args:
      loss: `loss(params, **data)`, a scalar.
      params: where.
      num_steps: products with the Hessian, 20 by default; networks' largest eigenvalues stand apart and need few.
      seed: of the first vector.
      **data: what else the loss takes, arrays.

    Example:
      >>> import jax.numpy as jnp
      >>> round(float(sharpness(lambda w: jnp.sum(jnp.array([1.0, 3.0]) * w**2), jnp.ones(2))), 4)
      6.0
    """
    return -_lowest(loss, params, data, num_steps, seed, -1.0)


def smallest_eigenvalue(
    loss: Callable[..., jax.Array], params: Any, *, num_steps: int = 20, seed: int = 0, **data: Any
) -> jax.Array:
    """Return the smallest eigenvalue of the Hessian of a loss, from above; it is negative at a saddle.

    Args:
      loss: as `sharpness`.
      params: as `sharpness`.
      num_steps: as `sharpness`; the lower end of a network's spectrum is dense, so more may be needed.
      seed: as `sharpness`.
      **data: as `sharpness`.

    Example:
      >>> import jax.numpy as jnp
      >>> round(float(smallest_eigenvalue(lambda w: w[0] ** 2 - 3 * w[1] ** 2, jnp.ones(2))), 4)
      -6.0
    """
    return _lowest(loss, params, data, num_steps, seed, 1.0)


PROBES = {"sharpness": sharpness, "smallest_eigenvalue": smallest_eigenvalue}


def check(names: Sequence[str]) -> None:
    """Refuse names of no probe."""
    for name in names:
        registry.lookup("probe", name, PROBES)


def measure(names: Sequence[str], loss: Callable[..., jax.Array], params: Any, rate: float | None, **data: Any) -> Any:
    """Return what the probes of these names find; with `sharpness` also the rate times it, where a rate is known."""
    measurements = {name: float(PROBES[name](loss, params, **data)) for name in names}
    if rate is not None and "sharpness" in measurements:
        measurements["rate_times_sharpness"] = rate * measurements["sharpness"]
    return measurements


class Probing:
    """Probes of a task's run, called with (step, numbers, state): what they find on one batch of training examples."""

    def __init__(self, names: Sequence[str], task: Task):
        """Draw the batch: all that is trained on, or as many examples as an evaluation takes at once.

        Raises:
          ValueError: there is no such probe.
        """
        check(names)
        self.names = tuple(names)
        key = jax.random.key(_DRAW)
        data: Any = task.train(key) if callable(task.train) else task.train
        if task.batch_size is not None and not callable(task.train):
            order = np.asarray(jax.random.permutation(key, batches.examples(data)))[: task.eval_batch_size]
            data = jax.tree.map(lambda leaf: leaf[order], data)
        self.data = jax.tree.map(jnp.asarray, data)

        def loss(params: Any, *, net_state: Any, batch: Any) -> jax.Array:
            return task.loss(params, net_state, batch, key=key, train=True)[0]

        self.loss = loss

    def __call__(self, step: int, numbers: Mapping[str, Any], state: Any) -> dict[str, float]:
        """Return the numbers of a row, at the point where gradients are taken."""
        rate = rate_at(step, numbers, state.opt_state)
        return measure(self.names, self.loss, state.params, rate, net_state=state.net_state, batch=self.data)


def rate_at(step: int, numbers: Mapping[str, Any], opt_state: Any) -> float | None:
    """Return the rate at a step: of the method's state where it tells one, or its learning rate, or None."""
    rates = [
        node.rate
        for node in jax.tree.leaves(opt_state, is_leaf=lambda node: "rate" in getattr(type(node), "_fields", ()))
        if "rate" in getattr(type(node), "_fields", ())
    ]
    if rates:
        return float(rates[0]) if step else None  # before the first step none was measured
    rate = numbers.get("learning_rate")
    if rate is None:
        return None
    return float(rate if jnp.ndim(rate) == 0 else rate[min(step, len(rate) - 1)])
