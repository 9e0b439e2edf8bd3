r"""Alternating cyclic extrapolation: squared extrapolations of order 3 and 2 in turn, without linear algebra.

Lepage-Saucier, "Alternating cyclic vector extrapolation technique for accelerating nonlinear optimization algorithms
and fixed-point mapping applications", J. Comput. Appl. Math. 439, 2024. In a cycle of order p from x, with the
residuals r_1, .., r_p of the plain steps, d = r_2 - r_1 and e = r_3 - 2 r_2 + r_1:

    p = 2: s = -|<d, r_1> / <d, d>|, next x - 2 s r_1 + s^2 d
    p = 3: s = -|<e, d> / <e, e>|,   next x - 3 s r_1 + 3 s^2 d - s^3 e

The map at the point extrapolated to is the next cycle's first, so a cycle costs p evaluations.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.numerics import trees
from optaxaccel.solvers.domain import Domain, halfway
from optaxaccel.solvers.evaluation import Evaluation, Products
from optaxaccel.solvers.outcome import FixedPointStatus

GROWTH = 100.0  # an extrapolation may raise the cycle's least residual by this factor
HALVINGS = 30


class AcxSteps(NamedTuple):
    """State of ACX: the base of the cycle, its residuals, and the cycle's best point."""

    residual: jax.Array
    status: jax.Array
    rejected: jax.Array
    backward: jax.Array
    order: jax.Array
    place: jax.Array
    jump: jax.Array
    halved: jax.Array
    least: jax.Array
    anchor: Any
    base: Any
    first: Any
    second: Any


def start(x0: trees.Tree) -> AcxSteps:
    """Return the state before the first evaluation."""
    none = jnp.zeros((), jnp.int32)
    far = jnp.full((), jnp.inf, trees.accumulation_dtype())
    running = jnp.full((), FixedPointStatus.RUNNING.value, jnp.int32)
    three, jump = jnp.full((), 3, jnp.int32), jnp.zeros((), bool)
    copies = [trees.fresh_copy(x0) for _ in range(4)]
    return AcxSteps(far, running, none, none, three, none, jump, none, far, *copies)


def step(evaluation: Evaluation, state: AcxSteps, domain: Domain, products: Products) -> tuple[trees.Tree, AcxSteps]:
    """Make one turn."""
    c, y, q = evaluation.point, evaluation.image, evaluation.move
    within = evaluation.converged | (evaluation.residual < GROWTH * state.least)
    taken = evaluation.finite & (~state.jump | within)
    begins = taken & (state.place == 0)
    base, first = optax.tree.where(begins, (c, q), (state.base, state.first))
    second = optax.tree.where(taken & (state.place == 1), q, state.second)
    better = begins | (taken & (evaluation.residual < state.least))
    anchor = optax.tree.where(better, c, state.anchor)
    least = jnp.where(better, evaluation.residual, state.least)

    place = state.place + taken
    due = taken & ~evaluation.converged & (place == state.order)
    ahead, known = _extrapolate(base, first, second, q, state.order, products)
    # A point taken back is halved towards the best point of the cycle; after the last halving that is evaluated anew.
    halved = jnp.where(taken, 0, state.halved + 1)
    again = ~taken & state.jump & (halved <= HALVINGS)
    leap = due & known
    target, allowed, cuts = domain.enter(optax.tree.where(taken, ahead, halfway(c, anchor)), anchor, leap | again)
    jump = (leap | again) & allowed
    following = optax.tree.where(jump, target, optax.tree.where(taken, y, anchor))
    back = jnp.where(taken, cuts, (1 + cuts) * state.jump)
    return following, AcxSteps(
        residual=jnp.where(taken, evaluation.residual, state.residual),
        status=evaluation.status(plain=~state.jump),
        rejected=state.rejected + back,
        backward=state.backward,
        order=jnp.where(due, 5 - state.order, state.order),
        place=jnp.where(due, 0, place),
        jump=jump,
        halved=halved,
        least=least,
        anchor=anchor,
        base=base,
        first=first,
        second=second,
    )


def _extrapolate(
    base: trees.Tree, first: trees.Tree, second: trees.Tree, last: trees.Tree, order: jax.Array, products: Products
) -> tuple[trees.Tree, jax.Array]:
    """Return the point that a finished cycle extrapolates to, and whether there is one."""
    cubic = order == 3
    change = jax.tree.map(lambda r2, q, r1: jnp.where(cubic, r2, q) - r1, second, last, first)
    bend = jax.tree.map(lambda q, r2, r1: jnp.where(cubic, q - 2 * r2 + r1, 0), last, second, first)
    leaves = [trees.vdot(change, first), trees.vdot(change, change), trees.vdot(bend, change), trees.vdot(bend, bend)]
    dr, dd, ed, ee = products.sum(jnp.stack(leaves))
    above, below = jnp.where(cubic, ed, dr), jnp.where(cubic, ee, dd)
    s = -jnp.abs(above / jnp.where(below > 0, below, 1))
    power1, power2, power3 = jnp.where(cubic, 3 * s, 2 * s), jnp.where(cubic, 3 * s**2, s**2), jnp.where(cubic, s**3, 0)

    def leaf(x, r, d, e):
        return (x - power1 * r + power2 * d - power3 * e).astype(x.dtype)

    return jax.tree.map(leaf, base, first, change, bend), (below > 0) & jnp.isfinite(power2) & jnp.isfinite(power3)
