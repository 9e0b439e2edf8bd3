r"""INNAprop: the inertial Newton dynamics of INNA driven by RMSprop's scaled gradient, with decoupled weight decay.

Bolte, Boustany, Pauwels and Purica, "A second-order-like optimizer with adaptive gradient scaling for deep learning",
2024. Their two buffers of the dynamics are one here, so the method needs the memory of AdamW.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import compiler, trees

__all__ = ["InnapropState", "innaprop"]


class InnapropState(NamedTuple):
    """State of `innaprop`.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      phase: the variable z of the rule, a tree like the parameters.
      second_moment: v, the mean of squared gradients, a tree like the parameters, real and in float32 at least.
    """

    count: jax.Array
    notfinite_count: jax.Array
    phase: optax.Updates
    second_moment: optax.Updates


def innaprop(
    learning_rate: optax.ScalarOrSchedule,
    *,
    alpha: optax.ScalarOrSchedule = 0.1,
    beta: optax.ScalarOrSchedule = 0.9,
    b2: float | jax.Array = 0.999,
    eps: float | jax.Array = 1e-8,
    weight_decay: optax.ScalarOrSchedule = 0.01,
) -> optax.GradientTransformationExtraArgs:
    r"""Drive INNA's damped ball with RMSprop's scaled gradient, and decay the weights apart from it (INNAprop).

    Example:
      Whatever the size of its gradient, a weight first moves by `learning_rate * beta`, here 0.5 * 0.5, and by a decay
      of 0.5 * 0.1 of itself, which also pulls z to -(2 - 0.5) * 0.05 * 2, half of which is added:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.innaprop(0.5, alpha=0.5, beta=0.5, weight_decay=0.1)
      >>> w = jnp.array(2.0)
      >>> update, state = tx.update(jnp.array(300.0), tx.init(w), w)
      >>> round(float(update), 4)  # -0.25 - 0.1 - 0.075
      -0.425

    The ball of `indian` rolls with a friction and with a damping along the Hessian that is never formed. Here the force
    on it is the gradient divided by the root of its mean square, coordinate by coordinate, as in RMSprop and Adam.

    .. math::

        v_k &= \sigma v_{k-1} + (1 - \sigma) g_k^2, \qquad
        u_k = g_k \Big/ \Big(\sqrt{v_k / (1 - \sigma^k)} + \epsilon\Big), \\
        \tilde z_k &= z_{k-1} - (1/\beta - \alpha)\, \gamma_k w\, \theta_{k-1}, \\
        \theta_k &= (1 - \gamma_k w)\, \theta_{k-1} + \gamma_k (\tilde z_k - \beta u_k), \\
        z_k &= (1 - \alpha \gamma_k)\, \tilde z_k - \gamma_k (1 - \alpha \beta)\, u_k, \qquad z_0 = 0

    with :math:`\gamma` = `learning_rate`, :math:`\alpha` = `alpha`, :math:`\beta` = `beta`, :math:`\sigma` = `b2`,
    :math:`\epsilon` = `eps`, w = `weight_decay`, and :math:`g_k` the incoming updates at :math:`\theta_{k-1}`.

    Args:
      learning_rate: step :math:`\gamma`, >= 0, or a schedule of it. 1e-3 is the default of the authors' code.
      alpha: viscous friction, >= 0, or a schedule of it. With 0.1 the method remembers about
        1/(alpha learning_rate) steps. The authors train with (alpha, beta) = (0.1, 0.9), their default, and (2, 2).
      beta: Newtonian damping, > 0, or a schedule of it.
      b2: decay :math:`\sigma` of the mean of squared gradients, 0 <= b2 < 1; 0.999 in the authors' code.
      eps: added to the root, > 0; 1e-8 in the authors' code.
      weight_decay: decoupled decay w, >= 0, or a schedule of it; a step takes `learning_rate * weight_decay` off the
        weights, as in AdamW. 0.01 in the authors' code. `optaxaccel.partition` spares biases.

    Returns:
      A transformation whose `update` needs the gradient and, unless `weight_decay=0`, the parameters.

    References:
      Bolte, Boustany, Pauwels and Purica, "A second-order-like optimizer with adaptive gradient scaling for deep
      learning", 2024, arXiv:2410.05871, and the authors' code. Castera, Bolte, Fevotte and Pauwels, "An Inertial
      Newton Algorithm for Deep Learning", 2019, for the dynamics.

    Costs:
      No oracle call beyond the gradient handed in; two copies of the parameters as state, as AdamW.

    Deviations:
      * One buffer z = (1/beta - alpha) theta - psi/beta in place of theta's partner psi. The iterates agree to
        rounding, for changing rates and with decay too; the authors' form divides by beta - learning_rate, so it fails
        where the two are equal and loses digits near it, and this one does not.
      * A step whose `value`, if given, is not finite moves nothing and stores nothing but `notfinite_count` + 1. The
        gradient is not looked at: that pass costs about a third of an update. `optax.apply_if_finite` adds it.

    Notes:
      * alpha = beta = 1 is RMSprop without momentum, which is AdamW with b1 = 0: z stays zero.
      * With (0.1, 0.9) a step is 0.9 of the gradient of today plus a slow mean of old ones, the shape of AdEMAMix.
      * XLA copies a donated buffer whose old value has two readers. So z is overwritten first, and the updates divide
        by 1 - alpha learning_rate: only if both are numbers and it is over 0.1. Otherwise (a schedule, an injected
        hyperparameter) z is overwritten after the parameters, from which the decay is read back: that divides by
        1 - learning_rate weight_decay (1 + learning_rate (1/beta - alpha)), which is zero only where the decay of one
        step leaves nothing of the parameters: then they become NaN, but for alpha beta = 1, which divides by nothing.
    """
    contract.check_learning_rate(learning_rate)
    contract.check_number("alpha", alpha, "negative friction feeds the motion", at_least=0.0, below=float("inf"))
    contract.check_number("beta", beta, "z is in units of 1/beta, and the force acts through it", above=0.0)
    fixed = "the bias of the mean is corrected by its powers"
    contract.check_number("b2", b2, "it is the share of the old mean", at_least=0.0, below=1.0, fixed=fixed)
    why = "a weight whose gradient has always been zero would be divided by zero"
    contract.check_number("eps", eps, why, above=0.0, below=float("inf"), fixed="it only guards a division")
    contract.check_number("weight_decay", weight_decay, "negative decay lets weights grow", at_least=0.0)
    decays = not (contract.is_number(weight_decay) and weight_decay == 0)

    def init(params: optax.Params) -> InnapropState:
        contract.check_params("innaprop", params)
        squares = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=_real(trees.leaf_dtype(p))), params)
        count, notfinite = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        return InnapropState(count, notfinite, trees.zeros_like(params), squares)

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del grad, value_fn, extra
        if decays:
            contract.require_params("innaprop", params)
        finite = contract.loss_is_finite(value)
        numbers = Numbers(*(contract.at_step(n, state.count) for n in (learning_rate, alpha, beta, weight_decay)))
        count = jnp.where(finite, optax.safe_increment(state.count), state.count)
        squares = jax.tree.map(
            lambda v, g: jnp.where(finite, b2 * v + (1.0 - b2) * _square(g), v).astype(v.dtype),
            state.second_moment,
            updates,
        )
        steps = jnp.asarray(jnp.maximum(count, 1), trees.accumulation_dtype())  # a first step may be held still
        debias = 1.0 / (1.0 - jnp.asarray(b2, steps.dtype) ** steps)
        move = _new_phase_first if numbers.divides() else _new_phase_last
        updates, phase = move(_Scaled(updates, squares, debias, eps), state.phase, params, finite, numbers, decays)
        notfinite = jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count))
        return updates, InnapropState(count, notfinite, phase, squares)

    return contract.transformation("innaprop", InnapropState, init, update)


class Numbers(NamedTuple):
    """The hyperparameters of one step."""

    rate: Any
    alpha: Any
    beta: Any
    decay: Any

    @property
    def keep(self) -> Any:
        """What a step leaves of z."""
        return 1.0 - self.alpha * self.rate

    @property
    def drive(self) -> Any:
        """What a step adds of the scaled gradient to -z."""
        return self.rate * (1.0 - self.alpha * self.beta)

    @property
    def pull(self) -> Any:
        """What the decay takes of the parameters off z."""
        return (1.0 / self.beta - self.alpha) * self.rate * self.decay

    def divides(self) -> bool:
        """Tell whether one may divide by `keep`, as far as it is known when the program is built."""
        known = contract.is_number(self.rate) and contract.is_number(self.alpha)
        return known and abs(self.keep) > 0.1


class _Scaled(NamedTuple):
    """The scaled gradient, to be computed where it is needed.

    Two loops need it, each once and by a formula of its own: XLA would keep the results of a common one, since a root
    and a division are dear, and those of all leaves are a third buffer as large as the parameters.
    """

    gradients: Any
    squares: Any
    debias: jax.Array
    eps: Any

    def for_phase(self, g, v):
        return g / (jnp.sqrt(v * self.debias) + self.eps)

    def for_velocity(self, g, v):
        root = jnp.sqrt(self.debias)
        return g / root / (jnp.sqrt(v) + self.eps / root)


def _new_phase_first(scaled, phase, params, finite, n: Numbers, decays: bool):
    """Return the updates, computed from the new z, and the new z."""
    anchor = (params,) if decays else ()

    def advance(z, g, v, *p):
        u = scaled.for_phase(g, v)
        pulled = z - n.pull * p[0] if p else z
        return jnp.where(finite, n.keep * pulled - n.drive * u, z).astype(z.dtype)

    def velocity(z, g, v, *p):
        u = scaled.for_velocity(g, v)
        step = n.rate / n.keep * (z + (n.rate - n.beta) * u)
        step = step - n.rate * n.decay * p[0] if p else step
        return jnp.where(finite, step, 0.0).astype(z.dtype)

    phase = jax.tree.map(advance, phase, scaled.gradients, scaled.squares, *anchor)
    return jax.tree.map(velocity, phase, scaled.gradients, scaled.squares, *anchor), phase


def _new_phase_last(scaled, phase, params, finite, n: Numbers, decays: bool):
    """Return the updates, computed from the old z, the new z, computed from the parameters that have moved."""
    anchor = (params,) if decays else ()

    def velocity(z, g, v, *p):
        u = scaled.for_velocity(g, v)
        step = n.rate * (z - n.beta * u)
        step = step - n.rate * (n.decay + n.pull) * p[0] if p else step
        return jnp.where(finite, step, 0.0).astype(z.dtype)

    def advance(z, g, v, moved):
        rest = 1.0 - n.rate * (n.decay + n.pull)
        share = n.pull / jnp.where((n.pull == 0) & (rest == 0), 1.0, rest) if decays else 0.0
        pulled = (1.0 + share * n.rate) * z - share * moved if decays else z
        drive = n.drive + n.keep * share * n.rate * n.beta  # all of u at once, see _Scaled
        new = jnp.where(finite, n.keep * pulled - drive * scaled.for_phase(g, v), z).astype(z.dtype)
        return compiler.after(new, jnp.real(moved))

    updates = jax.tree.map(velocity, phase, scaled.gradients, scaled.squares, *anchor)
    moved = updates  # below the sum that optax.apply_updates computes too
    if params is not None:
        moved = jax.tree.map(lambda p, u: p + u, params, updates)
    return updates, jax.tree.map(advance, phase, scaled.gradients, scaled.squares, moved)


def _square(g: jax.Array) -> jax.Array:
    wide = g.astype(jnp.promote_types(g.dtype, jnp.float32))
    return jnp.real(wide * jnp.conj(wide)) if jnp.iscomplexobj(wide) else wide * wide


def _real(dtype: Any) -> Any:
    """Return float32 or the real dtype of a wider one."""
    return jnp.finfo(jnp.promote_types(dtype, jnp.float32)).dtype


CARD = contract.Card(
    name="innaprop",
    make=innaprop,
    paper="Bolte, Boustany, Pauwels and Purica, INNAprop, 2024",
    example={"learning_rate": 0.05, "alpha": 0.5, "beta": 0.9, "weight_decay": 0.0},
    cost=contract.Cost(),
    state_copies=2.0,
)
