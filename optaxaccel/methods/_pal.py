r"""PAL: jump to the minimum of a parabola through two losses and one slope.

Mutschler and Zell, "PAL: A fast DNN optimization method based on curvature information", 2019. `pal` is their
Algorithm 1 and `pal_decay_schedule` its decay; the line search itself is in `optaxaccel.methods._parabola`.
"""

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import _parabola as parabola
from optaxaccel.methods import contract
from optaxaccel.numerics import trees

__all__ = ["PalState", "pal", "pal_decay_schedule"]

DIAGNOSTICS = {
    "step_size": "distance moved",
    "slope": "slope of the loss along the unit direction",
    "curvature": "curvature along it, times loose_approximation",
    "share_minimum": "share of steps to the parabola's minimum",
    "share_downhill": "share of steps where the parabola has no minimum ahead",
    "share_no_descent": "share of steps whose direction does not descend, so that nothing moved",
    "share_not_measured": "share of steps whose second loss was not finite, so that nothing moved",
    "share_clipped": "share of steps cut to max_step_size",
    "share_no_measuring_step": "share of steps whose measuring step is zero, so that nothing moved",
}


PalState = parabola.ParabolaState  # the search along the momentum, which is one of its fields


def pal(
    *,
    measuring_step_size: optax.ScalarOrSchedule = 0.1,
    max_step_size: optax.ScalarOrSchedule = 1.0,
    momentum: optax.ScalarOrSchedule = 0.4,
    loose_approximation: optax.ScalarOrSchedule = 0.6,
    slope: str = "exact",
) -> optax.GradientTransformationExtraArgs:
    r"""Step to the minimum of a parabola along the direction of momentum (PAL).

    Example:
      With `loose_approximation=1` one step is exact on any parabola, here f(w) = w^2 from w = 3:

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> tx = optaxaccel.pal(loose_approximation=1.0, measuring_step_size=1.0, max_step_size=10.0)
      >>> loss = lambda w: w**2
      >>> w = jnp.array(3.0)
      >>> update, state = tx.update(2 * w, tx.init(w), w, value=loss(w), value_fn=loss)
      >>> float(w + update), float(state.step_size), float(state.curvature)
      (0.0, 3.0, 2.0)

    The loss on the line through the parameters is nearly a parabola. Its value and its slope here are known from the
    gradient's evaluation; one more loss at a small distance gives its curvature, hence its minimum, and that is where
    the step goes. There is no learning rate.

    .. math::

        g_t &= \alpha g_{t-1} + \nabla f(\theta_t), \qquad
        l(s) = f(\theta_t - s\, g_t / \lVert g_t \rVert), \\
        l''(0) &= \lambda \frac{(l(\mu) - l(0))/\mu - l'(0)}{\mu/2}, \\
        s &= -l'(0)/l''(0) \text{ if } l''(0) > 0 > l'(0), \quad
        \mu \text{ if } l''(0) \le 0 > l'(0), \quad 0 \text{ otherwise}, \\
        \theta_{t+1} &= \theta_t - \min(s, s_{\max})\, g_t / \lVert g_t \rVert

    with :math:`\mu` = `measuring_step_size`, :math:`s_{\max}` = `max_step_size`, :math:`\alpha` = `momentum`,
    :math:`\lambda` = `loose_approximation`; :math:`\nabla f` are the incoming updates, :math:`l(0)` is `value`. All
    leaves share one norm.

    Args:
      measuring_step_size: distance of the second loss, in units of the parameters, or a schedule of it; > 0. The paper
        searches {0.1, 0.01}. Float32 sets a floor: at a loss of 6 with curvature 1, steps err by 20 to 30 % with 1e-3
        and are noise with 1e-4.
      max_step_size: longest step, in units of the parameters, or a schedule of it; > 0, inf for no limit. The paper
        searches {0.1, 1}.
      momentum: decay of the old gradients, 0 to 1, or a schedule of it. The paper searches {0, 0.4, 0.6}.
      loose_approximation: factor on the curvature, > 0, or a schedule of it. Under 1 steps are longer than the parabola
        says, and from 1/2
        downwards they no longer lower a quadratic. The paper searches {0.4, 0.6, 0.8}.
      slope: l'(0): "exact" is :math:`-\nabla f \cdot g_t / \lVert g_t \rVert` (Eq. 8); "direction_norm" is
        :math:`-\lVert g_t \rVert` (Algorithm 1, line 10); "gradient_norm" is :math:`-\lVert \nabla f \rVert` (the
        sentence after Eq. 8). Without momentum the three agree.

    Returns:
      A transformation whose `update` needs `params` and `value_fn`, and takes the loss at `params` from `value`.

    References:
      Mutschler and Zell, "PAL: A fast DNN optimization method based on curvature information", 2019, Algorithm 1,
      Eqs. 1-9.

    Costs:
      One loss beyond the gradient handed in (two when `value` is not passed), no backward pass; one copy of the
      parameters as state. `optax.chain(optax.scale(-1.0), scale_by_parabola())` is PAL without momentum and without
      that copy.

    Deviations:
      * `slope="exact"` is the default. The paper finds Eq. 8 too expensive; it is one inner product. Where the gradient
        turns slowly, momentum makes :math:`\lVert g_t \rVert` up to 1/(1 - alpha) times the true slope, and the
        printed rule gives steps near :math:`\mu/(2 \alpha \lambda)` whatever the curvature.
      * A loss or gradient that is not finite (or whose square sum overflows) moves nothing and stores nothing but
        `notfinite_count` + 1. A loss that is not finite at the measuring point alone does not move the parameters
        either, but the gradient was good: the momentum buffer and `count` advance, `notfinite_count` stays. So each
        update raises exactly one of the two counters.
      * The schedules are read at the 0-based step. `pal_decay_schedule` has the printed index.

    Notes:
      `value_fn` repeats the random numbers of the gradient's evaluation: the same batch, the same dropout key.
      Regularisers belong inside the loss, and clipping after `optax.trace` and before `scale_by_parabola`: a gradient
      that is not the gradient of `value_fn` makes the slope wrong. `optax.masked` around `pal` hides parameters that
      the loss needs; `optaxaccel.masked` and `optaxaccel.partition` hand it a loss of its own leaves.
      `optax.MultiSteps` hands on the mean gradient with the last micro-batch's loss, which do not belong together: call
      `update` once a step instead, with the mean loss, the mean gradient, and a `value_fn` that averages over all
      micro-batches. Parameters in bfloat16 round the measuring point: keep them in float32 and cast inside the loss.
      Complex gradients are conjugated by the caller, as for optax.
    """
    parabola.check_line_search(measuring_step_size, max_step_size, loose_approximation, slope)
    contract.check_number("momentum", momentum, "it is the share of the old gradients kept", at_least=0.0, at_most=1.0)

    def init(params: optax.Params) -> PalState:
        contract.check_params("pal", params)
        return parabola.initial_state(trees.zeros_like(params))

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del grad  # the incoming updates are the gradient
        loss, initial = parabola.losses("pal", params, value, value_fn, extra)
        alpha = jnp.asarray(contract.at_step(momentum, state.count), trees.accumulation_dtype())
        # Gated, or one bad gradient would stay in the buffer for ever. The gate looks at the gradient alone, all else
        # at the new buffer: the old one is read by its own overwrite only, which saves a second buffer.
        finite = jnp.isfinite(initial) & jnp.isfinite(trees.norm(updates))
        buffer = jax.tree.map(
            lambda m, g: jnp.where(finite, (alpha * m + g).astype(m.dtype), m), state.momentum, updates
        )
        here = parabola.look(slope, initial, updates, buffer, sign=-1.0, finite=finite)
        distances = parabola.distances_at(state.count, measuring_step_size, max_step_size)
        loose = contract.at_step(loose_approximation, state.count)
        line = parabola.search(loss, params, buffer, here, distances, loose)
        updates = parabola.move(line.step_size / here.length, buffer, params)
        return updates, parabola.advance(state, here.finite, line)._replace(momentum=buffer)

    return contract.transformation("pal", PalState, init, update, sees_loss=True)


