r"""Generalised primal averaging: gradients between a base's sequence and its average, evaluation at the average.

"Smoothing DiLoCo with Primal Averaging for Faster Training of LLMs", 2025, which is Nesterov's method in its primal
averaging form around any base.
"""

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import _averaging as averaging
from optaxaccel.methods import contract

__all__ = ["gpa_adamw", "primal_averaging"]


def primal_averaging(
    base: optax.GradientTransformation,
    *,
    mu_y: float = 0.7,
    mu_x: optax.ScalarOrSchedule = 0.9967,
    base_at: str = "z",
) -> optax.GradientTransformationExtraArgs:
    r"""Average a base's iterates, take gradients near the average and evaluate at it (GPA).

    Example:
      Gradient descent on x^2/2 from 1 with rate 0.5: z goes to 0.5, x half way after it, y between the two:

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> tx = optaxaccel.primal_averaging(optax.sgd(0.5), mu_y=0.5, mu_x=0.5)
      >>> y = jnp.array(1.0)
      >>> update, state = tx.update(y, tx.init(y), y)
      >>> y = optax.apply_updates(y, update)
      >>> float(y), float(optaxaccel.eval_params(state, y))
      (0.625, 0.75)

    Three sequences: z, moved by the base; x, its exponential mean, which is what to evaluate and export; and y between
    them, where gradients are taken and which the parameters hold. They start at the same point.

    .. math::

        z_{t+1} &= z_t + u_t, \qquad u_t = \text{the base's update for } \nabla f(y_t), \\
        x_{t+1} &= \mu_x x_t + (1 - \mu_x) z_{t+1}, \\
        y_{t+1} &= \mu_y x_{t+1} + (1 - \mu_y) z_{t+1}

    with :math:`\mu_y` = `mu_y` and :math:`\mu_x` = `mu_x`. `optaxaccel.eval_params` returns x.

    Args:
      base: any transformation of optax or of this package, with the sign and the rate of its steps.
      mu_y: share of x in the point of the gradients, 0 to 1; 0.7 in the authors' class. 0 takes gradients at z.
      mu_x: decay of the mean, 0 to 1, or a schedule of it; 0.9967 in the authors' class. It remembers 1/(1 - mu_x)
        steps. `lambda t: 1 - 1 / (t + 1.0)` is the uniform mean, which with `mu_y=0.9` is schedule-free learning
        at a constant rate.
      base_at: which sequence the base is shown as its parameters, "z" (the printed rule: decoupled decay acts on z)
        or "y". A base that looks at the loss is shown it through y in both cases: at "z" the loss is moved along, so
        that value, gradient and loss belong together.

    Returns:
      A transformation whose `update` needs `params` and whatever the base needs.

    References:
      "Smoothing DiLoCo with Primal Averaging for Faster Training of LLMs", 2025, arXiv:2512.17131, and the authors'
      class. Nesterov and Shikhman, 2015, for primal averaging.

    Costs:
      No oracle call beyond the base's; one copy of the parameters as state besides the base's, in float32 at least.

    Deviations:
      * The printed rule. With weight decay and mu_y < 1 the authors' class computes another one, in which the implied
        x is pushed against the decay; x differs by 0.2 to 1.5 % after 30 to 100 steps at a decay of 0.1.
      * mu_y = 0 is allowed, and a first rate of zero.
      * A step whose `value`, if given, is not finite moves nothing, the base's state included, and stores nothing but
        `notfinite_count` + 1. The gradient is not looked at: `optax.apply_if_finite` does that.

    Notes:
      * mu_x = 0 is the base. With SGD, mu_y = 1 is the heavy ball and mu_y = mu_x Nesterov's momentum, in both cases
        with momentum mu_x and rate (1 - mu_x) rate.
      * The state keeps x, and z is read back from y and x; over mu_y = 0.98 it keeps z, and x is read back.
      * Batch statistics are those of y. Refresh them at x before evaluating: see the guide on batch norm.
      * Keep the parameters in float32: in bfloat16 y cannot move by less than 0.4 % of itself.
    """
    check_share(mu_y)
    contract.check_number("mu_x", mu_x, "it is the share of the old mean", at_least=0.0, at_most=1.0)
    contract.check_choice("base_at", base_at, averaging.BASE_AT)
    rule = averaging.Rule(tuple, lambda count, memory: (1.0 - jnp.asarray(contract.at_step(mu_x, count)), memory))
    return averaging.averaged("primal_averaging", base, mu_y, rule, base_at)


