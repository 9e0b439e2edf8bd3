r"""AGD: accelerated gradient descent as two sequences, and the regulariser of almost-convex AGD.

Xiao, "Accelerated Optimization Methods on Convolutional Neural Networks", 2019, section 4. `agd` is its function
Accelerated-gradient-descent with constant momentum; with `strongly_convex_momentum` it is the form of Carmon, Duchi,
Hinder and Sidford in the condition number. `add_proximal_term` is the change of objective of Almost-convex-AGD.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import trees

__all__ = ["AgdState", "ProximalTermState", "add_proximal_term", "agd", "strongly_convex_momentum"]


class AgdState(NamedTuple):
    """State of `agd`.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      lead: x - y, by how much the parameters are ahead of the sequence y; zero restarts the momentum.
    """

    count: jax.Array
    notfinite_count: jax.Array
    lead: optax.Updates

    def eval_params(self, params: optax.Params) -> optax.Params:
        """Return y, which belongs to the parameters x."""
        return jax.tree.map(lambda x, d: x - d, params, self.lead)

    def restart(self, params: optax.Params) -> "AgdState":
        """Return the state with y at the parameters: the next step is one of gradient descent."""
        del params
        return self._replace(lead=trees.zeros_like(self.lead))


def agd(
    learning_rate: optax.ScalarOrSchedule, *, momentum: optax.ScalarOrSchedule = 0.9
) -> optax.GradientTransformationExtraArgs:
    r"""Take gradients ahead of where gradient descent stands (Nesterov's acceleration, AGD).

    Example:
      f(w) = w^2/2 from w = 1 with both numbers 1/2: y goes to 1/2, x to 1/2 + (1/2 - 1)/2:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.agd(0.5, momentum=0.5)
      >>> w = jnp.array(1.0)
      >>> update, state = tx.update(w, tx.init(w), w)
      >>> w = w + update
      >>> float(w), float(optaxaccel.eval_params(state, w))
      (0.25, 0.5)

    Two sequences: y makes the gradient steps, x runs ahead of y in the direction of its last move, and the next
    gradient is taken there. On a convex loss that is faster than gradient descent and less prone to overshoot than a
    heavy ball, because the gradient already sees where the momentum leads.

    .. math::

        y_{k+1} &= x_k - \gamma_k g_k, \qquad y_0 = x_0, \\
        x_{k+1} &= y_{k+1} + \beta_k (y_{k+1} - y_k)

    with :math:`\gamma` = `learning_rate`, :math:`\beta` = `momentum` and the incoming updates
    :math:`g_k = \nabla f(x_k)`. `params` is x; `optaxaccel.eval_params(state, params)` is y, the sequence for which
    rates are proved.

    Args:
      learning_rate: step :math:`\gamma`, >= 0, or a schedule of it. 1/L for a loss of curvature at most L.
      momentum: :math:`\beta`, from 0 (gradient descent) to under 1, or a schedule of it. The paper leaves it to tuning;
        0.9 is the usual value. `strongly_convex_momentum` gives the one that theory asks for.

    Returns:
      A transformation whose `update` needs the gradient only.

    References:
      Xiao, "Accelerated Optimization Methods on Convolutional Neural Networks", 2019, section 4, sixth and seventh
      display (Accelerated-gradient-descent with gamma, beta, T). Carmon, Duchi, Hinder and Sidford, "Accelerated
      methods for nonconvex optimization", 2018, section 2.1.

    Costs:
      No oracle call beyond the gradient handed in; one copy of the parameters as state. An update takes as long as that
      of SGD with Nesterov momentum.

    Deviations:
      * The state is the lead d = x - y instead of y: :math:`d' = \beta (d - \gamma g)` and :math:`x' = x + d' - \gamma
        g` are the same two sequences for all schedules of both numbers, and y = x - d. Parameters that someone else
        moves take y along.
      * A step whose `value`, if given, is not finite moves nothing and stores nothing but `notfinite_count` + 1. The
        gradient is not looked at: that pass costs about a third of an update. `optax.apply_if_finite` adds it.
      * The paper's stopping rule (a small gradient) is left to the loop.

    Notes:
      For a constant learning rate x is what `optax.sgd(learning_rate, momentum, nesterov=True)` makes. Where the
      learning rate changes they differ: a library's momentum sums gradients, this one remembers a move.
    """
    contract.check_learning_rate(learning_rate)
    contract.check_number("momentum", momentum, "it is the share of the last move repeated", at_least=0.0, below=1.0)

    def init(params: optax.Params) -> AgdState:
        contract.check_params("agd", params)
        return AgdState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), trees.zeros_like(params))

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del params, grad, value_fn, extra
        finite = contract.loss_is_finite(value)
        gamma, beta = (contract.at_step(number, state.count) for number in (learning_rate, momentum))
        updates, lead = step_ahead(updates, state.lead, gamma, beta, finite)
        count = jnp.where(finite, optax.safe_increment(state.count), state.count)
        notfinite = jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count))
        return updates, AgdState(count, notfinite, lead)

    return contract.transformation("agd", AgdState, init, update)


def step_ahead(
    grads: optax.Updates,
    lead: optax.Updates,
    gamma: jax.typing.ArrayLike,
    beta: jax.typing.ArrayLike,
    finite: jax.typing.ArrayLike = True,
) -> tuple[optax.Updates, optax.Updates]:
    r"""Return the update of x and the new lead of x over y.

    The update is computed from the new lead, and gamma g occurs once: XLA would share it, and copies a donated buffer
    whose old value has two readers.

    Args:
      grads: the gradient at x.
      lead: d = x - y.
      gamma: step size.
      beta: share of the move of y by which x runs ahead.
      finite: False holds everything still.

    Returns:
      :math:`d' - \gamma g` and :math:`d' = \beta (d - \gamma g)`, in the dtypes of `lead`.
    """
    lead = ahead(grads, lead, gamma, beta, finite)
    return move_ahead(grads, lead, gamma, finite), lead


def ahead(
    grads: optax.Updates,
    lead: optax.Updates,
    gamma: jax.typing.ArrayLike,
    beta: jax.typing.ArrayLike,
    finite: jax.typing.ArrayLike,
) -> optax.Updates:
    """Return the new lead; for the arguments see `step_ahead`."""
    both = beta * gamma
    return jax.tree.map(lambda d, g: jnp.where(finite, beta * d - both * g, d).astype(d.dtype), lead, grads)


def move_ahead(
    grads: optax.Updates, lead: optax.Updates, gamma: jax.typing.ArrayLike, finite: jax.typing.ArrayLike
) -> optax.Updates:
    """Return the update of x, given the new lead; for the arguments see `step_ahead`."""
    return jax.tree.map(lambda d, g: jnp.where(finite, d - gamma * g, 0.0).astype(d.dtype), lead, grads)


def strongly_convex_momentum(smoothness: float | jax.Array, strong_convexity: float | jax.Array) -> float | jax.Array:
    r"""Return the momentum that theory asks for on a strongly convex loss, :math:`(\sqrt\kappa-1)/(\sqrt\kappa+1)`.

    Example:
      >>> import optaxaccel
      >>> optaxaccel.strongly_convex_momentum(9.0, 1.0)
      0.5

    Here :math:`\kappa = L_1 / \sigma_1` is the condition number. `agd(1 / L1, momentum=strongly_convex_momentum(L1,
    sigma1))` is the paper's first form of Accelerated-gradient-descent.

    Args:
      smoothness: :math:`L_1`, the largest curvature, > 0.
      strong_convexity: :math:`\sigma_1`, the smallest curvature, > 0 and at most `smoothness`.

    Returns:
      The momentum, in [0, 1).

    References:
      Xiao, 2019, section 4, first display; Carmon et al., 2018, section 2.1.

    Deviations:
      The paper prints y from z_1 and the gradient at x_j; both must read z_j, as in Carmon et al.
    """
    contract.check_number(
        "smoothness", smoothness, "it is the largest curvature", above=0.0, fixed="the result is one number"
    )
    limit = float(smoothness) if contract.is_number(smoothness) else float("inf")
    why = "it is the smallest curvature, which is positive and at most smoothness"
    contract.check_number(
        "strong_convexity", strong_convexity, why, above=0.0, at_most=limit, fixed="the result is one number"
    )
    root = (smoothness / strong_convexity) ** 0.5
    return (root - 1.0) / (root + 1.0)


class ProximalTermState(NamedTuple):
    """State of `add_proximal_term`.

    Attributes:
      count: steps made, int32.
      anchor: the point that the parameters are pulled to.
    """

    count: jax.Array
    anchor: optax.Params


def add_proximal_term(weight: optax.ScalarOrSchedule, *, recenter_every: int) -> optax.GradientTransformationExtraArgs:
    r"""Add the gradient of :math:`w \lVert x - a \rVert^2`, which makes an almost convex loss convex around a.

    Example:
      The first step anchors at w = 1, so its gradient passes; at w = 3 the term is 2 * 0.5 * (3 - 1):

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.add_proximal_term(0.5, recenter_every=10)
      >>> first, state = tx.update(jnp.array(7.0), tx.init(jnp.array(1.0)), jnp.array(1.0))
      >>> second, state = tx.update(jnp.array(7.0), state, jnp.array(3.0))
      >>> float(first), float(second)
      (7.0, 9.0)

    A loss whose curvature is nowhere under -2w becomes convex with this term, and AGD's theory holds for the sum. Its
    minimum is not that of the loss, so the anchor a follows the parameters from time to time.

    .. math::

        g_k &\to g_k + 2 w (x_k - a_k), \\
        a_k &= x_k \text{ if } k \bmod T = 0, \text{ else } a_{k-1}

    with w = `weight`, T = `recenter_every`, and k the 0-based step.

    Args:
      weight: w, >= 0, in units of curvature, or a schedule of it. The paper calls it gamma, as it does the step size.
      recenter_every: T, steps from one anchor to the next, >= 1; the length of a round in `ancm`.

    Returns:
      A transformation for the front of a chain, which needs `params`:
      `optax.chain(add_proximal_term(0.1, recenter_every=100), agd(0.01))`.

    References:
      Xiao, 2019, section 4, Almost-convex-AGD; Carmon et al., 2018, section 2.2.

    Costs:
      One copy of the parameters as state, one pass over it.

    Deviations:
      * The paper prints the gradient of the term without the factor 2, and then leaves the term out: its
        Almost-convex-AGD is plain AGD. Here the term stays, with the factor.
      * A `value` that is not finite leaves the anchor and the count alone.
    """
    contract.check_number("weight", weight, "a negative term pushes away", at_least=0.0, below=float("inf"))
    contract.check_count("recenter_every", recenter_every, "the anchor moves after so many steps")

    def init(params: optax.Params) -> ProximalTermState:
        contract.check_params("add_proximal_term", params)
        return ProximalTermState(jnp.zeros((), jnp.int32), trees.fresh_copy(params))

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del grad, value_fn, extra
        contract.require_params("add_proximal_term", params)
        finite = contract.loss_is_finite(value)
        recenter = jnp.logical_and(finite, state.count % recenter_every == 0)
        anchor = optax.tree.where(recenter, params, state.anchor)
        pull = contract.at_step(weight, state.count)
        away = jax.tree.map(trees.difference, params, anchor)
        updates = jax.tree.map(lambda g, d: (g + 2.0 * pull * d).astype(g.dtype), updates, away)
        return updates, ProximalTermState(jnp.where(finite, optax.safe_increment(state.count), state.count), anchor)

    return contract.transformation("add_proximal_term", ProximalTermState, init, update)


CARD = contract.Card(
    name="agd",
    make=agd,
    paper="Xiao, Accelerated Optimization Methods on Convolutional Neural Networks, 2019",
    example={"learning_rate": 0.1, "momentum": 0.9},
    cost=contract.Cost(),
    state_copies=1.0,
)
