"""Where extrapolated points may lie: in a box, in what a projection leaves, or where a predicate holds.

Plain steps are not touched: they lie in the range of the map.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from optaxaccel.numerics import trees

HALVINGS = 3  # of an extrapolation, towards the last point taken, before a plain step is made instead


class Domain(NamedTuple):
    """A projection and a predicate, each or None; hashable, so that a compiled solver can be found by it."""

    project: Callable[[Any], Any] | None = None
    valid: Callable[[Any], Any] | None = None

    def enter(self, point: trees.Tree, anchor: trees.Tree, when: jax.Array) -> tuple[trees.Tree, jax.Array, jax.Array]:
        """Bring an extrapolated point into the domain.

        Args:
          point: the extrapolated point.
          anchor: the last point taken, towards which a point that is not valid is moved.
          when: whether the point is going to be evaluated at all.

        Returns:
          The point, whether it may be evaluated, and how often it was halved.
        """
        project, valid = self.project, self.valid
        if project is not None:
            point = trees.cast_like(_same("project", project(point), point), point)
        if valid is None:
            return point, jnp.array(True), jnp.zeros((), jnp.int32)

        def allowed(point):
            answer = jnp.asarray(valid(point))
            if answer.shape != () or answer.dtype != bool:
                raise ValueError(
                    f"valid returned {answer.dtype}{list(answer.shape)}, but must tell whether the whole point lies in "
                    "the domain. Return one bool: valid=lambda x: jnp.all(x > 0)."
                )
            return answer

        def halve(carry):
            point, _, halved = carry
            point = halfway(point, anchor)
            return point, allowed(point), halved + 1

        start = (point, allowed(point), jnp.zeros((), jnp.int32))
        return lax.while_loop(lambda c: when & ~c[1] & (c[2] < HALVINGS), halve, start)


def halfway(point: trees.Tree, anchor: trees.Tree) -> trees.Tree:
    """Return the middle between two points."""
    return jax.tree.map(lambda c, x: (x + (c - x) / 2).astype(x.dtype), point, anchor)


def box(bounds: tuple[Any, Any]) -> Callable[[Any], Any]:
    """Return the projection onto lower <= x <= upper; a bound is a tree like x, or one number or array for all."""
    lower, upper = bounds

    def clip(x):
        def spread(bound):
            same = jax.tree.structure(bound) == jax.tree.structure(x)
            return bound if same else jax.tree.map(lambda _: bound, x)

        return jax.tree.map(jnp.clip, x, spread(lower), spread(upper))

    return clip


def _same(name: str, got: Any, point: Any) -> Any:
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (got, point)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{name} returned the shapes {shapes[0]} for a point of the shapes {shapes[1]}, but must return a point. "
            f"Return the nearest point of the domain: {name}=lambda x: jnp.maximum(x, 0)."
        )
    return got
