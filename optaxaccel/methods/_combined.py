"""GOSE from numbers alone: around the heavy ball, and around AGD, the "combined" method.

Xiao, "Accelerated optimization methods on convolutional neural networks", 2019, the end of section 4.
"""

import jax
import optax

from optaxaccel.methods import contract
from optaxaccel.methods._agd import agd
from optaxaccel.methods._gose import gose
from optaxaccel.methods._negative_curvature import Finder, lanczos

__all__ = ["gose_agd", "gose_sgd"]


def gose_sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: jax.typing.ArrayLike = 0.9,
    gradient_threshold: jax.typing.ArrayLike = 1e-3,
    check_every: int = 16,
    finder: Finder | str = lanczos(),
    step_size: optax.ScalarOrSchedule = 0.5,
    curvature_threshold: jax.typing.ArrayLike = 1e-3,
    ema_decay: jax.typing.ArrayLike = 0.9,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Run `gose` around `optax.sgd(learning_rate, momentum=momentum)`: the GOSE of Xiao, 2019.

    The heavy ball keeps its velocity through a jump.

    Args:
      learning_rate: step of the base, >= 0, or a schedule of it.
      momentum: momentum of the base, 0 to 1. 0.9 in the paper.
      gradient_threshold: see `gose`, as all that follow.
      check_every: see `gose`.
      finder: see `gose`.
      step_size: see `gose`.
      curvature_threshold: see `gose`.
      ema_decay: see `gose`.
      seed: see `gose`.

    Returns:
      A transformation whose `update` needs `params` and `value_fn`.

    Example:
      From the saddle of f(x, y) = x^2/2 - y^2/2 + y^4/4 the first step jumps by 1/2:

      >>> import jax, jax.numpy as jnp, optaxaccel
      >>> loss = lambda p: p[0]**2 / 2 - p[1]**2 / 2 + p[1]**4 / 4
      >>> tx = optaxaccel.gose_sgd(0.1)
      >>> update = jax.jit(lambda g, s, p: tx.update(g, s, p, value_fn=loss))
      >>> saddle = jnp.zeros(2)
      >>> moved, state = update(jnp.zeros(2), tx.init(saddle), saddle)
      >>> [round(abs(float(u)), 3) for u in moved], round(float(state.eigenvalue), 5)
      ([0.0, 0.5], -1.0)

    References:
      Xiao, "Accelerated optimization methods on convolutional neural networks", 2019, sections 4 and 5.

    Costs:
      Those of `gose`; two copies of the parameters as state.

    Deviations:
      Those of `gose`.
    """
    contract.check_learning_rate(learning_rate)
    contract.check_number("momentum", momentum, "it is the share of the old step repeated", at_least=0.0, below=1.0)
    return gose(
        optax.sgd(learning_rate, momentum=momentum),
        gradient_threshold=gradient_threshold,
        check_every=check_every,
        finder=finder,
        step_size=step_size,
        curvature_threshold=curvature_threshold,
        ema_decay=ema_decay,
        seed=seed,
    )


def gose_agd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: optax.ScalarOrSchedule = 0.9,
    gradient_threshold: jax.typing.ArrayLike = 1e-3,
    check_every: int = 16,
    finder: Finder | str = lanczos(),
    step_size: optax.ScalarOrSchedule = 0.5,
    curvature_threshold: jax.typing.ArrayLike = 1e-3,
    ema_decay: jax.typing.ArrayLike = 0.9,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Run `gose` around `agd`: the "combined" method of Xiao, 2019.

    After a jump both sequences of `agd` start at the new point.

    Args:
      learning_rate: step of the base, >= 0, or a schedule of it.
      momentum: momentum of the base, 0 to 1, or a schedule of it. 0.9 in the paper.
      gradient_threshold: see `gose`, as all that follow.
      check_every: see `gose`.
      finder: see `gose`.
      step_size: see `gose`.
      curvature_threshold: see `gose`.
      ema_decay: see `gose`.
      seed: see `gose`.

    Returns:
      A transformation whose `update` needs `params` and `value_fn`; `eval_params` gives the sequence y of `agd`.

    Example:
      From the saddle of f(x, y) = x^2/2 - y^2/2 + y^4/4 the first step jumps by 1/2, and y jumps along:

      >>> import jax, jax.numpy as jnp, optaxaccel
      >>> loss = lambda p: p[0]**2 / 2 - p[1]**2 / 2 + p[1]**4 / 4
      >>> tx = optaxaccel.gose_agd(0.1)
      >>> update = jax.jit(lambda g, s, p: tx.update(g, s, p, value_fn=loss))
      >>> saddle = jnp.zeros(2)
      >>> moved, state = update(jnp.zeros(2), tx.init(saddle), saddle)
      >>> [round(abs(float(y)), 3) for y in optaxaccel.eval_params(state, saddle + moved)]
      [0.0, 0.5]

    References:
      Xiao, "Accelerated optimization methods on convolutional neural networks", 2019, end of section 4.

    Costs:
      Those of `gose`; two copies of the parameters as state.

    Deviations:
      Those of `gose`.
    """
    return gose(
        agd(learning_rate, momentum=momentum),
        gradient_threshold=gradient_threshold,
        check_every=check_every,
        finder=finder,
        step_size=step_size,
        curvature_threshold=curvature_threshold,
        ema_decay=ema_decay,
        seed=seed,
    )


# What the steps cost where the gradient stays small and every check searches; elsewhere they cost nothing.
COST = contract.Cost(values=1 / 16, grads=1 / 16, hvps=1.0)
STATIC_ARGS = ("check_every", "finder", "seed")
GOSE_SGD = contract.Card(
    name="gose_sgd",
    make=gose_sgd,
    paper="Yu, Zou and Gu 2017; Xiao 2019",
    example={"learning_rate": 0.1, "momentum": 0.9},
    cost=COST,
    counts_attempts=True,
    state_copies=2.0,
    static_args=STATIC_ARGS,
)
GOSE_AGD = contract.Card(
    name="gose_agd",
    make=gose_agd,
    paper="Yu, Zou and Gu 2017; Xiao 2019",
    example={"learning_rate": 0.2, "momentum": 0.5},
    cost=COST,
    counts_attempts=True,
    state_copies=2.0,
    static_args=STATIC_ARGS,
)
