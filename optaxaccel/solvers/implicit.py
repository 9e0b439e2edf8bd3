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
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from optaxaccel.numerics import trees
from optaxaccel.solvers.domain import Domain
from optaxaccel.solvers.turns import Limits, Rule, Solved, search


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


def fixed(traced: Traced, constants: Any, x0: Any, rule: Rule, limits: Limits) -> tuple[Any, Solved]:
    """Return what `search` does, differentiable in the constants; not in x0.

    Args:
      traced: F, with anything else that it returns: (F(x), aux).
      constants: what F closes over.
      x0: where to start.
      rule: the method.
      limits: tolerances and the number of maps.
    """

    def image(constants, x):
        return traced(constants, x)[0]

    @jax.custom_jvp
    def solved(constants, x0, limits):
        return search(lambda x: image(constants, x), x0, rule, limits)

    @solved.defjvp
    def rule_of_implicit_functions(primals, tangents):
        constants, x0, limits = primals
        x, outcome = solved(constants, x0, limits)
        side = jax.jvp(lambda c: image(c, x), (constants,), (tangents[0],))[1]
        linear = jax.linearize(lambda x: image(constants, x), x)[1]
        return (x, outcome), (_solve(linear, side, rule, limits), trees.zeros_like(outcome))

    return solved(constants, lax.stop_gradient(x0), lax.stop_gradient(limits))


def _solve(jacobian: Callable[[Any], Any], side: Any, rule: Rule, limits: Limits) -> Any:
    """Return u with u - J u = b."""
    rule, limits = rule._replace(domain=Domain(), callback=None), limits._replace(box=None)

    def difference(u):
        return jax.tree.map(jnp.subtract, u, jacobian(u))

    def solve(difference, side):
        def step(u):  # J u + b
            return jax.tree.map(lambda u, d, b: u - d + b, u, difference(u), side)

        return search(step, side, rule, limits)[0]

    return lax.custom_linear_solve(difference, side, solve, transpose_solve=solve)
