r"""INDIAN: inertial Newton dynamics from gradients alone, also known as INNA.

Castera, Bolte, Fevotte and Pauwels, "An Inertial Newton Algorithm for Deep Learning", 2019. `indian` is their Eq. 1,
`inverse_power_schedule` their step sizes, `indian_stable` the condition under which a quadratic does not diverge.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import compiler, trees

__all__ = ["IndianState", "indian", "indian_stable", "inna", "inverse_power_schedule"]


class IndianState(NamedTuple):
    """State of `indian`.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      phase: the variable z of the rule, a tree like the parameters.
    """

    count: jax.Array
    notfinite_count: jax.Array
    phase: optax.Updates


def indian(
    learning_rate: optax.ScalarOrSchedule,
    *,
    alpha: optax.ScalarOrSchedule = 0.5,
    beta: optax.ScalarOrSchedule = 0.1,
    initial_velocity: float | jax.Array | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Follow the path of a heavy ball whose friction comes partly from the curvature (INDIAN, INNA).

    Example:
      The first step is gradient descent with rate gamma beta, here 0.5 * 0.25 on the gradient 4; the second adds
      gamma z = 0.5 * (-0.5 * (1 - 0.125) * 4) to it:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.indian(0.5, alpha=0.5, beta=0.25)
      >>> w, g = jnp.array(1.0), jnp.array(4.0)
      >>> first, state = tx.update(g, tx.init(w), w)
      >>> second, state = tx.update(g, state, w)
      >>> float(first), float(second)
      (-0.5, -1.375)

    A ball with viscous friction rolls down the loss. A second friction acts along the Hessian: it damps the
    oscillations across a narrow valley and leaves the motion along it. The Hessian is never formed, because the
    second-order equation is one of first order in two variables, the parameters and a buffer, driven by the gradient.

    .. math::

        \ddot\theta + \alpha \dot\theta + \beta \nabla^2 J(\theta) \dot\theta + \nabla J(\theta) = 0

    With its explicit steps :math:`\gamma_k` = `learning_rate`, friction :math:`\alpha` = `alpha`, Newtonian damping
    :math:`\beta` = `beta` and the incoming updates :math:`g_k`:

    .. math::

        \theta_{k+1} &= \theta_k + \gamma_k (z_k - \beta g_k), \\
        z_{k+1} &= (1 - \alpha \gamma_k) z_k - \gamma_k (1 - \alpha \beta) g_k, \qquad z_0 = 0

    This is the paper's Eq. 1 in the variable :math:`z = (1/\beta - \alpha) \theta - \psi/\beta`.

    Args:
      learning_rate: step :math:`\gamma`, >= 0, in units of time, or a schedule of it. The paper takes
        `inverse_power_schedule(gamma_0)`. Its loss is a sum over the samples and everyone's code takes a mean, so its
        :math:`\gamma_0` does not carry over. `indian_stable` says which values are too large for a curvature.
      alpha: viscous friction, >= 0, in 1/time, or a schedule of it. 0.5 is the default of the authors' Keras and
        TensorFlow code, which recommends to tune it first, and of their PyTorch code.
      beta: Newtonian damping, >= 0, in time, or a schedule of it. 0.1 is the default of all their codes; they try
        powers of ten.
      initial_velocity: s in the first velocity :math:`-s g_0`, so that :math:`z_0 = (\beta - s) g_0`. None is
        :math:`z_0 = 0` (s = beta), the start of the authors' PyTorch code; their TensorFlow and Keras code has s = 1.

    Returns:
      A transformation whose `update` needs the gradient only.

    References:
      Castera, Bolte, Fevotte and Pauwels, "An Inertial Newton Algorithm for Deep Learning", 2019, Eqs. 1-3; Remark 2
      for the step sizes. The long version (arXiv:1905.12278) calls the method INNA.

    Costs:
      No oracle call beyond the gradient handed in; one copy of the parameters as state. An update takes as long as that
      of SGD with momentum, see the last point under Notes.

    Deviations:
      * One buffer z instead of psi. It starts at zero instead of at a function of the parameters, needs no `params`,
        has no difference of two large numbers, and parameters moved by someone else do not change the velocity.
      * A step whose `value`, if given, is not finite moves nothing and stores nothing but `notfinite_count` + 1. The
        gradient is not looked at: that pass costs about a third of an update. `optax.apply_if_finite` adds it.
      * No weight decay. That of the authors' code takes :math:`\gamma w \theta` off :math:`\theta` alone, which
        `optax.chain(optax.add_decayed_weights(w / beta), indian(...))` does to rounding.

    Notes:
      * gamma = beta constant is the heavy ball, with momentum 1 - alpha beta and rate beta^2. alpha beta = 1 is
        gradient descent with rate gamma beta.
      * For a constant curvature L > 0 the iteration converges if and only if gamma L < beta L + alpha and
        4 - 2 alpha gamma - 2 gamma beta L + gamma^2 L > 0.
      * XLA copies a donated buffer whose old value has two readers, so the update is computed from the new z. That
        divides by 1 - alpha gamma: only if both are numbers and it is over 0.1. Otherwise (a schedule, an injected
        hyperparameter) z is overwritten after the parameters, which is exact for all values and takes 1.2 times as
        long. Copies come back where a later transformation in a chain changes the updates of that second form.
    """
    contract.check_learning_rate(learning_rate)
    contract.check_number("alpha", alpha, "negative friction feeds the motion", at_least=0.0, below=float("inf"))
    contract.check_number("beta", beta, "negative damping feeds the oscillations", at_least=0.0, below=float("inf"))
    if initial_velocity is not None:
        why = "the first velocity is -initial_velocity times the gradient"
        contract.check_number(
            "initial_velocity", initial_velocity, why, above=-float("inf"), fixed="it is of the first step"
        )

    def init(params: optax.Params) -> IndianState:
        contract.check_params("indian", params)
        return IndianState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), trees.zeros_like(params))

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del grad, value_fn, extra
        finite = contract.loss_is_finite(value)
        gamma, a, b = (contract.at_step(number, state.count) for number in (learning_rate, alpha, beta))
        start = 0.0 if initial_velocity is None else jnp.where(state.count == 0, b - initial_velocity, 0.0)
        if contract.is_number(gamma) and contract.is_number(a) and abs(1.0 - a * gamma) > 0.1:
            move = _new_phase_first
        else:
            move = _new_phase_last
        updates, phase = move(updates, state.phase, params, finite, (gamma, a, b, start))
        count = jnp.where(finite, optax.safe_increment(state.count), state.count)
        notfinite = jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count))
        return updates, IndianState(count, notfinite, phase)

    return contract.transformation("indian", IndianState, init, update)


