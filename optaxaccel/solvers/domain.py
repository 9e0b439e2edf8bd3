"""Where extrapolated points may lie: in a box, in what a projection leaves, or where a predicate holds.

Plain steps are not touched: they lie in the range of the map.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from optaxaccel.numerics import loops, trees

HALVINGS = 3  # of an extrapolation, towards the last point taken, before a plain step is made instead


class Domain(NamedTuple):
    """A projection, a predicate and a box, each or None; without a box hashable, so that a solver is found by it."""

    project: Callable[[Any], Any] | None = None
    valid: Callable[[Any], Any] | None = None
    box: tuple[trees.Tree, trees.Tree] | None = None

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
        if self.box is not None:
            point = jax.tree.map(jnp.clip, point, *self.box)
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
        return loops.while_loop(lambda c: when & ~c[1] & (c[2] < HALVINGS), halve, start)


def halfway(point: trees.Tree, anchor: trees.Tree) -> trees.Tree:
    """Return the middle between two points."""
    return jax.tree.map(lambda c, x: (x + (c - x) / 2).astype(x.dtype), point, anchor)


def as_box(bounds: Any, x: trees.Tree) -> tuple[trees.Tree, trees.Tree]:
    """Return `bounds` as two trees like x: arrays, which may change without a new compilation.

    Raises:
      ValueError: it is no pair, does not fit x, or leaves no room.
      TypeError: x or a bound is complex.
    """
    if isinstance(bounds, list):  # a list of two pairs could be either
        raise ValueError(
            f"bounds={bounds!r} is a list, as SciPy takes one of pairs. Pass bounds=(lower, upper), each a number or "
            "like x0; of a list of pairs, in which None is no bound, lower = numpy.array([-numpy.inf if low is None "
            "else low for low, _ in pairs]), and upper likewise."
        )
    if not isinstance(bounds, tuple) or len(bounds) != 2:
        raise ValueError(f"bounds={bounds!r} is not a pair (lower, upper). Pass bounds=(0.0, jnp.inf), or two trees.")
    lower, upper = (_spread(bound, x, none) for bound, none in zip(bounds, (-jnp.inf, jnp.inf), strict=True))
    jax.tree.map(_refuse_crossed, lower, upper)
    return lower, upper


def _spread(bound: Any, x: trees.Tree, none: float) -> trees.Tree:
    if bound is None:
        bound = none
    if jax.tree.structure(bound) != jax.tree.structure(x):
        if not jax.tree_util.treedef_is_leaf(jax.tree.structure(bound)):
            raise ValueError(
                f"bounds has a bound of the structure {jax.tree.structure(bound)} for unknowns of the structure "
                f"{jax.tree.structure(x)}. Pass a tree like x0, or one number for all."
            )
        bound = jax.tree.map(lambda _: bound, x)

    def leaf(b, x):
        if jnp.iscomplexobj(x) or jnp.iscomplexobj(b):
            raise TypeError("bounds: complex numbers have no order. Split them into real and imaginary parts.")
        shape = jnp.shape(b)
        if len(shape) > x.ndim or any(m not in (1, n) for m, n in zip(shape[::-1], x.shape[::-1], strict=False)):
            raise ValueError(f"bounds has the shape {shape} for an unknown of shape {x.shape}. Pass one like x0.")
        return jnp.asarray(b, x.dtype)

    return jax.tree.map(leaf, bound, x)


def _refuse_crossed(lower: Any, upper: Any) -> None:
    if isinstance(lower, Tracer) or isinstance(upper, Tracer):
        return
    if not np.all(np.asarray(lower) <= np.asarray(upper)):
        raise ValueError("bounds: some lower bound lies above its upper bound, or is NaN: there is no point between.")


def _same(name: str, got: Any, point: Any) -> Any:
    if not trees.alike(got, point):
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (got, point)]
        raise ValueError(
            f"{name} returned the shapes {shapes[0]} for a point of the shapes {shapes[1]}, but must return a point. "
            f"Return the nearest point of the domain: {name}=lambda x: jnp.maximum(x, 0)."
        )
    return got