def check_share(mu_y: float, name: str = "mu_y") -> None:
    """Raise ValueError unless the share of x in y is a fixed number from 0 to 1."""
    contract.check_static(**{name: mu_y})
    fixed = "z is read back from the parameters by it"
    contract.check_number(name, mu_y, "it is the share of x in y", at_least=0.0, at_most=1.0, fixed=fixed)


def check_moments(**decays: float | jax.Array) -> None:
    """Raise ValueError unless the decays of running means are in range."""
    for name, decay in decays.items():
        fixed = "the bias of the mean is corrected by its powers"
        contract.check_number(name, decay, "it is the share of the old mean", at_least=0.0, below=1.0, fixed=fixed)


def check_adam(eps: float | jax.Array, weight_decay: optax.ScalarOrSchedule) -> None:
    """Raise ValueError unless what else Adam takes is in range."""
    why = "a weight whose gradient has always been zero would be divided by zero"
    contract.check_number("eps", eps, why, above=0.0, below=float("inf"), fixed="it only guards a division")
    contract.check_number("weight_decay", weight_decay, "negative decay lets weights grow", at_least=0.0)


def gpa_adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    mu_y: float = 0.7,
    mu_x: optax.ScalarOrSchedule = 0.9967,
    b1: float | jax.Array = 0.9,
    b2: float | jax.Array = 0.999,
    eps: float | jax.Array = 1e-8,
    weight_decay: optax.ScalarOrSchedule = 0.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Run AdamW under primal averaging (GPA-AdamW).

    Example:
      The first step of AdamW is `learning_rate` long, here that of z; of it the mean makes 1 - mu_x:

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> tx = optaxaccel.gpa_adamw(0.5, mu_y=0.5, mu_x=0.5)
      >>> y = jnp.array(2.0)
      >>> update, state = tx.update(jnp.array(30.0), tx.init(y), y)
      >>> round(float(optaxaccel.eval_params(state, y + update)), 5)
      1.75

    `primal_averaging` around `optax.adamw`, whose decay acts on z:

    .. math::

        z_{t+1} = (1 - \gamma_t w) z_t - \gamma_t \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    with :math:`\gamma` = `learning_rate`, w = `weight_decay`; `primal_averaging` has the rest.

    Args:
      learning_rate: step :math:`\gamma` of AdamW, >= 0, or a schedule of it.
      mu_y: share of x in the point of the gradients, 0 to 1; 0.7 in the authors' class. 0 takes gradients at z.
      mu_x: decay of the mean, 0 to 1, or a schedule of it; 0.9967 in the authors' class. It remembers 1/(1 - mu_x)
        steps. `lambda t: 1 - 1 / (t + 1.0)` is the uniform mean, which with `mu_y=0.9` is schedule-free learning at a
        constant rate.
      b1: decay of AdamW's mean gradient, 0 <= b1 < 1.
      b2: decay of AdamW's mean square, 0 <= b2 < 1.
      eps: added to AdamW's root, > 0.
      weight_decay: decoupled decay w, >= 0, or a schedule of it; 0 in the authors' class.

    Returns:
      A transformation whose `update` needs `params`; `eval_params` gives the average.

    References:
      "Smoothing DiLoCo with Primal Averaging for Faster Training of LLMs", 2025, arXiv:2512.17131, and the authors'
      class. Nesterov and Shikhman, 2015, for primal averaging.

    Costs:
      No oracle call; three copies of the parameters as state, one more than AdamW.

    Deviations:
      Those of `primal_averaging`. `optax.apply_if_finite` guards against gradients that are not finite.
    """
    contract.check_learning_rate(learning_rate)
    check_moments(b1=b1, b2=b2)
    check_adam(eps, weight_decay)
    base = optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay)
    return primal_averaging(base, mu_y=mu_y, mu_x=mu_x)


CARD = contract.Card(
    name="gpa_adamw",
    make=gpa_adamw,
    paper="Smoothing DiLoCo with Primal Averaging, 2025",
    example={"learning_rate": 0.05, "mu_y": 0.7, "mu_x": 0.7, "b1": 0.5},
    state_copies=3.0,
    static_args=("mu_y",),
    reservations={
        "descends_a_quadratic_at_its_defaults": "the default mean remembers 300 steps, and 200 are made there",
    },
)