inna = indian


def _new_phase_first(grads, phase, params, finite, numbers: tuple[Any, ...]):
    """Return the updates, computed from the new z, and the new z."""
    del params
    gamma, alpha, beta, start = numbers
    keep = 1.0 - alpha * gamma

    def advance(z, g):
        drive = keep * start - gamma * (1.0 - alpha * beta)
        return jnp.where(finite, keep * z + drive * g, z).astype(z.dtype)

    def velocity(z, g):
        return jnp.where(finite, gamma / keep * (z + (gamma - beta) * g), 0.0).astype(z.dtype)

    phase = jax.tree.map(advance, phase, grads)
    return jax.tree.map(velocity, phase, grads), phase


def _new_phase_last(grads, phase, params, finite, numbers: tuple[Any, ...]):
    """Return the updates, computed from the old z, and the new z, made to wait until the parameters have moved."""
    gamma, alpha, beta, start = numbers
    keep = 1.0 - alpha * gamma

    def velocity(z, g):
        return jnp.where(finite, gamma * (z + (start - beta) * g), 0.0).astype(z.dtype)

    def advance(z, g, *moved):
        drive = keep * start - gamma * (1.0 - alpha * beta)
        new = jnp.where(finite, keep * z + drive * g, z).astype(z.dtype)
        for p in moved:  # the sum that optax.apply_updates computes too
            new = compiler.after(new, p)
        return new

    updates = jax.tree.map(velocity, phase, grads)
    moved = () if params is None else (jax.tree.map(lambda p, u: p + u, params, updates),)
    return updates, jax.tree.map(advance, phase, grads, *moved)


def inverse_power_schedule(init_value: float | jax.Array, power: float | jax.Array = 0.5) -> optax.Schedule:
    r"""Divide by a power of the step: :math:`\gamma_k = \gamma_0 / (k + 1)^p`.

    Example:
      >>> import optaxaccel
      >>> schedule = optaxaccel.inverse_power_schedule(0.5)
      >>> [float(schedule(count)) for count in (0, 3)]
      [0.5, 0.25]

    The paper's step sizes for `indian` have p = 1/2; its convergence theorem asks for a sum that diverges and for
    :math:`\gamma_k = o(1/\log k)`, which every p in (0, 1] gives.

    Args:
      init_value: :math:`\gamma_0`, >= 0, the value at step 0.
      power: p, >= 0.

    Returns:
      A schedule of the 0-based step.

    References:
      Castera, Bolte, Fevotte and Pauwels, "An Inertial Newton Algorithm for Deep Learning", 2019, Assumption 1 and
      Remark 2.
    """
    fixed = "this is what makes a schedule"
    contract.check_number("init_value", init_value, "a negative step climbs the loss", at_least=0.0, fixed=fixed)
    contract.check_number("power", power, "a negative power makes the steps grow", at_least=0.0, fixed=fixed)
    return lambda count: init_value / (count + 1.0) ** power


def indian_stable(
    learning_rate: float | jax.Array,
    alpha: float | jax.Array,
    beta: float | jax.Array,
    curvature: float | jax.Array,
) -> bool | jax.Array:
    r"""Tell whether `indian` with a constant step converges on a quadratic of the given curvature.

    Example:
      >>> import optaxaccel
      >>> [optaxaccel.indian_stable(0.02, 0.5, beta, 1000.0) for beta in (0.1, 0.5)]
      [True, False]

    Along an eigenvector of the Hessian with eigenvalue L the rule is linear in (theta, z). Both eigenvalues of that
    iteration are inside the unit circle if and only if

    .. math::

        \gamma > 0, \quad L > 0, \quad \gamma L < \beta L + \alpha, \quad
        4 - 2 \alpha \gamma - 2 \gamma \beta L + \gamma^2 L > 0.

    Args:
      learning_rate: step gamma.
      alpha: viscous friction.
      beta: Newtonian damping.
      curvature: L; a Hessian needs the answer for its largest and its smallest eigenvalue.

    Returns:
      A bool, or an array of them where an argument is an array.

    References:
      The conditions of Schur and Jury for the 2 x 2 matrix of Eq. 1 of Castera et al., 2019; not in the paper.
    """
    small_enough = learning_rate * curvature < beta * curvature + alpha
    frequency = 2.0 * alpha + 2.0 * beta * curvature - learning_rate * curvature
    slow_enough = learning_rate * frequency < 4.0
    return (learning_rate > 0.0) & (curvature > 0.0) & small_enough & slow_enough


CARD = contract.Card(
    name="indian",
    make=indian,
    paper="Castera, Bolte, Fevotte and Pauwels, An Inertial Newton Algorithm for Deep Learning, 2019",
    example={"learning_rate": 0.3, "alpha": 0.5, "beta": 0.3},
    cost=contract.Cost(),
    state_copies=1.0,
)
