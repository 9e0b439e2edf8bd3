r"""CDAT: a rate from the slope and the curvature along the direction of a step, held near the edge of stability.

Roulet, Agarwala, Grill, Swirszcz, Blondel and Pedregosa, "Stepping on the Edge: Curvature Aware Learning Rate Tuners",
2024.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import hessians, trees

__all__ = ["CdatState", "cdat", "scale_by_cdat"]

EPSILON = 1e-12  # beside the mean curvature
CURVATURES = ("hvp", "loss")


class CdatState(NamedTuple):
    """State of `scale_by_cdat` and `cdat`.

    Attributes:
      count: steps made, those that did not move included, int32.
      notfinite_count: updates held still because the loss or the gradient was not finite, int32.
      rate: the rate of the last step.
      slope_mean: running mean N of the slope downhill along the direction.
      curvature_mean: running mean D of the size of the curvature along it.
      measurement_failed: whether the curvature of the last step was not finite.
      momentum: the direction without its sign, a tree like the parameters; () in `scale_by_cdat`.
    """

    count: jax.Array
    notfinite_count: jax.Array
    rate: jax.Array
    slope_mean: jax.Array
    curvature_mean: jax.Array
    measurement_failed: jax.Array
    momentum: Any

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """The rate, and the means that it comes from."""
        return {"rate": self.rate, "slope": self.slope_mean, "curvature": self.curvature_mean}


def scale_by_cdat(
    *,
    sigma: optax.ScalarOrSchedule = 2.0,
    ema_decay: float | jax.Array = 0.9,
    max_learning_rate: optax.ScalarOrSchedule = float("inf"),
    curvature: str = "hvp",
    measuring_step_size: optax.ScalarOrSchedule = 0.1,
) -> optax.GradientTransformationExtraArgs:
    r"""Scale any descent direction by the rate that its slope and its curvature suggest (CDAT).

    Example:
      Adam's direction, from w = (3, 4) on `f(w) = |w|^2 / 2`; the first one is (-1, -1), and with sigma 1 the minimum
      along it is where the coordinates add up to zero:

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> tuner = optaxaccel.scale_by_cdat(sigma=1.0, ema_decay=0.0)
      >>> tx = optax.chain(optax.scale_by_adam(), optax.scale(-1.0), tuner)
      >>> loss = lambda w: 0.5 * jnp.sum(w**2)
      >>> w = jnp.array([3.0, 4.0])
      >>> value, grad = jax.value_and_grad(loss)(w)
      >>> update, state = tx.update(grad, tx.init(w), w, value=value, grad=grad, value_fn=loss)
      >>> [round(float(x), 3) for x in w + update]
      [-0.5, 0.5]

    A search that goes to the lowest point of a line at every step lets the sharpness of a network rise until steps are
    tiny. A rate twice as long is on the edge where sharpness is pushed down, and that is what helps.

    .. math::

        N_t &= \beta N_{t-1} + (1 - \beta) \max(-g_t^T u_t, 0), \qquad
        D_t = \beta D_{t-1} + (1 - \beta)\, |u_t^T \nabla^2 f(x_t) u_t|, \\
        x_{t+1} &= x_t + \min\Big(\sigma \frac{N_t}{D_t + 10^{-12}}, \gamma_{\max}\Big) u_t

    with u the incoming updates, with the sign with which they would be added, g the gradient of this step,
    :math:`\sigma` = `sigma`, :math:`\beta` = `ema_decay`, :math:`\gamma_{\max}` = `max_learning_rate`,
    N = D = 0 at first. Products run over all leaves.

    Args:
      sigma: factor on the rate, >= 0, or a schedule of it. 1 goes to the minimum of the parabola, 2 to the point on its
        other side with the same loss; about 2 is the paper's choice.
      ema_decay: share of the old means, 0 <= beta < 1. Their bias cancels in the ratio. Minibatches want it.
      max_learning_rate: the largest rate, > 0, or a schedule of it; inf for no limit. Where the loss is a straight line
        there is no other limit.
      curvature: "hvp" is exact, by a product with the Hessian; "loss" takes it from one more loss at a small distance,
        as PAL does.
      measuring_step_size: that distance, in units of the parameters, > 0, or a schedule of it; for "loss" alone.

    Returns:
      A transformation whose `update` needs `params`, `grad`, `value_fn`, and for "loss" takes the loss at `params` from
      `value`.

    References:
      Roulet, Agarwala, Grill, Swirszcz, Blondel and Pedregosa, "Stepping on the Edge: Curvature Aware Learning Rate
      Tuners", NeurIPS 2024, arXiv:2407.06183. There is no code of the authors'.

    Costs:
      One product with the Hessian a step, or one loss (two when `value` is not passed); no copy of the parameters.

    Deviations:
      * The start of the means and the 1e-12 are ours: the paper's were not readable.
      * As `pal`: a loss or gradient that is not finite moves nothing and stores nothing but `notfinite_count` + 1, and
        where the curvature alone is not finite nothing moves, but the step counts.

    Notes:
      * On any quadratic, sigma = 2 without means leaves the loss exactly where it is, whatever the direction, and
        with means it may rise. The method is for networks, whose curvature answers; see `sigma=1.0` for others.
      * Where the direction does not descend the slope counts as zero; without means nothing moves then.
      * Clipping belongs in front of the direction, regularisers into the loss.
    """
    _check(sigma, ema_decay, max_learning_rate, curvature, measuring_step_size)

    def init(params: optax.Params) -> CdatState:
        contract.check_params("scale_by_cdat", params)
        return _start(())

    def update(updates, state, params=None, *, value=None, grad: Any = None, value_fn=None, **extra):
        contract.require_params("scale_by_cdat", params)
        contract.require_extra("scale_by_cdat", "grad", grad)
        loss = contract.bind_value_fn("scale_by_cdat", value_fn, extra)
        gradient: Any = contract.hidden_as(updates, grad)
        finite = contract.step_is_finite(gradient, value) & jnp.isfinite(trees.norm(updates))
        distance = contract.at_step(measuring_step_size, state.count)
        seen = _look(loss, params, updates, gradient, value, curvature, distance)
        factor, state = _advance(state, seen, finite, ema_decay, sigma, max_learning_rate)
        return _scaled(factor, updates, params), state

    return contract.transformation("scale_by_cdat", CdatState, init, update, sees_loss=True)


def cdat(
    *,
    sigma: optax.ScalarOrSchedule = 2.0,
    momentum: optax.ScalarOrSchedule = 0.9,
    ema_decay: float | jax.Array = 0.9,
    max_learning_rate: optax.ScalarOrSchedule = float("inf"),
    curvature: str = "hvp",
    measuring_step_size: optax.ScalarOrSchedule = 0.1,
) -> optax.GradientTransformationExtraArgs:
    r"""Run momentum at the rate that slope and curvature along it suggest (CDAT).

    Example:
      On any parabola sigma 1 goes to the minimum in one step, here f(w) = w^2 from w = 3:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.cdat(sigma=1.0)
      >>> loss = lambda w: w**2
      >>> w = jnp.array(3.0)
      >>> update, state = tx.update(2 * w, tx.init(w), w, value=loss(w), value_fn=loss)
      >>> round(float(w + update), 5), round(float(state.rate), 5)
      (0.0, 0.5)

    `scale_by_cdat` along the heavy ball's direction, which does not see the rate:

    .. math:: m_t = \mu m_{t-1} + g_t, \qquad u_t = -m_t

    Args:
      sigma: factor on the rate, >= 0, or a schedule of it. 1 goes to the minimum of the parabola, 2 to the point on its
        other side with the same loss; about 2 is the paper's choice.
      momentum: :math:`\mu`, 0 to 1, or a schedule of it; 0 is gradient descent.
      ema_decay: share of the old means, 0 <= beta < 1. Their bias cancels in the ratio. Minibatches want it.
      max_learning_rate: the largest rate, > 0, or a schedule of it; inf for no limit. Where the loss is a straight line
        there is no other limit.
      curvature: "hvp" is exact, by a product with the Hessian; "loss" takes it from one more loss at a small distance,
        as PAL does.
      measuring_step_size: that distance, in units of the parameters, > 0, or a schedule of it; for "loss" alone.

    Returns:
      A transformation whose `update` needs `params` and `value_fn`, and for "loss" takes the loss at `params` from
      `value`.

    References:
      Roulet, Agarwala, Grill, Swirszcz, Blondel and Pedregosa, "Stepping on the Edge: Curvature Aware Learning Rate
      Tuners", NeurIPS 2024, arXiv:2407.06183. There is no code of the authors'.

    Costs:
      As `scale_by_cdat`, and one copy of the parameters as state.

    Deviations:
      The start of the means is ours. A loss or gradient that is not finite moves nothing and stores nothing but
      `notfinite_count` + 1; where the curvature alone is not finite nothing moves, but the step counts.
    """
    _check(sigma, ema_decay, max_learning_rate, curvature, measuring_step_size)
    contract.check_number("momentum", momentum, "it is the share of the old gradients kept", at_least=0.0, at_most=1.0)

    def init(params: optax.Params) -> CdatState:
        contract.check_params("cdat", params)
        return _start(trees.zeros_like(params))

    def update(updates, state, params=None, *, value=None, grad: Any = None, value_fn=None, **extra):
        del grad  # the incoming updates are the gradient
        contract.require_params("cdat", params)
        loss = contract.bind_value_fn("cdat", value_fn, extra)
        alpha = jnp.asarray(contract.at_step(momentum, state.count), trees.accumulation_dtype())
        finite = contract.loss_is_finite(value) & jnp.isfinite(trees.norm(updates))
        buffer = jax.tree.map(
            lambda m, g: jnp.where(finite, (alpha * m + g).astype(m.dtype), m), state.momentum, updates
        )
        distance = contract.at_step(measuring_step_size, state.count)
        seen = _look(loss, params, buffer, updates, value, curvature, distance, sign=-1.0)
        factor, state = _advance(state, seen, finite, ema_decay, sigma, max_learning_rate)
        return _scaled(-factor, buffer, params), state._replace(momentum=buffer)

    return contract.transformation("cdat", CdatState, init, update, sees_loss=True)


class Seen(NamedTuple):
    """What is known along the direction of a step: the slope downhill and the size of the curvature."""

    slope: jax.Array
    curvature: jax.Array


def _look(loss: Callable, params, direction, gradient, value, rule: str, distance, *, sign: float = 1.0) -> Seen:
    """Return n and d along sign * direction."""
    slope = -sign * trees.vdot(gradient, direction)
    if rule == "hvp":
        image = hessians.hvp(lambda p: loss(p), params, direction, data=_NOTHING)
        curved = trees.vdot(direction, image)
    else:
        norm = trees.norm(direction)
        length = jnp.where(norm > 0, norm, 1.0)
        here = jnp.asarray(loss(params) if value is None else value, trees.accumulation_dtype())
        step = jnp.asarray(distance, trees.accumulation_dtype()) / length
        ahead = loss(trees.add_scaled(params, sign * step, direction)).astype(here.dtype)
        curved = 2.0 * (ahead - here + step * slope) / step**2
    return Seen(jnp.maximum(slope, 0.0), jnp.abs(curved))


def _advance(state: CdatState, seen: Seen, finite, decay, sigma, most) -> tuple[jax.Array, CdatState]:
    """Return the factor of the direction, zero where nothing may move, and the state."""
    dtype = trees.accumulation_dtype()
    share = jnp.asarray(decay, dtype)
    known = finite & jnp.isfinite(seen.slope) & jnp.isfinite(seen.curvature)
    slope = jnp.where(known, share * state.slope_mean + (1.0 - share) * seen.slope, state.slope_mean)
    curved = jnp.where(known, share * state.curvature_mean + (1.0 - share) * seen.curvature, state.curvature_mean)
    factor, limit = (jnp.asarray(contract.at_step(number, state.count), dtype) for number in (sigma, most))
    rate = jnp.minimum(factor * slope / (curved + EPSILON), limit)
    return jnp.where(known, rate, 0.0), CdatState(
        count=jnp.where(finite, optax.safe_increment(state.count), state.count),
        notfinite_count=jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count)),
        rate=jnp.where(finite, jnp.where(known, rate, 0.0), state.rate),
        slope_mean=slope,
        curvature_mean=curved,
        measurement_failed=jnp.where(finite, ~known, state.measurement_failed),
        momentum=state.momentum,
    )


def _scaled(factor: jax.Array, direction: Any, params: Any) -> Any:
    """Return factor * direction in the dtypes of the parameters; a zero factor gives zeros, whatever the direction."""
    return trees.cast_like(jax.tree.map(lambda d: jnp.where(factor == 0, 0.0, factor * d), direction), params)


def _start(momentum: Any) -> CdatState:
    count, notfinite = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    reals = [jnp.zeros((), trees.accumulation_dtype()) for _ in range(3)]
    return CdatState(count, notfinite, reals[0], reals[1], reals[2], jnp.zeros((), bool), momentum)


def _check(sigma, ema_decay, max_learning_rate, curvature: str, measuring_step_size) -> None:
    """Raise ValueError for hyperparameters out of range."""
    contract.check_number("sigma", sigma, "a negative rate climbs the loss", at_least=0.0, below=float("inf"))
    fixed = "it is the decay of two means whose bias cancels"
    why = "it is the share of the old means"
    contract.check_number("ema_decay", ema_decay, why, at_least=0.0, below=1.0, fixed=fixed)
    contract.check_number("max_learning_rate", max_learning_rate, "it is the largest rate", above=0.0, unlimited=True)
    contract.check_choice("curvature", curvature, CURVATURES)
    contract.check_number("measuring_step_size", measuring_step_size, "the second loss is measured there", above=0.0)


_NOTHING: Mapping[str, Any] = {}
CARD = contract.Card(
    name="cdat",
    make=cdat,
    paper="Roulet et al., Stepping on the Edge, 2024",
    example={"sigma": 1.0, "momentum": 0.5},
    cost=contract.Cost(hvps=1.0),
    state_copies=1.0,
    static_args=("curvature",),
    diagnostics={
        "rate": "rate of the step",
        "slope": "running mean of the slope downhill along the direction, without its correction at the start",
        "curvature": "running mean of the size of the curvature along it, likewise",
    },
    reservations={
        "descends_a_quadratic_at_its_defaults": "sigma = 2 keeps a quadratic's loss constant by construction",
    },
)
