r"""Anderson's acceleration: Interpolatron whose coefficients make the mean of the last gradients short.

Xie, Wang, Zhou and Zhang, "Interpolatron: Interpolation or Extrapolation Schemes to Accelerate Optimization for Deep
Neural Networks", 2018, Algorithm 2; after Anderson, "Iterative Procedures for Nonlinear Integral Equations", 1965.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel.methods import anderson_safeguard as guarding
from optaxaccel.methods import contract
from optaxaccel.methods._interpolatron import mixed_step
from optaxaccel.numerics import gram_weights, ring, sums, trees
from optaxaccel.numerics.boxes import without_boxes

__all__ = ["AndersonState", "anderson"]


class AndersonState(NamedTuple):
    """State of `anderson`: a ring of the last k pairs. Step `count` writes slot `count % k`.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss or the gradient was not finite, int32.
      coefficients: those of the last step, newest first, shape (k,); (1, 0, ...) before the first.
      squares: of the stored gradients, newest first, shape (k, k): `|g_i - g_j|^2`, and `|g_i|^2` on the diagonal.
      iterates: the parameters handed in, a tree like them with a leading axis of k slots, which no mesh axis splits.
      gradients: the updates handed in, likewise.
      guard: what the safeguard remembers: value, jump, halved, pairs, rejected, backward. None without one.
    """

    count: jax.Array
    notfinite_count: jax.Array
    coefficients: jax.Array
    squares: jax.Array
    iterates: optax.Params
    gradients: optax.Updates
    guard: Any = None  # an AndersonGuard

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """The coefficients, and what the safeguard did."""
        readings = {"coefficients": self.coefficients}
        if self.guard is not None:
            readings |= {"rejected": self.guard.rejected, "backward": self.guard.backward, "jumped": self.guard.jump}
        return readings


def anderson(
    learning_rate: optax.ScalarOrSchedule,
    *,
    history: int = 2,
    regularization: optax.ScalarOrSchedule = 1e-6,
    constraint: Literal["simplex"] | None = None,
    every: optax.ScalarOrSchedule = 1,
    safeguard: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Step from the mean of the last k iterates whose mean gradient is shortest, along that gradient.

    Example:
      In one dimension the second step is a secant step: the gradients 2 x - 2 at 0 and at 0.5 say where their mean
      vanishes, at 1. The coefficients extrapolate:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.anderson(0.25, regularization=0)
      >>> x = jnp.array(0.0)
      >>> state = tx.init(x)
      >>> for _ in range(2):
      ...     updates, state = tx.update(2.0 * x - 2.0, state, x)
      ...     x = x + updates
      >>> float(x), state.coefficients.tolist()
      (1.0, [2.0, -1.0])

    On a quadratic the mean of the gradients is the gradient at the mean of the points. So the coefficients that make it
    shortest pick, among all means of the last points, the one closest to the solution as the gradient sees it. They may
    be negative: where the loss is smooth and the gradients exact the method extrapolates, far. Noisy gradients of
    independent minibatches are nearly orthogonal and of one length, and it interpolates.

    .. math::

        \alpha^{(t)} &= \arg\min_{\sum_i \alpha_i = 1} \Big\| \sum_{i=1}^k \alpha_i g_{t-i} \Big\|^2
            + r \|G G^\top\|_2 \|\alpha\|^2, \\
        x_t &= \sum_{i=1}^k \alpha_i^{(t)} x_{t-i} - \beta_t \sum_{i=1}^k \alpha_i^{(t)} g_{t-i}

    with k = `history` (in step t < k only the t pairs there are), r = `regularization`, :math:`\beta_t` =
    `learning_rate`, :math:`x_{t-1}` the parameters and :math:`g_{t-1}` the updates handed in, and the k gradients as
    rows of :math:`G`. :math:`\alpha` is proportional to :math:`(G G^\top / \|G G^\top\|_2 + r I)^{-1} 1`. For k = 2 and
    r = 0 it is :math:`\alpha_1 = -g_{t-2} \cdot d / \|d\|^2` with :math:`d = g_{t-1} - g_{t-2}`.

    Args:
      learning_rate: step :math:`\beta`, >= 0, or a schedule of it. The paper takes 0.25 for ResNet-98 on CIFAR-10, as
        for SGD, and 0.1 elsewhere.
      history: k, the pairs kept, >= 1; at most 8 with a constraint. The paper uses 2. 1 is gradient descent.
      regularization: r, >= 0, relative to the largest eigenvalue of :math:`G G^\top`, or a schedule of it. The paper
        has none. Without one,
        nearly equal gradients give coefficients of any size; with it :math:`\|\alpha\| \le \sqrt{1 + 1/r}`, 1000.
      constraint: None, or "simplex" for the paper's interpolation scheme: coefficients >= 0. For k = 2 that clips
        :math:`\alpha_1` to [0, 1]; for larger k the constrained problem is solved exactly.
      every: steps from one mean to the next, >= 1; the steps between are plain gradient steps. The paper has 1; with
        exact gradients 2 takes fewer steps, since a plain step tells the next mean more than another mean does.
      safeguard: whether a mean whose loss is higher than the last point's is taken back: the step to it is halved up to
        three times, and then a gradient step is made from the last point. A mean that opposes the gradient step is not
        tried, and the pairs before it are dropped. Needs `value`; for losses without noise, such as full batches.

    Returns:
      A transformation whose `update` needs the gradient and the parameters. Its state shows the last `coefficients`.

    References:
      Xie, Wang, Zhou and Zhang, "Interpolatron: Interpolation or Extrapolation Schemes to Accelerate Optimization for
      Deep Neural Networks", 2018, Section 2 and Algorithm 2. Walker and Ni, "Anderson Acceleration for Fixed-Point
      Iterations", SIAM J. Numer. Anal. 49, 2011.

    Costs:
      No oracle call beyond the gradient handed in. 2 k copies of the parameters as state. An update makes one pass over
      the stored gradients, for their distances from the new one, and one over everything for the move. That moves
      3 k + 7 arrays through memory where SGD with momentum moves 5; measured on CPU it takes 3.0, 3.6 and 4.9 times as
      long for k = 2, 3 and 5.

    Deviations:
      * The paper prints :math:`[G^\top G]^{-1}` for gradients as rows; the k x k matrix meant is :math:`G G^\top`.
      * The ridge, and :math:`\alpha_1 = 1`, a step of gradient descent, where there are many minimisers to rounding:
        without a ridge, and gradients that are equal, zero or in a plane of fewer than k - 1 dimensions.
      * :math:`G G^\top` is not formed from inner products but solved for from the squared differences of the gradients,
        which float32 knows better where the gradients are nearly equal.
      * The paper draws the pairs before the first step at random; here the window grows.
      * The schedule of the learning rate sees 0 at the paper's t = 1.
      * The move is summed as :math:`\sum_i \alpha_i ((x_{t-i} - x_{t-1}) - \beta_t g_{t-i})`, in float32 at least.
      * `every` and `safeguard`, which the paper lacks. A mean whose loss is not finite is taken back, too.
      * A step whose `value` or gradient is not finite moves nothing and stores nothing but `notfinite_count` + 1. So
        does a gradient whose sum of squares overflows.

    Notes:
      * With exact gradients on a smooth loss :math:`\alpha_1 > 1`, so for k = 2 the constrained method is gradient
        descent. With minibatches :math:`\alpha_1` is about 1/2 and in [0, 1] nearly always, as the paper observes.
      * The unconstrained method is a secant method without a guarantee away from a minimum: for k = 2 it lets
        Rosenbrock's function rise a thousandfold and misses its minimum. A ridge of 1e-2, which bounds the coefficients
        by 10, tames it: the function then falls in every step.
    """
    contract.check_static(history=history, constraint=constraint)
    contract.check_learning_rate(learning_rate)
    if constraint is not None:
        contract.check_choice("constraint", constraint, ("simplex",))
    contract.check_count("history", history, "it is the number of pairs kept", at_most=8 if constraint else None)
    why = "it is added to the diagonal of the Gram matrix over its norm"
    contract.check_number("regularization", regularization, why, at_least=0.0, below=float("inf"))
    contract.check_number("every", every, "it is the number of steps from one mean to the next", at_least=1)
    if not isinstance(safeguard, bool):
        raise ValueError(
            f"safeguard={safeguard!r} is not True or False: it says whether a mean that raises the loss is taken back. "
            "Pass safeguard=True, and value=loss to update."
        )
    weigh = gram_weights.affine_weights if constraint is None else gram_weights.simplex_weights
    ages = np.arange(history, dtype=np.int32)

    def init(params: optax.Params) -> AndersonState:
        contract.check_params("anderson", params)
        dtype = trees.accumulation_dtype()
        return AndersonState(
            count=jnp.zeros((), jnp.int32),
            notfinite_count=jnp.zeros((), jnp.int32),
            coefficients=jnp.zeros(history, dtype).at[0].set(1.0),
            squares=jnp.zeros((history, history), dtype),
            iterates=ring.stack_zeros(params, history),
            gradients=ring.stack_zeros(params, history),
            guard=guarding.fresh(dtype) if safeguard else None,
        )

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del grad, value_fn, extra
        contract.require_params("anderson", params)
        count, guard = state.count, state.guard
        if safeguard:
            contract.require_extra("anderson(safeguard=True)", "value", value)
        gradient = jax.tree.map(lambda g, p: g.astype(p.dtype), updates, params)
        slots = ring.slot_of(count, ages, history)  # of the pairs, newest first
        distances = sums.square_distances(state.gradients, gradient, history)
        row = distances[slots].at[0].set(trees.vdot(gradient, gradient))
        squares = jnp.roll(state.squares, (1, 1), (0, 1)).at[0].set(row).at[:, 0].set(row)
        known = ages <= (count if guard is None else jnp.minimum(count, guard.pairs))
        coefficients = weigh(squares, known, contract.at_step(regularization, count))
        if not (isinstance(every, int) and every == 1):
            turn = contract.at_step(every, count)
            newest = jnp.zeros_like(coefficients).at[0].set(1.0)
            coefficients = jnp.where(count % turn == turn - 1, coefficients, newest)

        # The old ring was read. Whether it is overwritten depends on the outcome, so XLA does it afterwards, in place.
        finite = jnp.all(jnp.isfinite(row)) & contract.loss_is_finite(value)
        back = guarding.rises(guard, value, finite)
        finite = finite & ~back
        iterates = ring.write(state.iterates, slots[0], params, when=finite)
        gradients = ring.write(state.gradients, slots[0], gradient, when=finite)
        # Of pairs that there are not yet the weight is zero, but zero times a difference from infinity is not.
        there = jnp.where(known, slots, slots[0])
        older = [(there[age], there[age]) for age in range(1, history)]
        rate = contract.at_step(learning_rate, count)
        moves = mixed_step(params, gradient, iterates, gradients, coefficients, older, rate)

        def hold(new, old):
            return jnp.where(finite, new, old)

        if guard is not None:
            moves, coefficients, forward = guarding.turned_forward(moves, gradient, coefficients, rate)
        moves = jax.tree.map(lambda u: jnp.where(finite, u, jnp.zeros_like(u)), moves)
        if guard is not None:
            last = ring.slot_of(count, 1, history)
            base = ring.read(iterates, last), ring.read(gradients, last), contract.at_step(learning_rate, count - 1)
            moves = guarding.taken_back(moves, params, base, back, guard.halved)
            guard = guarding.remember(guard, value, coefficients, finite, back, forward)
        unknown = optax.safe_increment(state.notfinite_count)
        return moves, AndersonState(
            count=hold(optax.safe_increment(count), count),
            notfinite_count=jnp.where(finite | back, state.notfinite_count, unknown),
            coefficients=hold(coefficients, state.coefficients),
            squares=hold(squares, state.squares),
            iterates=iterates,
            gradients=gradients,
            guard=guard,
        )

    return without_boxes(contract.transformation("anderson", AndersonState, init, update))


CARD = contract.Card(
    name="anderson",
    make=anderson,
    paper="Xie, Wang, Zhou and Zhang, Interpolatron: Interpolation or Extrapolation Schemes, 2018",
    example={"learning_rate": 0.5, "history": 2, "regularization": 1e-2},
    state_copies=4.0,
    static_args=("history", "constraint", "safeguard"),
    diagnostics={
        "coefficients": "those of the last step, newest first",
        "rejected": "with a safeguard: extrapolations taken back so far",
        "backward": "with a safeguard: extrapolations not tried so far",
        "jumped": "with a safeguard: share of steps that extrapolated",
    },
)
