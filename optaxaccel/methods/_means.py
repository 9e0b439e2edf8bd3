r"""Running means of a base's iterates, beside an unchanged run: exponential, and polynomial without a horizon.

Polyak and Juditsky, 1992, for averages; Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization",
2013, for the polynomial one.
"""

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import _averaging as averaging
from optaxaccel.methods import contract
from optaxaccel.numerics import trees

__all__ = ["averaged_sgd", "exponential_mean", "polynomial_mean"]


def exponential_mean(
    base: optax.GradientTransformation, *, decay: float | jax.Array = 0.999, debias: bool = True
) -> optax.GradientTransformationExtraArgs:
    r"""Evaluate at the exponential mean of a base's iterates (EMA).

    Example:
      Of the iterates 0 and 3 with a decay of one half the second counts twice as much:

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> tx = optaxaccel.exponential_mean(optax.sgd(1.0), decay=0.5)
      >>> z = jnp.array(1.0)
      >>> state = tx.init(z)
      >>> for gradient in (1.0, -3.0):
      ...     update, state = tx.update(jnp.array(gradient), state, z)
      ...     z = optax.apply_updates(z, update)
      >>> round(float(optaxaccel.eval_params(state, z)), 5)
      2.0

    The base runs as it would alone. With its iterates :math:`z_t`, t = 1, 2, ..., and d = `decay`:

    .. math::

        x_t = x_{t-1} + c_t (z_t - x_{t-1}), \qquad c_t = \frac{1 - d}{1 - d^t} \quad
        (c_t = 1 - d \text{ and } x_0 = z_0 \text{ without } `debias`)

    Args:
      base: any transformation, also one that looks at the loss.
      decay: d, 0 <= d < 1. The mean remembers about 1/(1 - d) steps; too long a memory is the usual mistake.
      debias: whether the start has no weight in the mean.

    Returns:
      A transformation whose `update` needs `params`; `optaxaccel.eval_params` gives the mean.

    References:
      Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, for averages.

    Costs:
      No oracle call beyond the base's; one copy of the parameters as state, in float32 at least.

    Deviations:
      A step whose `value`, if given, is not finite moves nothing, the base's state included. The gradient is not looked
      at: `optax.apply_if_finite` does that.
    """
    fixed = "the bias of the mean is corrected by its powers"
    contract.check_number("decay", decay, "it is the share of the old mean", at_least=0.0, below=1.0, fixed=fixed)

    def step(count: jax.Array, memory: tuple) -> tuple:
        if not debias:
            return 1.0 - decay, memory
        share = jnp.asarray(decay, trees.accumulation_dtype())
        return (1.0 - share) / (1.0 - share ** (count + 1.0)), memory

    return averaging.averaged("exponential_mean", base, 0.0, averaging.Rule(tuple, step), "z")


def polynomial_mean(
    base: optax.GradientTransformation, *, power: float | jax.Array = 8.0
) -> optax.GradientTransformationExtraArgs:
    r"""Evaluate at a mean of a base's iterates that always spans the same share of the run.

    Example:
      k = 1 weighs the iterates 0 and 3 as 1 to 2:

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> tx = optaxaccel.polynomial_mean(optax.sgd(1.0), power=1.0)
      >>> z = jnp.array(1.0)
      >>> state = tx.init(z)
      >>> for gradient in (1.0, -3.0):
      ...     update, state = tx.update(jnp.array(gradient), state, z)
      ...     z = optax.apply_updates(z, update)
      >>> round(float(optaxaccel.eval_params(state, z)), 5)
      2.0

    The base runs as it would alone. With its iterates :math:`z_{t+1}`, t = 0, 1, ..., and k = `power`:

    .. math:: x_{t+1} = x_t + \frac{k + 1}{t + k + 1} (z_{t+1} - x_t)

    The weight of an iterate is about the k-th power of its step, so the mean looks back a share of about 1/(k + 2) of
    the steps so far. There is no horizon to choose: it is as good at every step as an exponential mean tuned for it.

    Args:
      base: any transformation, also one that looks at the loss.
      power: k >= 0; 0 is the uniform mean of all iterates, 8 forgets what is older than the last quarter.

    Returns:
      A transformation whose `update` needs `params`; `optaxaccel.eval_params` gives the mean.

    References:
      Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization: Convergence Results and Optimal
      Averaging Schemes", 2013, section 4.

    Costs:
      As `exponential_mean`.

    Deviations:
      As `exponential_mean`.
    """
    fixed = "weights of all iterates follow from it"
    contract.check_number("power", power, "late iterates count more", at_least=0.0, below=float("inf"), fixed=fixed)

    def step(count: jax.Array, memory: tuple) -> tuple:
        more = jnp.asarray(power, trees.accumulation_dtype()) + 1.0
        return more / (count + more), memory

    return averaging.averaged("polynomial_mean", base, 0.0, averaging.Rule(tuple, step), "z")


def averaged_sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float | jax.Array = 0.9,
    power: float | jax.Array = 8.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Run SGD with momentum, evaluated at the polynomial mean of its iterates.

    Example:
      The first mean is the first iterate:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.averaged_sgd(0.5)
      >>> z = jnp.array(2.0)
      >>> update, state = tx.update(jnp.array(2.0), tx.init(z), z)
      >>> float(optaxaccel.eval_params(state, z + update))
      1.0

    `polynomial_mean` around :math:`m_t = \mu m_{t-1} + g_t, z_{t+1} = z_t - \gamma m_t`.

    Args:
      learning_rate: step :math:`\gamma` >= 0, or a schedule of it.
      momentum: :math:`\mu`, 0 <= mu < 1.
      power: k >= 0; 0 is the uniform mean of all iterates, 8 forgets what is older than the last quarter.

    Returns:
      A transformation whose `update` needs `params`; `eval_params` gives the mean.

    References:
      Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization: Convergence Results and Optimal
      Averaging Schemes", 2013, section 4.

    Costs:
      No oracle call; two copies of the parameters as state.

    Deviations:
      Those of `polynomial_mean`. `optax.apply_if_finite` guards against gradients that are not finite.
    """
    contract.check_learning_rate(learning_rate)
    why, fixed = "it is the share of the old step repeated", "optax's momentum takes none"
    contract.check_number("momentum", momentum, why, at_least=0.0, below=1.0, fixed=fixed)
    return polynomial_mean(optax.sgd(learning_rate, momentum), power=power)


CARD = contract.Card(
    name="averaged_sgd",
    make=averaged_sgd,
    paper="Polyak and Juditsky 1992; Shamir and Zhang 2013",
    example={"learning_rate": 0.2, "momentum": 0.5},
    state_copies=2.0,
)
