r"""Alternating Anderson acceleration of type II, halved where it overshoots and never against the plain step.

Anderson, "Iterative Procedures for Nonlinear Integral Equations", J. ACM 12, 1965; alternating with plain steps after
Banerjee, Suryanarayana and Pask, "Periodic Pulay method", Chem. Phys. Lett. 647, 2016.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.numerics import differences, loops, ring, sums, trees
from optaxaccel.solvers.batched_loops import anybody, largest
from optaxaccel.solvers.domain import HALVINGS, Domain, halfway
from optaxaccel.solvers.evaluation import Evaluation, Products
from optaxaccel.solvers.outcome import FixedPointStatus

RINGS = ("images", "moves", "gram")  # fields that a turn leaves alone whose point is not taken
EVERY = 2  # plain steps and extrapolations take turns
GROWTH = 10.0  # an extrapolation may raise the residual by this factor


class AndersonSteps(NamedTuple):
    """State of `anderson_update`.

    Attributes:
      point: x, the last point taken.
      image: F(x).
      residual: |F(x) - x|, a scalar; infinite before the first evaluation.
      status: int32, a `FixedPointStatus`; RUNNING until converged or not finite.
      turns: points taken, int32.
      pairs: differences that entered the ring since it was last emptied, int32; the next goes to `pairs % history`.
      images: ring of differences of successive F(x), a tree with a leading axis of `history` slots.
      moves: ring of differences of successive F(x) - x, likewise.
      gram: products of `moves`, (history, history).
      jump: whether the point handed out is an extrapolation.
      halved: how often it was halved, int32.
      rejected: extrapolations taken back, int32.
      backward: extrapolations against the plain step, not tried, int32.
    """

    point: Any
    image: Any
    residual: jax.Array
    status: jax.Array
    turns: jax.Array
    pairs: jax.Array
    images: Any
    moves: Any
    gram: jax.Array
    jump: jax.Array
    halved: jax.Array
    rejected: jax.Array
    backward: jax.Array


def _zero() -> jax.Array:
    """Return a fresh zero: leaves of a state share no buffer, so that it can be donated."""
    return jnp.zeros((), jnp.int32)


def start(x0: trees.Tree, history: int) -> AndersonSteps:
    """Return the state before the first evaluation."""
    dtype = trees.accumulation_dtype()
    return AndersonSteps(
        point=trees.fresh_copy(x0),
        image=trees.fresh_copy(x0),
        residual=jnp.full((), jnp.inf, dtype),
        status=jnp.full((), FixedPointStatus.RUNNING.value, jnp.int32),
        turns=_zero(),
        pairs=_zero(),
        images=ring.stack_zeros(x0, history),
        moves=ring.stack_zeros(x0, history),
        gram=jnp.zeros((history, history), dtype),
        jump=jnp.zeros((), bool),
        halved=_zero(),
        rejected=_zero(),
        backward=_zero(),
    )


def step(
    evaluation: Evaluation, state: AndersonSteps, domain: Domain, products: Products, *, in_loop: bool = False
) -> tuple[trees.Tree, AndersonSteps]:
    """Make one turn: judge the point just evaluated, and return the next one to evaluate.

    In a loop of no known length, which has no derivative in reverse mode, that of the weights is as short as it can be.
    """
    history = state.gram.shape[0]
    c, y, q = evaluation.point, evaluation.image, evaluation.move
    within = evaluation.converged | (evaluation.residual <= GROWTH * state.residual)
    taken = evaluation.finite & (~state.jump | within)
    push = taken & (state.turns > 0)

    # The rings are written first and only read afterwards, so that a loop keeps them in place.
    slot = state.pairs % history
    change = jax.tree.map(lambda q, y, x: q - (y - x), q, state.image, state.point)
    moves = ring.write(state.moves, slot, change, when=push)
    images = ring.write(state.images, slot, jax.tree.map(jnp.subtract, y, state.image), when=push)
    gram = differences.enter(state.gram, slot, products.stack(moves, change), when=push)

    turns, pairs = state.turns + taken, state.pairs + push
    point = optax.tree.where(taken, c, state.point)
    image = optax.tree.where(taken, y, state.image)
    due = taken & ~evaluation.converged & (turns % EVERY == 0) & (pairs > 0)

    number_filled = largest(pairs) if in_loop else None

    def extrapolate():
        along = products.stack(moves, q)
        gamma = differences.weights(gram, along, jnp.arange(history) < pairs, slot, number_filled)
        total = sums.combine(images, gamma, history)
        ahead = jax.tree.map(jnp.subtract, y, total)
        ahead, allowed, cuts = domain.enter(ahead, c, due)
        agreement = products.dot(jax.tree.map(jnp.subtract, ahead, c), q)
        return ahead, (agreement > 0) & (agreement < jnp.inf), allowed, cuts

    def stay():
        return y, jnp.array(False), jnp.array(True), jnp.zeros((), jnp.int32)

    # A batch in step skips the weights where nobody is due; a predicate of each member would compute both branches.
    ahead, forward, allowed, cuts = loops.cond(anybody(due), extrapolate, stay)
    forward, cuts = due & forward, jnp.where(due, cuts, 0)
    halved = jnp.where(taken, 0, state.halved + 1)
    again = ~taken & state.jump & (halved <= HALVINGS)
    shorter, inside, more = domain.enter(halfway(c, state.point), state.point, again)
    jump = jnp.where(taken, forward & allowed, again & inside)
    following = optax.tree.where(jump, optax.tree.where(taken, ahead, shorter), image)
    against = due & ~forward
    back = jnp.where(taken, cuts * forward, (1 + more) * state.jump)
    return following, AndersonSteps(
        point=point,
        image=image,
        residual=jnp.where(taken, evaluation.residual, state.residual),
        status=evaluation.status(plain=~state.jump),
        turns=turns,
        pairs=jnp.where(against, 0, pairs),
        images=images,
        moves=moves,
        gram=gram,
        jump=jump,
        halved=halved,
        rejected=state.rejected + back,
        backward=state.backward + against,
    )
