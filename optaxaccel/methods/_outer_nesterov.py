r"""An outer Nesterov step around K inner steps: SNOO, which is DiLoCo on a single worker.

"SNOO: Step-K Nesterov Outer Optimizer", 2025, and the submission of single-worker DiLoCo to AlgoPerf.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods._averaging import after_updates, only_if_finite
from optaxaccel.methods._primal_averaging import check_adam, check_moments
from optaxaccel.numerics import trees
from optaxaccel.numerics.branching import when

__all__ = ["OuterNesterovState", "outer_nesterov", "snoo_adamw"]


class OuterNesterovState(NamedTuple):
    """State of `outer_nesterov`.

    Attributes:
      count: inner steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      eval_params: the outer weights w, a tree like the parameters; see `optaxaccel.eval_params`.
      velocity: b, likewise.
      base_state: the inner optimiser's.
    """

    count: jax.Array
    notfinite_count: jax.Array
    eval_params: optax.Params
    velocity: optax.Updates
    base_state: optax.OptState


def outer_nesterov(
    base: optax.GradientTransformation,
    *,
    period: int = 75,
    step_size: optax.ScalarOrSchedule = 0.3006,
    momentum: optax.ScalarOrSchedule = 0.7675,
) -> optax.GradientTransformationExtraArgs:
    r"""Take a step of Nesterov's momentum along what every K steps of a base have moved (SNOO, single-worker DiLoCo).

    Example:
      Two steps of one from 0 and half a step along them with momentum 1/2: 0.5 * (0.5 * 2 + 2):

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> tx = optaxaccel.outer_nesterov(optax.sgd(1.0), period=2, step_size=0.5, momentum=0.5)
      >>> x = jnp.array(0.0)
      >>> state = tx.init(x)
      >>> for _ in range(2):
      ...     update, state = tx.update(jnp.array(-1.0), state, x)
      ...     x = optax.apply_updates(x, update)
      >>> float(x), float(optaxaccel.eval_params(state, x))
      (1.5, 1.5)

    The base moves fast weights, which the parameters hold. After every K steps what they moved is taken for a gradient
    of the outer weights w, and the fast ones begin again at w:

    .. math::

        s = w - \theta, \qquad b \leftarrow \mu b + s, \qquad w \leftarrow w - \eta (\mu b + s), \qquad
        \theta \leftarrow w

    with K = `period`, :math:`\eta` = `step_size`, :math:`\mu` = `momentum`, b = 0 at first. The base's state is kept.
    `optaxaccel.eval_params` returns w.

    Args:
      base: any transformation, also one that looks at the loss.
      period: K, an integer >= 1; 75 in the submission to AlgoPerf.
      step_size: :math:`\eta` >= 0, or a schedule of it over inner steps; 0.3006 in that submission.
      momentum: :math:`\mu`, 0 <= mu < 1, or a schedule of it; 0.7675 in that submission. 0 is Lookahead, and with a
        `step_size` of 1 the base alone.

    Returns:
      A transformation whose `update` needs `params` and whatever the base needs.

    References:
      "SNOO: Step-K Nesterov Outer Optimizer", 2025, arXiv:2510.15830. Douillard et al., "DiLoCo: Distributed
      Low-Communication Training of Language Models", 2023, for several workers. Zhang, Lucas, Hinton and Ba,
      "Lookahead Optimizer", 2019.

    Costs:
      No oracle call beyond the base's; two copies of the parameters as state besides the base's. A step in which no
      outer step is due costs what the base's does.

    Deviations:
      * The outer step is made after K inner steps, as in the paper; the class in the records of the speed runs makes
        one after the first step already.
      * A step whose `value`, if given, is not finite moves nothing and is not counted. The gradient is not looked at:
        `optax.apply_if_finite` does that.
    """
    contract.check_static(period=period)
    contract.check_count("period", period, "it is the number of inner steps between two outer ones")
    contract.check_learning_rate(step_size, "step_size")
    contract.check_number("momentum", momentum, "it is the share of the old outer step", at_least=0.0, below=1.0)
    inner = contract.base_of("outer_nesterov", base)

    def init(params: optax.Params) -> OuterNesterovState:
        contract.check_params("outer_nesterov", params)
        count, notfinite = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        slow, velocity = trees.fresh_copy(params), trees.zeros_like(params)
        return OuterNesterovState(count, notfinite, slow, velocity, inner.init(params))

    def update(updates, state, params: Any = None, *, value=None, grad=None, value_fn=None, **extra):
        contract.require_params("outer_nesterov", params)
        finite = contract.loss_is_finite(value)
        extras = contract.handed_on(extra, value=value, grad=grad, value_fn=value_fn)
        updates, base_state = inner.update(updates, state.base_state, params, **extras)
        updates = jax.tree.map(lambda u, p: jnp.where(finite, u, 0.0).astype(p.dtype), updates, params)
        count = jnp.where(finite, optax.safe_increment(state.count), state.count)
        numbers = [contract.at_step(number, state.count) for number in (step_size, momentum)]
        carry = (updates, state.eval_params, state.velocity)
        due = finite & (count % period == 0)
        updates, slow, velocity = when(due, _outer_step, carry, params, *map(jnp.asarray, numbers))
        return updates, OuterNesterovState(
            count=count,
            notfinite_count=jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count)),
            eval_params=slow,
            velocity=velocity,
            base_state=only_if_finite(finite, base_state, state.base_state, after_updates(params, updates)),
        )

    return contract.transformation("outer_nesterov", OuterNesterovState, init, update)


def _outer_step(carry, params, step_size, momentum):
    """Return the updates that lead to the new outer weights, those weights, and their velocity."""
    updates, slow, velocity = carry
    moved = jax.tree.map(lambda w, p, u: trees.difference(w, p + u), slow, params, updates)
    velocity = jax.tree.map(lambda b, s: (momentum * b + s).astype(b.dtype), velocity, moved)
    slow = jax.tree.map(lambda w, b, s: (w - step_size * (momentum * b + s)).astype(w.dtype), slow, velocity, moved)
    return jax.tree.map(lambda u, w, p: trees.difference(w, p).astype(u.dtype), updates, slow, params), slow, velocity


def snoo_adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    period: int = 75,
    step_size: optax.ScalarOrSchedule = 0.3006,
    momentum: optax.ScalarOrSchedule = 0.7675,
    b1: float | jax.Array = 0.9,
    b2: float | jax.Array = 0.999,
    eps: float | jax.Array = 1e-8,
    weight_decay: optax.ScalarOrSchedule = 0.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Run AdamW with an outer step of Nesterov's momentum after every K steps (SNOO).

    Example:
      With K = 1 the first step is `step_size * (1 + momentum)` times AdamW's:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.snoo_adamw(0.5, period=1, step_size=0.5, momentum=0.5)
      >>> x = jnp.array(2.0)
      >>> update, state = tx.update(jnp.array(30.0), tx.init(x), x)
      >>> round(float(update), 5)
      -0.375

    `outer_nesterov` around `optax.adamw`:

    .. math::

        \theta \leftarrow (1 - \gamma w) \theta - \gamma \hat m / (\sqrt{\hat v} + \epsilon)
        \quad K \text{ times, then the outer step}

    Args:
      learning_rate: step of AdamW, >= 0, or a schedule of it.
      period: K, an integer >= 1; 75 in the submission to AlgoPerf.
      step_size: :math:`\eta` >= 0, or a schedule of it over inner steps; 0.3006 in that submission.
      momentum: :math:`\mu`, 0 <= mu < 1, or a schedule of it; 0.7675 in that submission. 0 is Lookahead, and with a
        `step_size` of 1 the base alone.
      b1: decay of AdamW's mean gradient, 0 <= b1 < 1.
      b2: decay of AdamW's mean square, 0 <= b2 < 1.
      eps: added to AdamW's root, > 0.
      weight_decay: AdamW's decoupled decay, >= 0, or a schedule of it.

    Returns:
      A transformation whose `update` needs `params`; `eval_params` gives the outer weights.

    References:
      "SNOO: Step-K Nesterov Outer Optimizer", 2025, arXiv:2510.15830. Douillard et al., "DiLoCo: Distributed
      Low-Communication Training of Language Models", 2023, for several workers. Zhang, Lucas, Hinton and Ba,
      "Lookahead Optimizer", 2019.

    Costs:
      No oracle call; four copies of the parameters as state.

    Deviations:
      Those of `outer_nesterov`. `optax.apply_if_finite` guards against gradients that are not finite.
    """
    contract.check_learning_rate(learning_rate)
    check_moments(b1=b1, b2=b2)
    check_adam(eps, weight_decay)
    base = optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay)
    return outer_nesterov(base, period=period, step_size=step_size, momentum=momentum)


CARD = contract.Card(
    name="snoo_adamw",
    make=snoo_adamw,
    paper="SNOO: Step-K Nesterov Outer Optimizer, 2025",
    example={"learning_rate": 0.1, "period": 3, "step_size": 0.5, "momentum": 0.3},
    state_copies=4.0,
    static_args=("period",),
    reservations={
        "descends_a_quadratic_at_its_defaults": "two outer steps of a third each are all that 200 inner steps make",
    },
)
