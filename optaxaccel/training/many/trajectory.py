"""Follow a method on a function of a few parameters, in float64: what exact studies are made of."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from optaxaccel import methods

QUICK: dict[str, Any] = {"xla_backend_optimization_level": 0}  # compiling is what takes time
if jax.__version_info__ < (0, 11):  # newer ones do not know it
    QUICK["xla_cpu_use_fusion_emitters"] = False


class Trajectory(NamedTuple):
    """Where a method went; row k belongs to the point after k steps.

    Attributes:
      points: the parameters, [steps + 1, d].
      evaluated: the iterates that the method wants evaluated, [steps + 1, d].
      values: the function there, [steps + 1].
      watched: what was asked for of the states, [steps + 1].
      state: the last state of the method.
    """

    points: np.ndarray
    evaluated: np.ndarray
    values: np.ndarray
    watched: np.ndarray
    state: Any


def follow(
    make: Callable[[], optax.GradientTransformation],
    loss: Callable[[Any], jax.Array],
    start: Any,
    steps: int,
    *,
    double: bool = True,
    watch: Callable[[Any], Any] = lambda state: 0,
) -> Trajectory:
    """Make `steps` updates with the exact gradient of `loss`, as one compiled scan.

    Args:
      make: returns the method; it is called where float64 is on.
      loss: the function, of a tree like `start`.
      start: the first point, a tree of NumPy arrays.
      steps: number of updates.
      double: whether to compute in float64; float32 otherwise.
      watch: (state) -> a number of it to keep for every point.

    Example:
      >>> path = follow(lambda: optax.sgd(0.5), lambda x: 0.5 * jnp.sum(x**2), np.array([2.0]), 3)
      >>> path.points[:, 0].tolist(), path.values.tolist()
      ([2.0, 1.0, 0.5, 0.25], [2.0, 0.5, 0.125, 0.03125])
    """
    with jax.enable_x64(double):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64 if double else jnp.float32), start)
        tx = optax.with_extra_args_support(make())

        def seen(params, state):
            evaluated = methods.eval_params(state, params)
            return ravel_pytree(params)[0], ravel_pytree(evaluated)[0], loss(evaluated), watch(state)

        @partial(jax.jit, compiler_options=QUICK)
        def run(params):
            def step(carry, _):
                params, state = carry
                value, grad = jax.value_and_grad(loss)(params)
                updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
                params = optax.apply_updates(params, updates)
                return (params, state), seen(params, state)

            state = tx.init(params)
            (_, last), rows = jax.lax.scan(step, (params, state), length=steps)
            return last, seen(params, state), rows

        state, first, rows = jax.device_get(run(params))
    points, evaluated, values, watched = (
        np.concatenate([np.asarray(a)[None], b]) for a, b in zip(first, rows, strict=True)
    )
    return Trajectory(points, evaluated, values, watched, state)
