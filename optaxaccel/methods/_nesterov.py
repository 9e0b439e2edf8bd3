r"""Nesterov's accelerated proximal gradient in the form with theta and gamma.

Vandenberghe's lecture notes ECE236C, as repeated by Xiao, "Accelerated Optimization Methods on Convolutional Neural
Networks", 2019, section 4. The momentum is not a hyperparameter but follows from the step sizes and the strong
convexity; a second, non-smooth part of the objective enters by its proximal map.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods._agd import step_ahead
from optaxaccel.numerics import compiler, trees

__all__ = ["NesterovState", "ProximalNesterovState", "nesterov"]

Prox = Callable[..., trees.Tree]  # prox(params, step_size)


class NesterovState(NamedTuple):
    """State of `nesterov` without `prox`.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      theta: the theta of the next step, a scalar.
      lead: y - x, by how much the parameters are ahead of the sequence x.
    """

    count: jax.Array
    notfinite_count: jax.Array
    theta: jax.Array
    lead: optax.Updates

    def eval_params(self, params: optax.Params) -> optax.Params:
        """Return x, which belongs to the parameters y."""
        return jax.tree.map(lambda y, d: y - d, params, self.lead)

    def restart(self, params: optax.Params) -> "NesterovState":
        """Return the state with x and v at the parameters; theta goes on, as any theta in (0, 1] may start."""
        del params
        return self._replace(lead=trees.zeros_like(self.lead))


class ProximalNesterovState(NamedTuple):
    """State of `nesterov` with `prox`.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      theta: the theta of the next step, a scalar.
      lead: y - x, by how much the parameters are ahead of the sequence x.
      eval_params: x itself, as `prox` returned it: its zeros are zeros.
    """

    count: jax.Array
    notfinite_count: jax.Array
    theta: jax.Array
    lead: optax.Updates
    eval_params: optax.Params

    def restart(self, params: optax.Params) -> "ProximalNesterovState":
        """Return the state with x and v at the parameters; theta goes on, as any theta in (0, 1] may start."""
        return self._replace(lead=trees.zeros_like(self.lead), eval_params=params)


def nesterov(
    learning_rate: optax.ScalarOrSchedule,
    *,
    strong_convexity: optax.ScalarOrSchedule = 0.0,
    theta0: float | jax.Array = 1.0,
    prox: Prox | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Accelerate (proximal) gradient descent with the momentum that its step sizes imply.

    Example:
      g(w) = (w - 2)^2/2 and `h(w) = |w|` have their minimum at 1, found in one step of size 1:

      >>> import jax.numpy as jnp, optaxaccel
      >>> threshold = lambda w, t: jnp.sign(w) * jnp.maximum(jnp.abs(w) - t, 0.0)
      >>> tx = optaxaccel.nesterov(1.0, prox=threshold)
      >>> w = jnp.array(0.0)
      >>> update, state = tx.update(w - 2.0, tx.init(w), w)
      >>> float(optaxaccel.eval_params(state, w + update))
      1.0

    The loss is g, smooth, plus h, simple: h is known by its proximal map, for instance a threshold for an l1 norm or a
    projection for a constraint. The gradient of g is taken at y, between the last iterate x and the end v of an
    overlong step; how far between is settled by a quadratic equation, so that rates 1/k^2 and, on strongly convex
    losses, (1 - sqrt(m t))^k hold.

    .. math::

        \gamma_k &= \theta_{k-1}^2 / t_{k-1}, \qquad
        \theta_k^2 / t_k = (1 - \theta_k) \gamma_k + m \theta_k, \quad \theta_k > 0, \\
        y_k &= x_k + \frac{\theta_k \gamma_k}{\gamma_k + m \theta_k} (v_k - x_k), \qquad y_0 = x_0, \\
        x_{k+1} &= \mathrm{prox}_{t_k h}(y_k - t_k \nabla g(y_k)), \qquad
        v_{k+1} = x_k + (x_{k+1} - x_k) / \theta_k

    with :math:`t` = `learning_rate`, m = `strong_convexity`, :math:`\theta_0` = `theta0` and the incoming updates
    :math:`\nabla g(y_k)`. `params` is y; `optaxaccel.eval_params(state, params)` is x. Implemented is the momentum form

    .. math::

        y_k = x_k + \beta_k (x_k - x_{k-1}), \qquad
        \beta_k = \frac{t_k \theta_{k-1} (1 - \theta_{k-1})}{t_{k-1} \theta_k + t_k \theta_{k-1}^2}

    Args:
      learning_rate: step :math:`t_k`, >= 0, or a schedule of it; at most 1/L for a gradient with Lipschitz constant L.
        A schedule is read at k and k + 1, because the look-ahead of a step needs the next step's size. An injected
        value stands for both. A step of size zero leaves theta alone, and no momentum enters or leaves it.
      strong_convexity: m, the smallest curvature of g, from 0 (the default, always right) to 1/t, or a
        schedule of it, which is read at k, as it acts from its step on: :math:`\theta_{k+1}` takes :math:`m_k`.
      theta0: :math:`\theta_0`, in (0, 1]. 1 starts without momentum. sqrt(m t) makes the momentum constant,
        `strongly_convex_momentum(1 / t, m)`.
      prox: `prox(params, step_size)` returns the minimiser of h(u) + ||u - params||^2 / (2 step_size), a tree like
        `params`. None is h = 0. With `optax.inject_hyperparams` name it in `static_args=("prox",)`.

    Returns:
      A transformation whose `update` needs the gradient, and with `prox` the parameters.

    References:
      Xiao, "Accelerated Optimization Methods on Convolutional Neural Networks", 2019, section 4, second to fifth
      display.

    Costs:
      No oracle call beyond the gradient handed in; one copy of the parameters as state, and an update takes as long as
      that of SGD with Nesterov momentum. With `prox` two copies, and about twice as long.

    Deviations:
      * The momentum form in place of v: the same iterates, with the lead y - x as state. With `prox`, x is kept as
        well: y minus the lead is x up to rounding only, and no longer sparse.
      * A step whose `value`, if given, is not finite moves nothing and stores nothing but `notfinite_count` + 1. The
        gradient is not looked at: that pass costs about a third of an update. `optax.apply_if_finite` adds it.
    """
    _check(learning_rate, strong_convexity, theta0, prox)

    def init(params: optax.Params) -> NesterovState | ProximalNesterovState:
        contract.check_params("nesterov", params)
        theta = jnp.array(theta0, trees.accumulation_dtype())
        counts = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        if prox is None:
            return NesterovState(*counts, theta, trees.zeros_like(params))
        return ProximalNesterovState(*counts, theta, trees.zeros_like(params), trees.fresh_copy(params))

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del grad, value_fn, extra
        finite = contract.loss_is_finite(value)
        t, t_next = (contract.at_step(learning_rate, count) for count in (state.count, state.count + 1))
        theta, beta = _next_theta(state.theta, t, t_next, contract.at_step(strong_convexity, state.count))
        count = jnp.where(finite, optax.safe_increment(state.count), state.count)
        notfinite = jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count))
        theta = jnp.where(finite, theta, state.theta).astype(state.theta.dtype)
        if prox is None:
            updates, lead = step_ahead(updates, state.lead, t, beta, finite)
            return updates, NesterovState(count, notfinite, theta, lead)
        contract.require_params("nesterov with prox", params)
        updates, lead, x = _proximal_step(prox, updates, state, params, t, beta, finite)
        return updates, ProximalNesterovState(count, notfinite, theta, lead, x)

    return contract.transformation("nesterov", (NesterovState, ProximalNesterovState), init, update)


