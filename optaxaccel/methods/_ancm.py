r"""ANCM: rounds of accelerated gradient steps, each begun by negative curvature descent.

Carmon, Duchi, Hinder and Sidford, "Accelerated methods for nonconvex optimization", 2018, in the form of Xiao,
"Accelerated optimization methods on convolutional neural networks", 2019, section 4.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods._agd import ahead, move_ahead
from optaxaccel.methods._negative_curvature import Finder, as_finder, lanczos
from optaxaccel.methods._negative_curvature_descent import (
    DIAGNOSTICS,
    NO_REVERSE,
    check_search,
    descend,
    no_descent,
)
from optaxaccel.numerics import trees
from optaxaccel.numerics.branching import forward_only

__all__ = ["AncmState", "ancm"]


class AncmState(NamedTuple):
    r"""State of `ancm`.

    Attributes:
      count: updates made, int32.
      notfinite_count: updates held still because the loss or the gradient was not finite, int32.
      position: number of the accelerated step that comes next in this round, from 1; 0 where a round begins, int32.
      num_searches: updates in which curvature was searched, int32.
      num_jumps: jumps so far, int32.
      eigenvalue: the lowest curvature that the last search found.
      round_move: :math:`\lVert \hat x_k - x_{k+1} \rVert` of the last round that was finished; inf before.
      round_start: :math:`\hat x_k`, where the accelerated steps of this round began, a tree like the parameters.
      lead: x - y, by how much the parameters are ahead of the sequence y, as in `agd`.
      num_attempts: how often the finder ran, int32.
    """

    count: jax.Array
    notfinite_count: jax.Array
    position: jax.Array
    num_searches: jax.Array
    num_jumps: jax.Array
    eigenvalue: jax.Array
    round_move: jax.Array
    round_start: optax.Params
    lead: optax.Updates
    num_attempts: jax.Array

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """How often curvature was searched and followed, what the last search saw, and the last round."""
        return {
            "searches": self.num_searches,
            "jumps": self.num_jumps,
            "eigenvalue": self.eigenvalue,
            "round_move": self.round_move,
        }

    @property
    def search_attempts(self) -> jax.Array:
        """How often the finder ran: once a search, and again after each jump but the last one allowed."""
        return self.num_attempts

    def eval_params(self, params: optax.Params) -> optax.Params:
        """Return y, which belongs to the parameters x."""
        return jax.tree.map(lambda x, d: x - d, params, self.lead)


def ancm(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: optax.ScalarOrSchedule = 0.9,
    period: int = 100,
    ncd_max_steps: int = 5,
    finder: Finder | str = lanczos(),
    step_size: optax.ScalarOrSchedule = 0.5,
    curvature_threshold: optax.ScalarOrSchedule = 1e-3,
    gradient_threshold: optax.ScalarOrSchedule | None = None,
    proximal_weight: optax.ScalarOrSchedule = 0.0,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Alternate negative curvature descent and accelerated gradient descent (ANCM).

    Example:
      The first update makes two jumps of 1/2 from the saddle of f(x, y) = x^2/2 - y^2/2 + y^4/4 to one of its minima:

      >>> import jax, jax.numpy as jnp, optaxaccel
      >>> loss = lambda p: p[0]**2 / 2 - p[1]**2 / 2 + p[1]**4 / 4
      >>> tx = optaxaccel.ancm(0.1)
      >>> update = jax.jit(lambda g, s, p: tx.update(g, s, p, value_fn=loss))
      >>> saddle = jnp.zeros(2)
      >>> moved, state = update(jnp.zeros(2), tx.init(saddle), saddle)
      >>> [round(abs(float(u)), 3) for u in moved], int(state.num_jumps)
      ([0.0, 1.0], 2)

    Where a function curves downwards nowhere too much, it is almost convex, and accelerated descent works as on a
    convex one. So each round first jumps along negative curvature until there is none, then makes `period` accelerated
    steps from the point reached:

    .. math::

        \hat x_k &= \text{negative curvature descent from } x_k, \qquad x^{(0)} = y^{(0)} = \hat x_k, \\
        y^{(j+1)} &= x^{(j)} - \gamma \left(\nabla f(x^{(j)}) + 2 w (x^{(j)} - \hat x_k)\right), \qquad
        x^{(j+1)} = y^{(j+1)} + \beta\, (y^{(j+1)} - y^{(j)}), \\
        x_{k+1} &= x^{(T)}

    with :math:`\gamma` = `learning_rate`, :math:`\beta` = `momentum`, T = `period`, w = `proximal_weight`. The jumps of
    a round are one update; if there is none, that update is the first accelerated step. `params` is x,
    `eval_params` gives y.

    Args:
      learning_rate: step of the accelerated method, >= 0, or a schedule of it over all updates.
      momentum: its momentum, 0 to 1, or a schedule of it. 0.9 in the paper.
      period: accelerated steps in a round, an integer >= 1.
      ncd_max_steps: jumps in a round at most, an integer >= 1.
      finder: `lanczos()`, `shifted_power()`, `neon2()`, or one of these names.
      step_size: length of a jump in units of the parameters, >= 0, or a schedule of it. The published code has 0.5.
      curvature_threshold: curvatures above minus this are taken for zero, >= 0, or a schedule of it.
      gradient_threshold: search only where the norm of the gradient at the beginning of a round is below this, or below
        a schedule of it; always by default. The published code has 1e-3, for the mean gradient of eight batches.
      proximal_weight: weight w of the term :math:`w \lVert x - \hat x_k \rVert^2` that makes an almost convex loss
        convex, >= 0, or a schedule of it. The paper has it in its theory and drops it.
      seed: of the finder's start and of the sign at exact saddles, an integer >= 0.

    Returns:
      A transformation whose `update` needs `params` and `value_fn`. The paper stops when the state's `round_move` is
      small.

    References:
      Xiao, 2019, section 4 (Accelerated-non-convex-method), after Carmon, Duchi, Hinder and Sidford, SIAM J. Optim.
      28(2), 2018.

    Costs:
      Once a round, a search: 16 products with the Hessian by default, a gradient, two losses, and as much again after
      each jump. Two copies of the parameters as state. The memory of the finder's vectors (16 times the parameters by
      default) is set aside by the compiled step whether it searches or not. Under `jax.vmap` every step pays for a
      search. On CPU a convolution's kernel gradient is 30 times slower in the search than outside, unless the layer
      brings a derivative of its own, as those of this package's models do.

    Deviations:
      * Each round starts its momentum afresh, jumps or not, as the paper's pseudo-code does (y_0 = x_0); its code lets
        the momentum run on, and looks for negative curvature before every step where the gradient is small.
      * A jump also needs a residual below half of the estimate, and a loss that falls; `sign(0)` is a random +-1.
      * The loss of one update is that of its minibatch: the jumps of a round see one batch.
      * The run does not stop itself; `round_move` tells the loop.
    """
    contract.check_static(period=period, ncd_max_steps=ncd_max_steps, finder=finder, seed=seed)
    check_search(curvature_threshold, seed)
    contract.check_learning_rate(learning_rate)
    contract.check_number("momentum", momentum, "it is the share of the last move repeated", at_least=0.0, below=1.0)
    contract.check_learning_rate(step_size, "step_size")
    contract.check_count("period", period, "it is the number of accelerated steps in a round")
    contract.check_count("ncd_max_steps", ncd_max_steps, "it is the number of jumps in a round")
    contract.check_number("proximal_weight", proximal_weight, "it pulls back to the round's start", at_least=0.0)
    if gradient_threshold is not None:
        contract.check_number(
            "gradient_threshold", gradient_threshold, "below it a search is made", at_least=0.0, unlimited=True
        )
    finder = as_finder(finder)

    def init(params: optax.Params) -> AncmState:
        contract.check_params("ancm", params)
        dtype = trees.accumulation_dtype()
        return AncmState(
            count=jnp.zeros((), jnp.int32),
            notfinite_count=jnp.zeros((), jnp.int32),
            position=jnp.zeros((), jnp.int32),
            num_searches=jnp.zeros((), jnp.int32),
            num_jumps=jnp.zeros((), jnp.int32),
            num_attempts=jnp.zeros((), jnp.int32),
            eigenvalue=jnp.zeros((), dtype),
            round_move=jnp.full((), jnp.inf, dtype),
            round_start=trees.fresh_copy(params),
            lead=trees.zeros_like(params),
        )

    def update(updates, state, params: Any = None, *, value=None, grad=None, value_fn=None, **extra):
        del grad
        contract.require_params("ancm", params)
        loss = contract.bind_value_fn("ancm", value_fn, extra)
        finite = contract.step_is_finite(updates, value)

        begins = finite & (state.position == 0)
        searches = begins
        if gradient_threshold is not None:
            searches &= trees.norm(updates) < contract.at_step(gradient_threshold, state.count)

        def search():
            key = jax.random.fold_in(jax.random.key(seed), state.count)
            length, flat = (contract.at_step(number, state.count) for number in (step_size, curvature_threshold))
            return descend(loss, params, key, finder, lambda _: length, flat, ncd_max_steps)

        def begin_round(carry):
            # That the search hangs on what the loop carries keeps the compiler from making it before the loop.
            descent = jax.lax.cond(searches & carry[0], search, lambda: no_descent(params))
            # x_hat is the point after the jumps, or the present one; y starts there.
            x_hat = trees.add_scaled(params, 1.0, descent.displacement)
            return ~carry[0], descent._replace(displacement=x_hat)

        # A loop of no or one round leaves the old start where it is; a branch would copy it.
        none_yet = no_descent(params)._replace(displacement=state.round_start)
        descent = jax.lax.while_loop(lambda carry: carry[0], begin_round, (begins, none_yet))[1]
        descent = forward_only(descent, NO_REVERSE)
        round_start, jumps = descent.displacement, descent.num_jumps > 0
        lead = optax.tree.where(begins, trees.zeros_like(state.lead), state.lead)
        gamma, beta, weight = (
            contract.at_step(number, state.count) for number in (learning_rate, momentum, proximal_weight)
        )
        goes = finite & ~jumps
        lead = ahead(_pulled(updates, params, round_start, weight), lead, gamma, beta, goes)

        def move(jumps):
            def leaf(u, p, start):
                return jnp.where(jumps, trees.difference(start, p), u.astype(p.dtype))

            moved = move_ahead(_pulled(updates, params, round_start, weight), lead, gamma, goes)
            return jax.tree.map(leaf, moved, params, round_start)

        steps_made = jnp.where(begins, 1 - jumps.astype(jnp.int32), state.position)
        ends = finite & (steps_made == period)
        # The branch makes the move anew, so that none is written for it in all other steps; and since the parameters
        # are overwritten by what reads them last, the move that is returned waits for the branch.
        round_move = jax.lax.cond(ends, lambda: _distance(params, move(jumps), round_start), lambda: state.round_move)
        moved = move(jumps & ~(round_move < 0))
        position = jnp.where(ends, 0, steps_made + 1)
        return moved, AncmState(
            count=jnp.where(finite, optax.safe_increment(state.count), state.count),
            notfinite_count=jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count)),
            position=jnp.where(finite, position, state.position),
            num_searches=state.num_searches + searches.astype(jnp.int32),
            num_jumps=state.num_jumps + descent.num_jumps,
            num_attempts=state.num_attempts + descent.num_attempts,
            eigenvalue=jnp.where(searches, descent.eigenvalue, state.eigenvalue),
            round_move=round_move,
            round_start=round_start,
            lead=lead,
        )

    return contract.transformation("ancm", AncmState, init, update, sees_loss=True)


def _pulled(updates: optax.Updates, params: optax.Params, centre: optax.Params, weight: Any) -> optax.Updates:
    """Add the gradient of weight ||params - centre||^2."""
    if contract.is_number(weight) and weight == 0:
        return updates
    away = jax.tree.map(trees.difference, params, centre)
    return jax.tree.map(lambda g, d: (g + 2.0 * weight * d).astype(g.dtype), updates, away)


def _distance(params: optax.Params, moved: optax.Updates, start: optax.Params) -> jax.Array:
    return trees.norm(jax.tree.map(lambda p, u, s: trees.difference(p + u, s), params, moved, start))


CARD = contract.Card(
    name="ancm",
    make=ancm,
    paper="Carmon, Duchi, Hinder and Sidford 2018; Xiao 2019",
    example={"learning_rate": 0.2, "momentum": 0.5},
    cost=contract.Cost(values=0.01, grads=0.01, hvps=0.16),  # a search a round that finds nothing
    counts_attempts=True,
    diagnostics={**DIAGNOSTICS, "round_move": "how far the last finished round moved"},
    state_copies=2.0,
    static_args=("period", "ncd_max_steps", "finder", "seed"),
)
