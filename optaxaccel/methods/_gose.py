r"""GOSE: any method, with one jump out of a saddle where the gradient has become small.

Yu, Zou and Gu, "Saving gradient and negative curvature computations: Finding local minima more efficiently", 2017.
`gose` goes around any transformation; `optaxaccel.methods._combined` builds it around two bases from numbers alone.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods._negative_curvature import Finder, as_finder, lanczos
from optaxaccel.methods._negative_curvature_descent import check_search, descend, no_descent
from optaxaccel.numerics import trees
from optaxaccel.numerics.settling import from_settled

__all__ = ["GoseState", "gose"]


class GoseState(NamedTuple):
    """State of `gose`, `gose_sgd` and `gose_agd`.

    Attributes:
      count: updates made, int32.
      notfinite_count: updates held still because the loss or the gradient was not finite, int32.
      num_searches: searches so far, int32.
      num_jumps: searches that ended in a jump, int32.
      eigenvalue: the lowest curvature that the last search found.
      gradient_mean: exponential mean of the gradients, without the correction of its bias, a tree like the parameters.
      base_state: state of the base.
    """

    count: jax.Array
    notfinite_count: jax.Array
    num_searches: jax.Array
    num_jumps: jax.Array
    eigenvalue: jax.Array
    gradient_mean: optax.Updates
    base_state: optax.OptState

    @property
    def hands_on(self) -> bool:
        """The base's updates are handed on; see `optaxaccel.eval_params`."""
        return True

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """How often curvature was searched and followed, and the lowest that the last search saw."""
        return {"searches": self.num_searches, "jumps": self.num_jumps, "eigenvalue": self.eigenvalue}

    @property
    def search_attempts(self) -> jax.Array:
        """How often the finder ran: once a search."""
        return self.num_searches


