r"""LAWA: the mean of the last checkpoints of a run, kept beside it.

Kaddour, "Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging", 2022.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods._averaging import after_updates, only_if_finite
from optaxaccel.numerics import ring, sums, trees
from optaxaccel.numerics.boxes import boxing, without_boxes

__all__ = ["LatestWeightAverageState", "latest_weight_average"]


class LatestWeightAverageState(NamedTuple):
    """State of `latest_weight_average`.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      checkpoints: a tree like the parameters with a leading axis of `history` slots, which no mesh axis splits;
        checkpoint j lies in slot j % history.
      period: steps between two of them, int32.
      base_state: the base's.
    """

    count: jax.Array
    notfinite_count: jax.Array
    checkpoints: optax.Params
    period: jax.Array
    base_state: optax.OptState

    def eval_params(self, params: optax.Params) -> optax.Params:
        """Return the mean of the checkpoints, or the parameters before the first one."""
        slots = jax.tree.leaves(self.checkpoints)
        if not slots:
            return params
        length, stored = slots[0].shape[0], self.count // self.period
        places = jnp.arange(length)
        weights = jnp.where(places < stored, 1.0 / jnp.clip(stored, 1, length), 0.0).astype(trees.accumulation_dtype())
        mean = boxing(params)(sums.combine(self.checkpoints, weights, length))
        return jax.tree.map(lambda x, p: jnp.where(stored > 0, x.astype(p.dtype), p), mean, params)


def latest_weight_average(
    base: optax.GradientTransformation, *, history: int = 5, period: int = 100
) -> optax.GradientTransformationExtraArgs:
    r"""Evaluate at the mean of the last checkpoints of a base's run (LAWA).

    Example:
      Steps of one from 0, of which the second and the fourth are stored:

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> tx = optaxaccel.latest_weight_average(optax.sgd(1.0), history=2, period=2)
      >>> x = jnp.array(0.0)
      >>> state = tx.init(x)
      >>> for _ in range(5):
      ...     update, state = tx.update(jnp.array(-1.0), state, x)
      ...     x = optax.apply_updates(x, update)
      >>> float(x), float(optaxaccel.eval_params(state, x))
      (5.0, 3.0)

    The base runs as it would alone; after every `period` steps its parameters are stored, over the oldest of the
    `history` ones that are kept, and their mean is what to evaluate:

    .. math:: \bar x = \frac{1}{n} \sum_{j=1}^{n} \theta_{p (J - n + j)}, \qquad n = \min(J, k)

    with p = `period`, k = `history` and J checkpoints so far; before the first it is the parameters.

    Args:
      base: any transformation, also one that looks at the loss.
      history: k, the number of checkpoints kept, an integer >= 1.
      period: p, steps between two checkpoints, an integer >= 1; those of an epoch in the paper.

    Returns:
      A transformation whose `update` needs `params`; `optaxaccel.eval_params` gives the mean.

    References:
      Kaddour, "Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging", 2022,
      arXiv:2209.14981.

    Costs:
      No oracle call beyond the base's; `history` copies of the parameters as state. A step in which no checkpoint is
      due costs what the base's does. For checkpoints in files there is `merge`.

    Deviations:
      A step whose `value`, if given, is not finite moves nothing and is not counted. The gradient is not looked at:
      `optax.apply_if_finite` does that.
    """
    contract.check_static(history=history, period=period)
    contract.check_count("history", history, "it is the number of checkpoints in the mean")
    contract.check_count("period", period, "it is the number of steps between two checkpoints")
    inner = contract.base_of("latest_weight_average", base)

    def init(params: optax.Params) -> LatestWeightAverageState:
        contract.check_params("latest_weight_average", params)
        count, notfinite = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        slots = ring.stack_zeros(params, history)
        return LatestWeightAverageState(count, notfinite, slots, jnp.full((), period, jnp.int32), inner.init(params))

    def update(updates, state, params: Any = None, *, value=None, grad=None, value_fn=None, **extra):
        contract.require_params("latest_weight_average", params)
        finite = contract.loss_is_finite(value)
        extras = contract.handed_on(extra, value=value, grad=grad, value_fn=value_fn)
        updates, base_state = inner.update(updates, state.base_state, params, **extras)
        updates = jax.tree.map(lambda u, p: jnp.where(finite, u, 0.0).astype(p.dtype), updates, params)
        count = jnp.where(finite, optax.safe_increment(state.count), state.count)
        due = finite & (count % period == 0)
        moved = after_updates(params, updates)
        return updates, LatestWeightAverageState(
            count=count,
            notfinite_count=jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count)),
            checkpoints=ring.write(state.checkpoints, (count // period - 1) % history, moved, when=due),
            period=state.period,
            base_state=only_if_finite(finite, base_state, state.base_state, moved),
        )

    return without_boxes(contract.transformation("latest_weight_average", LatestWeightAverageState, init, update))