def _check(learning_rate, strong_convexity, theta0, prox) -> None:
    contract.check_learning_rate(learning_rate)
    rate_known = contract.is_number(learning_rate) and learning_rate > 0
    limit = 1.0 / learning_rate if rate_known else float("inf")
    why = "it is the smallest curvature, >= 0 and at most 1/learning_rate"
    contract.check_number("strong_convexity", strong_convexity, why, at_least=0.0, at_most=limit)
    contract.check_number(
        "theta0", theta0, "it is a share of a step", above=0.0, at_most=1.0, fixed="it is of the first step"
    )
    if prox is not None and not callable(prox):
        raise ValueError(
            f"prox={prox!r} is not a function: it is the proximal map of the non-smooth part. "
            "Pass prox=lambda params, step_size: new_params, or prox=None."
        )


def _next_theta(theta, t, t_next, m):
    """Return theta_{k+1}, the positive root of its quadratic, and beta_{k+1}, from theta_k, t_k and t_{k+1}."""
    moving = jnp.logical_and(t > 0, t_next > 0)
    t, t_next = jnp.where(moving, t, 1.0), jnp.where(moving, t_next, 1.0)
    c = theta**2 * t_next / t
    b = c - m * t_next  # theta^2 + b theta - c = 0
    root = jnp.sqrt(b**2 + 4.0 * c)
    new = jnp.where(b > 0.0, 2.0 * c / (root + jnp.abs(b)), 0.5 * (root + jnp.abs(b)))  # neither of them cancels
    beta = t_next * theta * (1.0 - theta) / (t * new + t_next * theta**2)
    return jnp.where(moving, new, theta), jnp.where(moving, beta, 0.0)


def _proximal_step(prox, grads, state, params, t, beta, finite):
    """Return the update of y, the new lead and the new x; what is old is read by its own overwrite only."""
    finite = compiler.unforeseen(finite, state.theta)  # or a cheap x is computed again for the lead and the update
    there = prox(jax.tree.map(lambda y, g: (y - t * g).astype(y.dtype), params, grads), t)
    x = jax.tree.map(lambda new, old: jnp.where(finite, new, old).astype(old.dtype), there, state.eval_params)
    there, back = (jax.tree.map(trees.difference, *pair) for pair in ((x, params), (params, x)))
    lead = jax.tree.map(lambda d, s: jnp.where(finite, beta * d + beta * s, d).astype(d.dtype), state.lead, there)
    updates = jax.tree.map(lambda d, s: jnp.where(finite, d - s, 0.0).astype(d.dtype), lead, back)
    return updates, lead, x


CARD = contract.Card(
    name="nesterov",
    make=nesterov,
    paper="Xiao, Accelerated Optimization Methods on Convolutional Neural Networks, 2019, after Nesterov",
    example={"learning_rate": 0.5, "strong_convexity": 0.05},
    cost=contract.Cost(),
    state_copies=1.0,
    static_args=("prox",),
)