def gose(
    base: optax.GradientTransformation,
    *,
    gradient_threshold: optax.ScalarOrSchedule = 1e-3,
    check_every: int = 16,
    finder: Finder | str = lanczos(),
    step_size: optax.ScalarOrSchedule = 0.5,
    curvature_threshold: optax.ScalarOrSchedule = 1e-3,
    ema_decay: jax.typing.ArrayLike = 0.9,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Run a method, and jump once along negative curvature where the gradient is small (GOSE).

    Example:
      At the saddle of f(x, y) = x^2/2 - y^2/2 + y^4/4 the gradient is zero and gradient descent stays; GOSE jumps:

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> loss = lambda p: p[0]**2 / 2 - p[1]**2 / 2 + p[1]**4 / 4
      >>> tx = optaxaccel.gose(optax.sgd(0.5))
      >>> update = jax.jit(lambda g, s, p: tx.update(g, s, p, value_fn=loss))
      >>> saddle = jnp.zeros(2)
      >>> moved, state = update(jnp.zeros(2), tx.init(saddle), saddle)
      >>> [round(abs(float(u)), 3) for u in moved], round(float(state.eigenvalue), 5)
      ([0.0, 0.5], -1.0)

    Where the gradient is large, any method makes progress; where it is small there is a minimum or a saddle, and only
    the curvature tells. So the search for negative curvature, as dear as 30 gradients, is made only there, and one jump
    leads out of the region.

    .. math::

        m_t &= d\, m_{t-1} + (1 - d)\, g_t, \qquad \hat m_t = m_t / (1 - d^{t+1}), \\
        x_{t+1} &= \begin{cases}
          x_t - \eta\, \operatorname{sign}(v^T \nabla f(x_t))\, v
            & t \bmod n = 0,\ \lVert \hat m_t \rVert < \epsilon_g \text{ and } v^T \nabla^2 f(x_t)\, v < -\epsilon_H \\
          \text{the step of the base} & \text{otherwise}
        \end{cases}

    with g the incoming updates, d = `ema_decay`, n = `check_every`, :math:`\epsilon_g` = `gradient_threshold`,
    :math:`\epsilon_H` = `curvature_threshold`, :math:`\eta` = `step_size`, and v the unit vector that `finder` finds.
    The state of the base advances either way, and a base that knows how (`agd`, `nesterov`) restarts its sequences at
    the new point. Other bases may keep old iterates or velocities, which pull back for a while.

    Args:
      base: the transformation that makes the ordinary steps; it gets all extra arguments.
      gradient_threshold: norm of the mean gradient under which a search is made, >= 0, or a schedule; inf searches
        at every check. The published code has 1e-3.
      check_every: steps between two looks at that norm, an integer >= 1. The published code has 8.
      finder: `lanczos()`, `shifted_power()`, `neon2()`, or one of these names.
      step_size: length of the jump in units of the parameters, >= 0, or a schedule of it. The published code has 0.5.
      curvature_threshold: curvatures above minus this are taken for zero, >= 0, or a schedule of it.
      ema_decay: share of the old gradients in the mean, 0 <= d < 1. Minibatch gradients are rarely small; their mean
        over about 1/(1 - d) steps is, near a saddle.
      seed: of the finder's start and of the sign at exact saddles, an integer >= 0.

    Returns:
      A transformation whose `update` needs `params` and `value_fn`. A larger batch may be used to decide: pass its loss
      as `curvature_value_fn`, and its gradient takes the place of the mean, its Hessian is searched, and the jump must
      lower it.

    References:
      Yu, Zou and Gu, 2017, Algorithm 3; Xiao, "Accelerated optimization methods on convolutional neural networks",
      2019, section 4.

    Costs:
      A step without a search: no oracle call, two passes over the gradient (is it finite? and the mean), and one
      look at a number; every `check_every` steps one norm. A search: 16 products with the Hessian by default, one
      gradient, two losses. One copy of the parameters as state, besides the base's. The memory of the finder's vectors
      (16 times the parameters by default) is set aside by the compiled step whether it searches or not. Under
      `jax.vmap` every step pays for a search. On CPU a convolution's kernel gradient is 30 times slower in the search
      than outside, unless the layer brings a derivative of its own, as those of this package's models do.

    Deviations:
      * The published code looks at the gradient of eight further batches; the mean of the gradients at hand is free.
        The first step is looked at, as in the code.
      * The jump takes the place of the base's step, where the code makes both.
      * A jump also needs a residual below half of the estimate, and a loss that falls; `sign(0)` is a random +-1.
      * Under `jax.pmap` the gradient of a loss averaged by `pmean` is the device's own, so devices would search apart:
        see the documentation for a loss whose gradient is averaged too. `jit` over a mesh needs nothing.
    """
    contract.check_static(check_every=check_every, finder=finder, seed=seed)
    check_search(curvature_threshold, seed)
    contract.check_learning_rate(step_size, "step_size")
    contract.check_number(
        "gradient_threshold", gradient_threshold, "below it a search is made", at_least=0.0, unlimited=True
    )
    contract.check_count("check_every", check_every, "it is the number of steps between two checks")
    fixed = "the bias of the mean is corrected by its powers"
    contract.check_number(
        "ema_decay", ema_decay, "it is the share of the old gradients", at_least=0.0, below=1.0, fixed=fixed
    )
    finder = as_finder(finder)
    base = contract.base_of("gose", base)

    def init(params: optax.Params) -> GoseState:
        contract.check_params("gose", params)
        return GoseState(
            count=jnp.zeros((), jnp.int32),
            notfinite_count=jnp.zeros((), jnp.int32),
            num_searches=jnp.zeros((), jnp.int32),
            num_jumps=jnp.zeros((), jnp.int32),
            eigenvalue=jnp.zeros((), trees.accumulation_dtype()),
            gradient_mean=trees.zeros_like(params),
            base_state=base.init(params),
        )

    def update(updates, state, params: Any = None, *, value=None, grad=None, value_fn=None, **extra):
        contract.require_params("gose", params)
        curvature_value_fn = extra.pop("curvature_value_fn", None)
        loss = contract.bind_value_fn("gose", value_fn if curvature_value_fn is None else curvature_value_fn, extra)
        extras = contract.handed_on(extra, value=value, grad=grad, value_fn=value_fn)
        finite = contract.step_is_finite(updates, value)
        mean = _averaged(state.gradient_mean, updates, ema_decay, finite)

        threshold = contract.at_step(gradient_threshold, state.count)

        def gradient_is_small():
            if curvature_value_fn is not None:
                return trees.norm(jax.grad(loss)(params)) < threshold
            return trees.norm(mean) < threshold * (1.0 - ema_decay ** (state.count + 1.0))

        def search():
            key = jax.random.fold_in(jax.random.key(seed), state.count)
            length, flat = (contract.at_step(number, state.count) for number in (step_size, curvature_threshold))
            return descend(loss, params, key, finder, lambda _: length, flat, max_steps=1)

        due = finite & (state.count % check_every == 0)
        searches = jax.lax.cond(due, gradient_is_small, lambda: jnp.zeros((), bool))
        descent = jax.lax.cond(searches, search, lambda: no_descent(params))
        jumps = descent.num_jumps > 0

        def settled(base_state):
            # An injected float32 momentum turns optax.trace's bfloat16 buffer into float32; a state keeps its types.
            base_state = jax.tree.map(
                lambda new, old: new if new.dtype == old.dtype else new.astype(old.dtype), base_state, state.base_state
            )
            restarted = contract.restart(base_state, trees.add_scaled(params, 1.0, descent.displacement))
            return optax.tree.where(finite, _chosen(jumps, restarted, base_state), state.base_state)

        # Where the state is settled otherwise than the base left it, the base's move is not made.
        moved, base_state = from_settled(lambda: base.update(updates, state.base_state, params, **extras), settled)
        moved = optax.tree.where(jumps, descent.displacement, trees.cast_like(moved, params))
        return optax.tree.where(finite, moved, trees.zeros_like(params)), GoseState(
            count=jnp.where(finite, optax.safe_increment(state.count), state.count),
            notfinite_count=jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count)),
            num_searches=state.num_searches + searches.astype(jnp.int32),
            num_jumps=state.num_jumps + descent.num_jumps,
            eigenvalue=jnp.where(searches, descent.eigenvalue, state.eigenvalue),
            gradient_mean=mean,
            base_state=base_state,
        )

    return contract.transformation("gose", GoseState, init, update, sees_loss=True)


def _averaged(mean: optax.Updates, updates: optax.Updates, decay: Any, finite: jax.Array) -> optax.Updates:
    def leaf(m, g):
        return jnp.where(finite, (decay * m + (1.0 - decay) * g).astype(m.dtype), m)

    return jax.tree.map(leaf, mean, updates)


def _chosen(jumps: jax.Array, restarted: optax.OptState, state: optax.OptState) -> optax.OptState:
    """Return the restarted leaves after a jump; those that no restart touched need no choice."""
    return jax.tree.map(lambda r, s: s if r is s else jnp.where(jumps, r, s), restarted, state)