def pal_decay_schedule(
    init_value: jax.typing.ArrayLike, rate: jax.typing.ArrayLike, transition_steps: jax.typing.ArrayLike
) -> optax.Schedule:
    r"""Decay exponentially, one step late, as PAL's Algorithm 1 prints it.

    Example:
      >>> schedule = pal_decay_schedule(8.0, rate=0.5, transition_steps=1)
      >>> [float(schedule(step)) for step in range(4)]
      [8.0, 8.0, 4.0, 2.0]

    Line 23 sets the distance of step t+1 to :math:`d(\mu_0, t)`, so steps 0 and 1 both use the initial value:

    .. math:: \mu_t = \mu_0\, r^{\max(t - 1, 0) / T}

    with :math:`\mu_0` = `init_value`, r = `rate`, T = `transition_steps`. The same decay serves `measuring_step_size`
    and `max_step_size`; `optax.exponential_decay` is the one without the delay.

    Args:
      init_value: value of steps 0 and 1.
      rate: factor per `transition_steps`, > 0. The paper searches {0.85, 0.9, 0.95}.
      transition_steps: steps in which the value falls by `rate`, > 0. One epoch in the paper.

    Returns:
      A schedule of the 0-based step.

    References:
      Mutschler and Zell, 2019, Algorithm 1, lines 23-25, and section 4.1.
    """
    fixed = "this is what makes a schedule"
    contract.check_number("rate", rate, "it is the factor per transition_steps", above=0.0, fixed=fixed)
    why = "it is the time in which the value falls"
    contract.check_number("transition_steps", transition_steps, why, above=0.0, fixed=fixed)
    contract.check_number("init_value", init_value, "it is the value of the first steps", above=0.0, fixed=fixed)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        elapsed = jnp.asarray(jnp.maximum(jnp.asarray(count) - 1, 0), trees.accumulation_dtype())
        return jnp.asarray(init_value) * jnp.asarray(rate) ** (elapsed / jnp.asarray(transition_steps))

    return schedule


CARD = contract.Card(
    name="pal",
    make=pal,
    paper="Mutschler and Zell, PAL, 2019",
    example={"measuring_step_size": 0.1, "max_step_size": 1.0, "momentum": 0.4, "loose_approximation": 0.6},
    cost=contract.Cost(values=1.0),
    state_copies=1.0,
    static_args=("slope",),
    diagnostics=DIAGNOSTICS,
)
