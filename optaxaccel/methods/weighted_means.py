"""Weighted means of the trees of a history, in every form in which a history is kept."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from optaxaccel.methods import _extrapolation as extrapolation
from optaxaccel.methods import given_history
from optaxaccel.numerics import ring, sequences
from optaxaccel.numerics.ring import History


def of(history: Any, rows: jax.typing.ArrayLike, *, statistics: Any = None, stacked: bool = False) -> Any:
    """Return the mean of a history that `sequences.check` accepts, and of its statistics where there are some.

    Args:
      history: of parameters.
      rows: weights of sum one. Row n - 1 holds those of n trees in its last n columns, because a ring may hold any
        number of them; where there is one row only, it is taken for every number.
      statistics: a history like it, or None.
      stacked: whether both are stacked trees.
    """
    prepared = given_history.of(history, statistics, stacked)
    with prepared.precision():
        *combined, finite = _combined(
            prepared.params,
            prepared.statistics,
            rows,
            stacked=stacked,
            sharded=sequences.sharded(prepared.params, stacked),
            kinds=prepared.kinds,
        )
    prepared.refuse_unless(finite, squared=False)
    params, combined = prepared.restored(*combined)
    return params if statistics is None else (params, combined)


@functools.partial(jax.jit, static_argnames=("stacked", "sharded", "kinds"))
def _combined(history, statistics, rows, *, stacked, sharded, kinds):
    iterates = sequences.unpack(history, stacked, sharded)
    weights, finite, combined = jnp.asarray(rows[-1], iterates.mask.dtype), jnp.asarray(True), []
    if isinstance(history, History):
        order, filled = ring.order(history)
        row = jnp.asarray(rows[jnp.clip(history.count, 1, rows.shape[0]) - 1], weights.dtype)
        weights = jnp.zeros_like(weights).at[order].set(row)
        finite = jnp.all(filled | (row == 0)) | (history.count == 0)  # weights for trees that do not exist are no mean
    for part, kind in zip((history, statistics), kinds, strict=True):
        if part is None:
            combined.append(None)
            continue
        part = sequences.unpack(part, stacked, sharded if part is history else sequences.sharded(part, stacked))
        tree = extrapolation.in_their_range(sequences.combine(part, weights, 0), part, kind)
        finite &= extrapolation.all_finite(tree)
        combined.append((tree, sequences.pick(part, part.newest)))
    return *[None if c is None else jax.tree.map(lambda x, y: _where(finite, x, y), *c) for c in combined], finite


def _where(finite: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.where(finite, x, y) if jnp.issubdtype(x.dtype, jnp.inexact) else y
