r"""Hindsight: the rate follows what the last step turned out to be worth on data that it had not seen.

`scale_by_hindsight` sets the rate behind any direction; `optaxaccel.methods._tuning_free` is a whole optimiser on it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods import look_in_hindsight as look
from optaxaccel.numerics import trees

__all__ = ["HindsightState", "scale_by_hindsight"]


class HindsightState(NamedTuple):
    """State of `scale_by_hindsight`.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss, the gradient or the direction was not finite, int32.
      rate: the rate of the last step.
      slope: running mean of the fall of the loss per unit of rate, where a step begins, on data that the step had not
        seen; negative while steps climb.
      curvature: running mean of the second derivative of the loss along the steps, per unit of rate squared.
      change: running mean of how much a step changed the loss, up or down.
      noise: running mean of how much the loss of one batch differs from that of the next one at the same parameters.
      loss: the loss of the last step, at `previous`.
      measurement_failed: whether the loss at the previous parameters was not finite in the last step.
      previous: the parameters from which the last step was made, a tree like the parameters.
    """

    count: jax.Array
    notfinite_count: jax.Array
    rate: jax.Array
    slope: jax.Array
    curvature: jax.Array
    change: jax.Array
    noise: jax.Array
    loss: jax.Array
    measurement_failed: jax.Array
    previous: optax.Params

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """The rate, and the means that it comes from."""
        return look.rates_of(self)

    def restart(self, params: optax.Params) -> "HindsightState":
        """Return the state for a sequence that begins anew at `params`: nothing to look back on, the same rate."""
        return self._replace(previous=trees.fresh_copy(params))


def scale_by_hindsight(
    *,
    initial_rate: float | jax.Array = 0.01,
    relaxation: optax.ScalarOrSchedule = 1.5,
    every: int = 1,
    flip_sign: bool = True,
) -> optax.GradientTransformationExtraArgs:
    r"""Scale any direction by a rate that follows what past steps were worth on data they had not seen.

    Example:
      On a parabola with `relaxation=1` the rate goes to the one that steps to the minimum, here 1/2:

      >>> import jax, jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.scale_by_hindsight(relaxation=1.0, initial_rate=0.3)
      >>> w = jnp.array([3.0, 4.0])
      >>> state = tx.init(w)
      >>> loss = lambda w: jnp.sum(w**2)
      >>> for _ in range(8):
      ...     value, grad = jax.value_and_grad(loss)(w)
      ...     update, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
      ...     w = w + update
      >>> round(float(state.rate), 1)
      0.5

    The loss of a batch at the parameters before the last step, together with its loss and gradient at the parameters
    now, gives the slope and the curvature along that step, on a batch that had no part in choosing it: one forward
    pass. Their running means say how long steps should have been, and the rate follows. Where noise has eaten the
    slope the rate falls, where steps are too short it grows, whatever the scale of the problem.

    .. math::

        u &= \theta_t - \theta_{t-1}, \qquad s = \langle \nabla f(\theta_t), u \rangle, \qquad
        c = 2\, (f(\theta_{t-1}) - f(\theta_t) + s), \\
        n &\leftarrow n + \frac{|f(\theta_{t-1}) - \ell_{t-1}| - n}{\max(5,\, 0.2\, t)}, \quad
        h \leftarrow h + \frac{|f(\theta_t) - f(\theta_{t-1})| - h}{\max(5,\, 0.2\, t)}, \quad
        \nu = \frac{n^2}{n^2 + h^2}, \\
        W &= \max(5,\, 0.2\, \nu\, t), \quad
        a \leftarrow a + \frac{(c - s)/\eta - a}{W}, \quad
        b \leftarrow b + \frac{c/\eta^2 - b}{W}, \\
        \log \eta &\leftarrow \log \eta
        + \operatorname{clip}\Big(0.3 \log \frac{\kappa \max(a, 0)}{b\, \eta},\; -0.3,\;
        \min(0.3,\, 10 / (t + 1))\Big), \qquad
        \theta_{t+1} = \theta_t - \eta\, d_t

    with f = `value_fn` and :math:`f(\theta_t)` = `value` on the batch of step t, counted from 0; :math:`\nabla f` =
    `grad`; d the incoming updates; :math:`\eta_0` = `initial_rate`; :math:`\kappa` = `relaxation`;
    :math:`\ell_{t-1}` the loss of the step before on its own batch. The first measurement is copied into all means.
    Since u is the step that was really made, the rate also allows for what follows in the chain: clipping, weight
    decay, a schedule.

    :math:`\nu` is the share of noise: two batches at one place, against one batch at two places; h is taken before this
    step's measurement. Where all batches are alike it is 0, and the means look back on five steps only; they grow long
    as far as noise asks for it.

    A step that raised the loss by more than 3 h, the first one if it raised it at all, cuts the rate at once to what
    would have been best in it, :math:`(c - s)/c`, within 0.05 and 1, or to a quarter where the step went uphill from
    the start.

    Args:
      initial_rate: the first rate, > 0, in the direction's units. A wrong one costs about one step for each third of a
        factor 2.7; 0.01 suits directions of length one an entry, as Adam's.
      relaxation: rate aimed at, in units of the one that lowers the loss most along the step; > 0, or a schedule of it.
        1 is greedy. From 2 on steps need not lower a quadratic at all. The default was chosen on small problems with
        sight of their results (experiments/self_tuning).
      every: steps from one measurement to the next, >= 1; the first 20 are always measured. 5 makes a step 1.07 times
        as dear as the direction's instead of 1.33.
      flip_sign: whether the incoming updates are subtracted, as gradients and directions of `optax.scale_by_adam` are
        (the name is that of `optax.scale_by_learning_rate`). False where they carry the sign of a step already.

    Returns:
      A transformation whose `update` needs `params`, `grad` and `value_fn`, and takes the loss at `params` from
      `value`.

    References:
      The rule is this package's own, and experiments/self_tuning has what was measured of it. It is
      `optaxaccel.scale_by_parabola` in hindsight; the fresh batch is what hypergradients (Baydin, Cornish, Rubio,
      Schmidt and Wood, "Online Learning Rate Adaptation with Hypergradient Descent", 2018) have in common with it.

    Costs:
      One loss beyond the gradient handed in (two when `value` is not passed), no backward pass; one copy of the
      parameters as state.

    Deviations:
      None from a paper, as there is none. What the formulas leave open:

      * Curvatures and differences of batches below the rounding of the loss, :math:`10^{-6} |f|` in float32, count as
        0. A step whose measured
        slope is exactly 0, the first one always, is not counted.
      * a <= 0 lowers the rate by the largest step, b <= 0 < a raises it so.
      * A loss, gradient or direction that is not finite moves nothing and stores nothing but `notfinite_count` + 1. A
        loss that is not finite at the previous parameters alone halves the rate and moves nothing, either.
      * With `every` = n the means look back on W/n measurements and growth is bounded by 10 n / (t + 1).

    Notes:
      What precedes in the chain keeps its own state: wrap the chain in `optax.apply_if_finite` when gradients may be
      bad. `optax.masked` hides parameters that the loss needs; `optaxaccel.masked` and `optaxaccel.partition` hand it
      a loss of its own leaves. `optax.MultiSteps` hands on the mean gradient with the last micro-batch's loss: that is
      noisier, but right on average, since neither has seen the step. A loss that is computed in bfloat16 has noise of
      its own, which only the means take out. A first step that rounding swallows is never measured, and so stays as
      short: bfloat16 parameters near 30 do not see one of 0.01. Give them a larger `initial_rate`.
    """
    look.check(initial_rate, relaxation, every)

    def init(params: optax.Params) -> HindsightState:
        contract.check_params("scale_by_hindsight", params)
        return HindsightState(**look.fresh_scalars(initial_rate), previous=trees.fresh_copy(params))

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        loss, value = look.bound_loss("scale_by_hindsight", params, value, value_fn, extra)
        finite = jnp.isfinite(value) & trees.all_finite(updates)
        contract.require_extra("scale_by_hindsight", "grad", grad)
        grad = contract.hidden_as(updates, updates if grad is None else grad)
        due = look.is_due(state.count, every)
        before = look.measure(loss, state.previous, due, every == 1)
        seen = look.look_back(state, params, value, grad, before, due, finite)
        rates = look.follow(state, seen, contract.at_step(relaxation, state.count), every)
        step = jnp.where(seen.finite & ~seen.failed, rates.rate, 0.0)
        updates = look.moved(-step if flip_sign else step, updates, params)
        previous = optax.tree.where(seen.finite, params, state.previous)
        return updates, look.advance(state, seen, rates, value)._replace(previous=previous)

    return contract.transformation("scale_by_hindsight", HindsightState, init, update, sees_loss=True)


CARD = contract.Card(
    name="hindsight",
    make=scale_by_hindsight,
    paper="this package, experiments/self_tuning, 2026",
    example={"initial_rate": 0.01, "relaxation": 1.5},
    cost=contract.Cost(values=1.0),
    state_copies=1.0,
    static_args=("every", "flip_sign"),
    diagnostics=look.DIAGNOSTICS,
)
