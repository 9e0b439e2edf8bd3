"""GOSE from numbers alone: around the heavy ball, and around AGD, the "combined" method.

Xiao, "Accelerated optimization methods on convolutional neural networks", 2019, the end of section 4.
"""

import jax
import optax

from optaxaccel.methods import contract
from optaxaccel.methods._agd import agd
from optaxaccel.methods._gose import gose
from optaxaccel.methods._negative_curvature import Finder, lanczos
from optaxaccel.methods._negative_curvature_descent import DIAGNOSTICS
from optaxaccel.methods.heavy_ball import heavy_ball

__all__ = ["gose_agd", "gose_sgd"]


def gose_sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: optax.ScalarOrSchedule = 0.9,
    gradient_threshold: optax.ScalarOrSchedule = 1e-3,
    check_every: int = 16,
    finder: Finder | str = lanczos(),
    step_size: optax.ScalarOrSchedule = 0.5,
    curvature_threshold: optax.ScalarOrSchedule = 1e-3,
    ema_decay: jax.typing.ArrayLike = 0.9,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Run SGD with momentum, and jump once along negative curvature where the gradient is small (GOSE of Xiao, 2019).

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

    `gose` around the heavy ball, which keeps its velocity through a jump. Every `check_every` steps the norm of the
    mean gradient is looked at; where it is small the Hessian is searched, and what it finds decides:

    .. math::

        v_t = \mu v_{t-1} + g_t, \qquad x_{t+1} = \begin{cases}
          x_t - \eta\, \operatorname{sign}(u^T g_t)\, u & \text{a unit vector u with } u^T \nabla^2 f\, u <
            -\epsilon_H \text{ was found} \\
          x_t - \gamma v_t & \text{otherwise}
        \end{cases}

    with :math:`\gamma` = `learning_rate`, :math:`\mu` = `momentum`, :math:`\eta` = `step_size` and :math:`\epsilon_H`
    = `curvature_threshold`; `gose` has the whole rule.

    Args:
      learning_rate: step of the base, >= 0, or a schedule of it.
      momentum: momentum of the base, 0 to 1, or a schedule of it. 0.9 in the paper.
      gradient_threshold: norm of the mean gradient under which a search is made, >= 0, or a schedule; inf searches
        at every check. The published code has 1e-3.
      check_every: steps between two looks at that norm, an integer >= 1. The published code has 8.
      finder: `lanczos()`, `shifted_power()`, `neon2()`, or one of these names.
      step_size: length of the jump in units of the parameters, >= 0, or a schedule of it. The published code has 0.5.
      curvature_threshold: curvatures above minus this are taken for zero, >= 0, or a schedule of it.
      ema_decay: share of the old gradients in the mean, 0 <= d < 1. Minibatch gradients are rarely small; their mean
        over about 1/(1 - d) steps is, near a saddle.
      seed: of the finder's start and of the sign at exact saddles, an integer >= 0.

    Returns:
      A transformation whose `update` needs `params` and `value_fn`.

    References:
      Xiao, "Accelerated optimization methods on convolutional neural networks", 2019, sections 4 and 5.

    Costs:
      A step without a search: no oracle call. A search: 16 products with the Hessian by default, one gradient, two
      losses; the memory of its vectors, 16 times the parameters by default, is set aside by the compiled step whether
      it searches or not. Two copies of the parameters as state.

    Deviations:
      * The mean of the gradients at hand is looked at, where the published code takes eight further batches.
      * The jump takes the place of the base's step, where the code makes both. It also needs a residual below half of
        the estimate, and a loss that falls; `sign(0)` is a random +-1.
      * A step whose loss or gradient is not finite moves nothing.
    """
    contract.check_learning_rate(learning_rate)
    contract.check_number("momentum", momentum, "it is the share of the old step repeated", at_least=0.0, below=1.0)
    # optax's momentum takes no schedule.
    base = heavy_ball("gose_sgd", learning_rate, momentum) if callable(momentum) else optax.sgd(learning_rate, momentum)
    return gose(
        base,
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
    gradient_threshold: optax.ScalarOrSchedule = 1e-3,
    check_every: int = 16,
    finder: Finder | str = lanczos(),
    step_size: optax.ScalarOrSchedule = 0.5,
    curvature_threshold: optax.ScalarOrSchedule = 1e-3,
    ema_decay: jax.typing.ArrayLike = 0.9,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Run accelerated gradient descent, and jump along negative curvature where the gradient is small ("combined").

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

    `gose` around `agd`, the combined method of Xiao, 2019. Every `check_every` steps the norm of the mean gradient is
    looked at; where it is small the Hessian is searched, and what it finds decides:

    .. math::

        y_{t+1} = x_t - \gamma g_t, \qquad x_{t+1} = \begin{cases}
          x_t - \eta\, \operatorname{sign}(u^T g_t)\, u & \text{a unit vector u with } u^T \nabla^2 f\, u <
            -\epsilon_H \text{ was found} \\
          y_{t+1} + \mu (y_{t+1} - y_t) & \text{otherwise}
        \end{cases}

    with :math:`\gamma` = `learning_rate`, :math:`\mu` = `momentum`, :math:`\eta` = `step_size` and :math:`\epsilon_H`
    = `curvature_threshold`. After a jump both sequences start at the new point; `gose` has the whole rule.

    Args:
      learning_rate: step of the base, >= 0, or a schedule of it.
      momentum: momentum of the base, 0 to 1, or a schedule of it. 0.9 in the paper.
      gradient_threshold: norm of the mean gradient under which a search is made, >= 0, or a schedule; inf searches
        at every check. The published code has 1e-3.
      check_every: steps between two looks at that norm, an integer >= 1. The published code has 8.
      finder: `lanczos()`, `shifted_power()`, `neon2()`, or one of these names.
      step_size: length of the jump in units of the parameters, >= 0, or a schedule of it. The published code has 0.5.
      curvature_threshold: curvatures above minus this are taken for zero, >= 0, or a schedule of it.
      ema_decay: share of the old gradients in the mean, 0 <= d < 1. Minibatch gradients are rarely small; their mean
        over about 1/(1 - d) steps is, near a saddle.
      seed: of the finder's start and of the sign at exact saddles, an integer >= 0.

    Returns:
      A transformation whose `update` needs `params` and `value_fn`; `eval_params` gives the sequence y of `agd`.

    References:
      Xiao, "Accelerated optimization methods on convolutional neural networks", 2019, end of section 4.

    Costs:
      A step without a search: no oracle call. A search: 16 products with the Hessian by default, one gradient, two
      losses; the memory of its vectors, 16 times the parameters by default, is set aside by the compiled step whether
      it searches or not. Two copies of the parameters as state.

    Deviations:
      * The mean of the gradients at hand is looked at, where the published code takes eight further batches.
      * The jump takes the place of the base's step, where the code makes both. It also needs a residual below half of
        the estimate, and a loss that falls; `sign(0)` is a random +-1.
      * A step whose loss or gradient is not finite moves nothing.
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
    diagnostics=DIAGNOSTICS,
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
    diagnostics=DIAGNOSTICS,
    state_copies=2.0,
    static_args=STATIC_ARGS,
)
