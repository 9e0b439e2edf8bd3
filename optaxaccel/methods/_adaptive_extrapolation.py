"""Adaptive RNA: extrapolation whose regularisation and length are chosen by the loss.

From the published code of Scieur, Oyallon, d'Aspremont and Bach, "Nonlinear Acceleration of CNNs", 2018.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from optaxaccel.methods import _extrapolation as extrapolation
from optaxaccel.methods import given_history, leaf_kinds
from optaxaccel.numerics import extrapolation_weights, sequences
from optaxaccel.numerics.closures import reading
from optaxaccel.numerics.ring import History
from optaxaccel.numerics.trees import Tree

__all__ = ["extrapolate_adaptive"]


def extrapolate_adaptive(
    params_history: Sequence[Tree] | History,
    value_fn: Callable[..., jax.typing.ArrayLike],
    *,
    regularizations: jax.typing.ArrayLike | None = None,
    line_search: bool = True,
    force_decrease: bool = True,
    **data: Any,
) -> Tree:
    r"""Extrapolate with the regularisation, and along the line, that the loss likes best (adaptive RNA).

    Example:
      The length is doubled as long as that lowers the loss:

      >>> import jax.numpy as jnp, optaxaccel
      >>> history = [jnp.array(x) for x in (4.0, 3.0, 2.5)]
      >>> float(optaxaccel.extrapolate_adaptive(history, lambda x, target: (x - target)**2, target=-4.0).round(3))
      -4.0

    No regularisation suits all histories: a small one is noise where the iterates are noisy, a large one no more than a
    mean. So a grid of them is tried on the loss itself. The best point then says in which direction to go from the
    first iterate, and the length is doubled while the loss falls:

    .. math::

        \hat\theta = \theta_0 + t\, (\theta(\lambda^*) - \theta_0), \qquad
        \lambda^* = \arg\min_\lambda f(\theta(\lambda)), \qquad t = 1, 2, 4, \dots

    with f = `value_fn`, :math:`\lambda` from `regularizations` (relative) and :math:`\theta(\lambda)` of `extrapolate`.

    Args:
      params_history: K + 1 >= 2 trees, oldest first, or a `History`.
      value_fn: the loss `value_fn(params, **data)`, deterministic; best of a large batch or of held-out data.
      regularizations: the grid, one or more numbers >= 0. None is 1e-16 and the K powers of ten from 1e-15 to 10 that
        are evenly spaced, as in the authors' Python code.
      line_search: whether to double the length.
      force_decrease: whether to start from the newest iterate where no point of the grid is at least as good. What is
        returned is then never worse than it.
      **data: what `value_fn` takes besides the parameters, arrays or trees of them. `value_fn` is compiled once for
        each function object: pass data here rather than by a new closure.

    Returns:
      A tree like one of the history; running statistics in it are treated as by `extrapolate`, and stay where they are
      while the length is doubled.

    Raises:
      ValueError: see `extrapolate`, also for trees that are not finite.

    References:
      Scieur, Oyallon, d'Aspremont and Bach, "Nonlinear Acceleration of CNNs", 2018, section 3.2, and the functions
      `adaptive_rna` of its published code, of which the Matlab one has `force_decrease`.

    Costs:
      K + 2 evaluations of the loss and as many combinations of the history; with `line_search` 1 + log2(t) more.

    Deviations:
      * Values that are not finite count as the worst, for the grid and for the line.
      * Derivatives are those of the regularisation and of the doubling that were chosen.
      * All regularisations use one factorisation, and all runs in one compiled program.
    """
    number = sequences.check("params_history", params_history, stacked=False)
    if regularizations is None:
        regularizations = np.concatenate([[1e-16], np.logspace(-15, 1, number - 1)])
    grid = _grid(regularizations)
    prepared = given_history.of(params_history, None, stacked=False)
    with prepared.precision():
        params, finite = _extrapolate(
            params_history,
            grid,
            data,
            value_fn=reading(value_fn),
            line_search=line_search,
            force_decrease=force_decrease,
            sharded=sequences.sharded(params_history, stacked=False),
            kinds=prepared.kinds[0],
        )
    prepared.refuse_unless(finite)
    return prepared.restored(params, None)[0]


def _grid(regularizations: Any) -> jax.typing.ArrayLike:
    if isinstance(regularizations, Tracer):
        return jnp.atleast_1d(regularizations)
    grid = np.atleast_1d(np.asarray(regularizations, float))
    if grid.ndim != 1 or grid.size == 0 or not all(0 <= r < math.inf for r in grid):
        raise ValueError(
            f"regularizations={regularizations!r} is no grid: each is the weight of |c|^2 in a least-squares problem. "
            "Pass one or more numbers >= 0, as in regularizations=[1e-10, 1e-8, 1e-6]."
        )
    return grid


@functools.partial(jax.jit, static_argnames=("value_fn", "line_search", "force_decrease", "sharded", "kinds"))
def _extrapolate(history, grid, data, *, value_fn, line_search, force_decrease, sharded, kinds):
    iterates = sequences.unpack(history, False, sharded)
    columns = extrapolation.columns(iterates, kinds)
    reduced = extrapolation_weights.reduced(columns, iterates.mask)
    candidates = jax.vmap(lambda r: extrapolation_weights.solve(columns, iterates.mask, reduced, r))(grid)
    value_of = functools.partial(_value, value_fn, lax.stop_gradient(data))

    def candidate(weights):
        return extrapolation.in_their_range(sequences.combine(iterates, weights, 1), iterates, kinds)

    values = lax.map(lambda c: value_of(candidate(c)), candidates)
    best = jnp.argmin(values)
    params, value = candidate(candidates[best]), values[best]
    newest = sequences.pick(iterates, iterates.newest)
    if force_decrease:
        value_newest = value_of(newest)
        better = jnp.isfinite(value) & (value <= value_newest)
        params = jax.tree.map(lambda x, y: jnp.where(better, x, y), params, newest)
        value = jnp.minimum(value, value_newest)
    if line_search:
        params = _line_search(value_of, sequences.pick(iterates, iterates.oldest), params, value, kinds)
    finite = jnp.all(jnp.isfinite(reduced)) & extrapolation.all_finite(params)
    return jax.tree.map(lambda x, y: jnp.where(finite, x, y), params, newest), finite


def _value(value_fn: Callable[..., Any], data: dict[str, Any], params: Tree) -> jax.Array:
    # Which candidate and which doubling is best are choices: no derivative of the loss says anything about the result.
    value = jnp.asarray(value_fn(lax.stop_gradient(params), **data))
    if value.shape != ():
        raise ValueError(
            f"extrapolate_adaptive: value_fn returned an array of shape {value.shape}, but a loss is one number. "
            "Return the mean over the batch, and auxiliary outputs not at all."
        )
    value = jnp.asarray(value, jnp.promote_types(value.dtype, jnp.float32))
    return jnp.where(jnp.isfinite(value), value, jnp.inf)


def _line_search(
    value_of: Callable[[Tree], jax.Array], start: Tree, params: Tree, value: jax.Array, kinds: tuple[str, ...]
) -> Tree:
    """Return start + t (params - start) for the last of t = 1, 2, 4, ... up to which the value falls."""

    def along(t):
        def leaf(kind, x0, x):
            if kind != leaf_kinds.WEIGHT:
                return x
            return (x + (t - 1) * (x - x0)).astype(x.dtype)  # exactly x at t = 1

        structure = jax.tree.structure(params)
        return jax.tree.map(leaf, jax.tree.unflatten(structure, kinds), start, params)

    def falls(search):
        _, value, next_value = search
        return next_value < value

    def double(search):
        t, _, value = search
        return 2 * t, value, value_of(along(4 * t))

    one = jnp.ones((), jnp.float32)
    t, _, _ = lax.while_loop(falls, double, lax.stop_gradient((one, value, value_of(along(2 * one)))))
    return along(lax.stop_gradient(t))
