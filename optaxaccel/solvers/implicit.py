r"""Derivatives of a fixed point by the implicit function theorem: dx = (I - J)^{-1} dF, with J = dF/dx at x = F(x).

The map is traced once; what it closes over becomes an argument, so that derivatives flow through closures. Nothing is
differentiated before somebody asks for it, so maps without a derivative can be solved, too (`lax.custom_root` traces
the derivative of every map). The linear equations, for tangents and transposed for cotangents, are solved by the same
method as the fixed point itself: u = J u + b.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from optaxaccel.numerics import loops, trees
from optaxaccel.solvers.batched_loops import anybody
from optaxaccel.solvers.domain import Domain
from optaxaccel.solvers.evaluation import Products
from optaxaccel.solvers.outcome import FixedPointStatus
from optaxaccel.solvers.turns import Limits, Rule, Solved, search

MAPS = 1000  # evaluations that linear equations have at least
LEAST = 1e-3  # tolerance of theirs that an absolute one of x can make, however small x is
NEAR = 100.0  # tolerances, beyond which a derivative is none


class Traced(NamedTuple):
    """A traced map without what it closes over; hashable."""

    jaxpr: Any
    structure: Any

    def __call__(self, constants: Any, x: Any) -> Any:
        """Return what the map returns."""
        flat = jaxpr_as_fun(ClosedJaxpr(self.jaxpr, constants))(*jax.tree.leaves(x))
        return jax.tree.unflatten(self.structure, flat)


def trace(fun: Callable[[Any], Any], x: Any) -> tuple[Traced, Any]:
    """Return a map and what it closes over, tracers among it."""
    closed, shapes = jax.make_jaxpr(fun, return_shape=True)(x)
    return Traced(closed.jaxpr, jax.tree.structure(shapes)), closed.consts


def fixed(
    traced: Traced, constants: Any, x0: Any, rule: Rule, limits: Limits, *, known: bool = True
) -> tuple[Any, Any, Solved]:
    """Return F(x), x and what `search` says of them, differentiable in the constants; not in x0.

    A search that converged ends with F(x) at hand; only of another point it is computed once more.

    Args:
      traced: F, with anything else that it returns: (F(x), aux).
      constants: what F closes over.
      x0: where to start.
      rule: the method.
      limits: tolerances and the number of maps.
      known: whether F(x) is asked for; otherwise it is some point.
    """

    def image(constants, x):
        return traced(constants, x)[0]

    @jax.custom_jvp
    def solved(constants, x0, limits):
        x, following, outcome = search(lambda x: image(constants, x), x0, rule, limits)
        if not known:
            return following, x, outcome
        at_hand = outcome.status == FixedPointStatus.CONVERGED.value

        def anew():
            return optax.tree.where(at_hand, following, image(constants, x))

        value = loops.cond(anybody(~at_hand), anew, lambda: following)
        return value, x, outcome

    @solved.defjvp
    def rule_of_implicit_functions(primals, tangents):
        constants, x0, limits = primals
        value, x, outcome = solved(constants, x0, limits)
        side = jax.jvp(lambda c: image(c, x), (constants,), (tangents[0],))[1]
        linear = jax.linearize(lambda x: image(constants, x), x)[1]
        # What `lax.custom_linear_solve` closes over has to vary over the mesh as what it solves for does.
        dx = _solve(linear, side, rule, loops.varying_as(_of_linear(limits, x, rule), side))
        dvalue = jax.tree.map(jnp.add, linear(dx), side)  # a step of the map nearer to the derivative than dx
        return (value, x, outcome), (dvalue, dx, trees.zeros_like(outcome))

    return solved(constants, lax.stop_gradient(x0), lax.stop_gradient(limits))


def _of_linear(limits: Limits, x: Any, rule: Rule) -> Limits:
    """Return limits for the linear equations, whose unknowns are in other units than x: as exact, relatively, as x is.

    A start near the solution tells nothing of them, so they have as many evaluations as a solve has by default.
    """
    size = jnp.sqrt(Products(rule.axis_name).dot(x, x))
    share = jnp.where(size > 0, limits.atol / jnp.where(size > 0, size, 1.0), 0.0)
    finest = max((float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(x)), default=0.0)
    rtol = jnp.maximum(limits.rtol + jnp.minimum(share, LEAST), finest)
    return Limits(lax.stop_gradient(rtol), 0.0, jnp.maximum(limits.max_maps, MAPS))


def _solve(jacobian: Callable[[Any], Any], side: Any, rule: Rule, limits: Limits) -> Any:
    """Return u with u - J u = b, or NaN where the search for it did not come near."""
    rule, products = rule._replace(domain=Domain(), callback=None), Products(rule.axis_name)

    def difference(u):
        return jax.tree.map(jnp.subtract, u, jacobian(u))

    def solve(difference, side):
        largest = (jnp.max(jnp.abs(b), initial=0.0) for b in jax.tree.leaves(side))
        scale = products.sum(sum(largest, start=jnp.zeros((), trees.accumulation_dtype())))
        scale = jnp.where(scale > 0, scale, 1.0)  # of cotangents as small as a loss happens to be, squares underflow
        side = jax.tree.map(lambda b: (b / scale).astype(b.dtype), side)

        def step(u):  # J u + b
            return jax.tree.map(lambda u, d, b: u - d + b, u, difference(u), side)

        u, _, outcome = search(step, side, rule, limits)
        near = outcome.residual <= NEAR * limits.rtol * jnp.sqrt(products.dot(u, u))
        return jax.tree.map(lambda u: jnp.where(near, scale * u, jnp.nan).astype(u.dtype), u)

    return lax.custom_linear_solve(difference, _coupled(side), solve, transpose_solve=solve)


def _coupled(side: Any) -> Any:
    """Return the tree, each leaf made to depend on all: one known to be zero would break the transposed equations."""
    leaves = [leaf for leaf in jax.tree.leaves(side) if leaf.size]
    if len(leaves) < 2:
        return side
    nothing = sum(jnp.sum(0.0 * jnp.real(leaf)) for leaf in leaves)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(nothing, leaf.dtype), side)
