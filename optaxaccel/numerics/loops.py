"""Loops and branches whose results may lie otherwise over devices than what they start from.

Used by the solvers and the line searches.

Inside `jax.shard_map` a type says over which mesh axes a value varies, and `lax.while_loop` wants the start of a carry
to vary as what a turn returns: a counter that starts at the same 0 everywhere ends at a number of its own on each
device. On an explicit mesh `jax.vmap` of a loop fails where members share the start of some leaf. Elsewhere these are
the functions of `jax.lax`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Axes = frozenset[str]


def while_loop(unfinished: Callable[[Any], jax.Array], turn: Callable[[Any], Any], carry: Any) -> Any:
    """Return what `lax.while_loop` does, from a start that lies over devices as a turn's result does."""
    mesh = jax.sharding.get_abstract_mesh()
    carry = widened(turn, carry, unfinished)
    if mesh.explicit_axes:
        carry = _each_member_its_own(unfinished, turn, carry)
    return lax.while_loop(unfinished, turn, carry)


def cond(due: jax.Array, one: Callable[[], Any], other: Callable[[], Any]) -> Any:
    """Return what `lax.cond` does, for branches whose results vary over different mesh axes."""
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return lax.cond(due, one, other)
    axes = [a | b for a, b in zip(_axes_of(one), _axes_of(other), strict=True)]
    return lax.cond(due, lambda: _vary(one(), axes), lambda: _vary(other(), axes))


def widened(turn: Callable[[Any], Any], carry: Any, unfinished: Callable[[Any], jax.Array] | None = None) -> Any:
    """Return `carry`, varying over the mesh axes of `shard_map` as what a turn makes of it does."""
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return carry
    axes = [_axes(jax.typeof(x)) for x in jax.tree.leaves(carry)]
    while True:
        carry = _vary(carry, axes)
        # Devices that go on for themselves have results of their own.
        judged = frozenset() if unfinished is None else _axes_of(unfinished, carry)[0]
        wider = [a | b | judged for a, b in zip(axes, _axes_of(turn, carry), strict=True)]
        if wider == axes:
            return carry
        axes = wider


def varying_as(tree: Any, like: Any) -> Any:
    """Return a tree whose leaves vary over all mesh axes of `shard_map` that a leaf of another one varies over."""
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return tree
    axes = frozenset().union(*(_axes(jax.typeof(x)) for x in jax.tree.leaves(like)))
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [_as_varying(jnp.asarray(x), axes) for x in leaves])


def _each_member_its_own(unfinished: Callable[[Any], jax.Array], turn: Callable[[Any], Any], carry: Any) -> Any:
    """Return the start, of which every leaf is a batch where the condition is; compilers drop the branch not taken."""
    goes_on = lax.cond(jnp.zeros((), bool), lambda: unfinished(turn(carry)), lambda: unfinished(carry))
    return jax.tree.map(lambda x: jnp.where(goes_on, x, x), carry)


def _axes_of(function: Callable[..., Any], *arguments: Any) -> list[Axes]:
    """Return the mesh axes over which each leaf of a result varies."""
    return [_axes(aval) for aval in jax.make_jaxpr(function)(*arguments).out_avals]


def _axes(aval: Any) -> Axes:
    return aval.manual_axis_type.varying


def _vary(tree: Any, axes: list[Axes]) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [_as_varying(x, wanted) for x, wanted in zip(leaves, axes, strict=True)])


def _as_varying(x: Any, axes: Axes) -> jax.Array:
    new = tuple(sorted(axes - _axes(jax.typeof(x))))
    return lax.pcast(x, new, to="varying") if new else x
