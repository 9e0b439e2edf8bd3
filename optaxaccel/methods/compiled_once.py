"""Compile a step once also where it is called outside `jax.jit`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import numpy as np

from optaxaccel.numerics.closures import reading


@functools.partial(jax.jit, static_argnums=(0, 1))
def _jitted(line: Callable, value_fn: Callable | None, *arguments):
    return line(value_fn, *arguments)


@functools.partial(jax.jit, static_argnums=0)
def _jitted_holding(line: Callable, value_fn: jax.tree_util.Partial, *arguments):
    """The same for a loss that holds arrays, which may differ from call to call."""
    return line(value_fn, *arguments)


def compiled_once(line: functools.partial, value_fn: Callable | None, *arguments):
    """Call the step compiled where no argument is traced, so that a loop outside `jax.jit` compiles it once.

    A `lax.while_loop` that is called eagerly is traced and compiled anew each time, because its functions are new.
    """
    *trees_given, extra = arguments
    data = {k: v for k, v in extra.items() if all(map(_is_data, jax.tree.leaves(v)))}
    holder = value_fn if isinstance(value_fn, jax.tree_util.Partial) else None
    holder_leaves = jax.tree.leaves(holder)
    leaves = jax.tree.leaves((trees_given, data)) + holder_leaves
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves) or not _hashable(value_fn):
        return line(value_fn, *arguments)
    if holder is not None and all(map(_is_data, holder_leaves)) and _hashable(holder.func):
        return _jitted_holding(_same(line), holder, *trees_given, data)
    return _jitted(_same(line), reading(value_fn), *trees_given, data)


def _is_data(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, int, float, complex))


def _hashable(x: Any) -> bool:
    try:
        hash(x)
    except TypeError:
        return False
    return True


class _Same(functools.partial):
    """A partial that equals another with the same arguments, so that a compiled program is found again."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and (self.func, self.args) == (other.func, other.args)

    def __hash__(self) -> int:
        return hash((self.func, self.args))


def _same(line: functools.partial) -> _Same:
    return _Same(line.func, *line.args)
