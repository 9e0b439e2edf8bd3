r"""Schedule-free learning: a weighted mean of a base's iterates in place of a schedule of its rate.

Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, "The Road Less Scheduled", 2024.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import _averaging as averaging
from optaxaccel.methods import contract
from optaxaccel.methods._primal_averaging import check_adam, check_moments, check_share
from optaxaccel.numerics import trees

__all__ = ["schedule_free", "schedule_free_adamw"]


class Weights(NamedTuple):
    """What the weights of schedule-free learning remember.

    Attributes:
      max_rate: the largest rate so far.
      total: the sum of the weights so far.
    """

    max_rate: jax.Array
    total: jax.Array


def schedule_free(
    base: optax.GradientTransformation,
    *,
    learning_rate: optax.ScalarOrSchedule = 1.0,
    mu_y: float = 0.9,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
    base_at: str = "y",
) -> optax.GradientTransformationExtraArgs:
    r"""Average a base's iterates with weights that grow with its rate, and need no schedule (schedule-free).

    Example:
      At a constant rate x is the mean of all z; z goes from 1 to 0.5 to 0:

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> tx = optaxaccel.schedule_free(optax.sgd(0.5), mu_y=0.5)
      >>> y = jnp.array(1.0)
      >>> state = tx.init(y)
      >>> for _ in range(2):
      ...     update, state = tx.update(jnp.array(1.0), state, y)
      ...     y = optax.apply_updates(y, update)
      >>> float(optaxaccel.eval_params(state, y)), float(y)
      (0.25, 0.125)

    `primal_averaging` with the mean of all iterates in place of an exponential one, so that there is no horizon:

    .. math::

        w_t &= t^r \Big(\max_{s \le t} \gamma_s\Big)^p, \qquad c_t = w_t \Big/ \sum_{s \le t} w_s,
          \qquad t = 1, 2, \ldots \\
        z_t &= z_{t-1} + u_t, \qquad x_t = (1 - c_t) x_{t-1} + c_t z_t, \qquad y_t = \mu_y x_t + (1 - \mu_y) z_t

    with :math:`\gamma` = `learning_rate`, :math:`\mu_y` = `mu_y`, p = `weight_lr_power` and u the base's update for the
    gradient at y, which the parameters hold. `optaxaccel.eval_params` returns x.

    Args:
      base: any transformation, with the sign and the rate of its steps, without momentum: mu_y stands for it.
      learning_rate: the base's rate once more, for the weights alone: a number says that it is constant, and then its
        value does not matter, as long as float32 holds its power p. Give a schedule that warms up here, too.
      mu_y: share of x in the point of the gradients, 0 to 1: the authors' `momentum` or `betas[0]`, 0.9 in their code.
      r: power of the step in the weights, 0 to 4; 0 in the authors' code.
      weight_lr_power: power p of the largest rate, >= 0; 2 in the authors' code.
      base_at: which sequence the base is shown as its parameters, "y" or "z": where its weight decay acts. "y" is the
        default of the authors' AdamW, "z" its `decay_at_z` and what their wrapper does. Losses go with it, see
        `primal_averaging`.

    Returns:
      A transformation whose `update` needs `params` and whatever the base needs.

    References:
      Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, "The Road Less Scheduled", 2024, arXiv:2405.15682, and the
      package schedulefree.

    Costs:
      No oracle call beyond the base's; one copy of the parameters as state besides the base's, in float32 at least.

    Deviations:
      * As `primal_averaging`: values that are not finite, which sequence is kept.
      * `optax.contrib.schedule_free` keeps z and agrees to rounding without warm-up; its own warm-up begins with a rate
        of zero where the authors' begins with rate/warm-up.

    Notes:
      The authors' SGD couples its decay at y: `optax.chain(optax.add_decayed_weights(w), optax.sgd(rate))`. Batch
      statistics are those of y: see the guide on batch norm.
    """
    check_share(mu_y)
    contract.check_learning_rate(learning_rate)
    fixed = "it is a power of the step, or of the rate"
    why = "later iterates count more, and the sum of t^r has to stay in the range of float32"
    contract.check_number("r", r, why, at_least=0.0, at_most=4.0, fixed=fixed)
    why = "iterates of larger rates count more"
    contract.check_number("weight_lr_power", weight_lr_power, why, at_least=0.0, below=float("inf"), fixed=fixed)
    contract.check_choice("base_at", base_at, averaging.BASE_AT)

    def start() -> Weights:
        return Weights(*(jnp.zeros((), trees.accumulation_dtype()) for _ in range(2)))

    def step(count: jax.Array, memory: Weights) -> tuple[Any, Weights]:
        dtype = memory.total.dtype
        rate = jnp.asarray(contract.at_step(learning_rate, count), dtype)
        largest = jnp.maximum(memory.max_rate, rate)
        weight = (count + 1.0).astype(dtype) ** r * largest**weight_lr_power
        total = memory.total + weight
        positive = total > 0  # a warm-up may begin at zero
        return jnp.where(positive, weight / jnp.where(positive, total, 1.0), 0.0), Weights(largest, total)

    return averaging.averaged("schedule_free", base, mu_y, averaging.Rule(start, step), base_at)


def schedule_free_adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float | jax.Array = 0.999,
    eps: float | jax.Array = 1e-8,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    warmup_steps: int = 0,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Run schedule-free AdamW.

    Example:
      The first step moves all three sequences by the rate:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.schedule_free_adamw(0.5)
      >>> y = jnp.array(2.0)
      >>> update, state = tx.update(jnp.array(30.0), tx.init(y), y)
      >>> round(float(update), 5), round(float(optaxaccel.eval_params(state, y + update)), 5)
      (-0.5, 1.5)

    `schedule_free` around AdamW without its first moment, whose decay acts on y:

    .. math::

        z_t = z_{t-1} - \gamma_t g_t / (\sqrt{v_t / (1 - \beta_2^t)} + \epsilon) - \gamma_t w y_{t-1},
        \qquad \gamma_t = \gamma \min(1, t / T)

    with :math:`\gamma` = `learning_rate`, :math:`\beta_2` = `b2`, w = `weight_decay`, T = `warmup_steps`.

    Args:
      learning_rate: step :math:`\gamma`, >= 0, or a schedule of it. 0.0025 in the authors' code, which says that it is
        best at 1 to 10 times that of AdamW.
      b1: share of the average in the point of the gradients, `mu_y` of `schedule_free`; a fixed number from 0 to 1.
      b2: decay of the mean square, 0 <= b2 < 1.
      eps: added to the root, > 0.
      weight_decay: decoupled decay w, >= 0, or a schedule of it.
      warmup_steps: T, an integer >= 0; the authors recommend a warm-up.
      r: power of the step in the weights, 0 to 4; 0 in the authors' code.
      weight_lr_power: power p of the largest rate, >= 0; 2 in the authors' code.

    Returns:
      A transformation whose `update` needs `params`; `eval_params` gives the average.

    References:
      Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, "The Road Less Scheduled", 2024, arXiv:2405.15682, and the
      package schedulefree.

    Costs:
      No oracle call; two copies of the parameters as state, as AdamW.

    Deviations:
      Those of `schedule_free`. `optax.apply_if_finite` guards against gradients that are not finite.
    """
    contract.check_learning_rate(learning_rate)
    check_share(b1, "b1")
    check_moments(b2=b2)
    check_adam(eps, weight_decay)
    contract.check_static(warmup_steps=warmup_steps)
    contract.check_count("warmup_steps", warmup_steps, "it is the number of steps until the whole rate", at_least=0)

    def rate(count: jax.typing.ArrayLike) -> jax.Array:
        steps = jnp.asarray(count, trees.accumulation_dtype()) + 1.0
        return contract.at_step(learning_rate, count) * jnp.minimum(1.0, steps / max(warmup_steps, 1))

    base = optax.chain(
        optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
    )
    return schedule_free(base, learning_rate=rate, mu_y=b1, r=r, weight_lr_power=weight_lr_power)


CARD = contract.Card(
    name="schedule_free_adamw",
    make=schedule_free_adamw,
    paper="Defazio et al., The Road Less Scheduled, 2024",
    example={"learning_rate": 0.1, "b1": 0.9},
    state_copies=2.0,
    static_args=("b1", "warmup_steps"),
)
