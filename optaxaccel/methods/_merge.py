r"""Merging: one tree as a weighted mean of the last trees of a run.

Which weights: `merge_weights` (decided by their order alone), `extrapolation_weights` (RNA), `greedy_weights` and
`adaptive_weights` (chosen by a loss), or any that sum to 1.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from optaxaccel.methods import _extrapolation as extrapolation
from optaxaccel.methods import _merge_by_loss as by_loss
from optaxaccel.methods import _merge_weights as by_order
from optaxaccel.methods import contract, weighted_means
from optaxaccel.numerics import ring, sequences
from optaxaccel.numerics.ring import History
from optaxaccel.numerics.trees import Tree

__all__ = ["merge"]


def merge(
    params_history: Sequence[Tree] | History | Tree,
    weights: str | Callable[[np.ndarray], np.ndarray] | jax.typing.ArrayLike | Sequence[float] = "mean",
    *,
    decay: float = 0.9,
    debias: bool = False,
    points: str = "inside",
    regularization: jax.typing.ArrayLike = 1e-8,
    relative: bool = True,
    iterate: str = "tail",
    value_fn: Callable[[Tree], jax.typing.ArrayLike] | None = None,
    stacked: bool = False,
    statistics: Sequence[Tree] | History | Tree | None = None,
) -> Any:
    r"""Merge the last trees of a run into one, :math:`\sum_j c_j \theta_j`.

    Example:
      >>> import jax.numpy as jnp, optaxaccel
      >>> history = [{"w": jnp.array(x)} for x in (4.0, 2.0, 0.0)]
      >>> float(optaxaccel.merge(history)["w"]), float(optaxaccel.merge(history, "ema", decay=0.5)["w"])
      (2.0, 1.5)
      >>> float(optaxaccel.merge(history, [0.0, 0.5, 0.5])["w"])
      1.0

    At a constant learning rate the iterates wander around what they tend to, and their mean lies nearer to it than any
    of them: it does what the decay of the rate does, afterwards and on a copy, while training goes on untouched.

    Args:
      params_history: trees, oldest first: a list or tuple, a `History`, or with `stacked` one tree whose leaves have a
        leading axis. Of a `History` that is not full what was pushed is merged. Floating and complex leaves are merged;
        of all others the newest is returned, bit for bit.
      weights: "mean", "ema", "linear", "cosine", "one_minus_sqrt" or a function, see `merge_weights`; "rna", see
        `extrapolate`; "greedy" or "adaptive", chosen by `value_fn`, see `greedy_weights` and `adaptive_weights`; or an
        array of one weight a tree, oldest first, which sum to 1 and may be traced.
      decay: of "ema", in [0, 1): what the mean keeps at each further checkpoint. 0.9 is our choice.
      debias: whether "ema" starts from zero and is divided by the sum of its weights, so that the oldest checkpoint
        counts no more than its turn. Otherwise it holds :math:`d^k`, which for few checkpoints is most of all.
      points: times of a shape: "inside" is :math:`t_i = i/(k+1)`, for which no factor is 0 or 1; "from_zero" is
        :math:`(i-1)/k`, which gives the oldest checkpoint no weight; "to_one" is :math:`i/k`, which gives none to the
        newest.
      regularization: of "rna", :math:`\lambda` >= 0. A larger one (1e-6, 1e-4) gives flatter weights, closer to a mean.
      relative: of "rna", whether :math:`\lambda` is in units of the largest eigenvalue of R'R.
      iterate: of "rna", whether the trees behind ("tail") or before ("head") each difference are combined.
      value_fn: the loss of a tree, for "greedy" and "adaptive" alone; best on data that training has not seen.
      stacked: whether a history is one tree of stacked leaves.
      statistics: a second history of the same length, for the running statistics of batch normalisation: merged with
        the same weights. Those of a mean of parameters are others, so run a few training batches through the merged
        network where that can be done.

    Returns:
      A tree like one of the history, in its dtypes; with `statistics` the pair of it and the merged statistics. Sums
      are taken in float32 at least and rounded once. Arrays of NumPy in 64 bits, which JAX holds only with
      `jax_enable_x64`, come back as arrays of NumPy. Where a tree is not finite the newest tree is returned inside
      `jax.jit`; outside that is an error.

    Raises:
      ValueError: an argument is of no use, weights do not sum to 1, there is no loss to choose by, or (outside
        `jax.jit`) a tree is not finite, or differs from the newest by what is not.

    References:
      Those of `merge_weights`, `extrapolate` and `greedy_weights`, by `how`.

    Costs:
      No oracle call, and one reading of the history; "rna" reads it twice. "greedy" takes as many losses as there are
      trees, and as many again less one; "adaptive" some ten.
    """
    if isinstance(weights, str) and weights == "rna":
        about: dict[str, Any] = {"regularization": regularization, "relative": relative, "iterate": iterate}
        return extrapolation.extrapolate(params_history, stacked=stacked, statistics=statistics, **about)
    number = sequences.check("params_history", params_history, stacked, at_least=1)
    if statistics is not None and (counted := sequences.check("statistics", statistics, stacked, at_least=1)) != number:
        raise ValueError(
            f"statistics holds {counted} trees and params_history {number}, but each set of statistics belongs to one "
            "set of parameters. Push both at the same moments."
        )
    if isinstance(weights, str) and weights in by_loss.CHOICES:
        weights = by_loss.chosen(weights, params_history, value_fn, stacked)
    rows = _rows(weights, params_history, number, decay=decay, debias=debias, points=points)
    return weighted_means.of(params_history, rows, statistics=statistics, stacked=stacked)


def _rows(weights: Any, history: Any, number: int, **about: Any) -> Any:
    """Return a table with the weights of n trees in row n - 1, its last n columns: a ring may hold any number."""
    if isinstance(weights, str) or callable(weights):
        if isinstance(weights, str):
            contract.check_choice("weights", weights, (*by_order.KINDS, "rna", *by_loss.CHOICES))
        kind: Any = weights
        counts = range(1, number + 1) if isinstance(history, History) else (number,)
        by_count = [by_order.merge_weights(kind, count, **about) for count in counts]
        return np.stack([np.pad(row, (number - len(row), 0)) for row in by_count])
    if isinstance(history, History) and not isinstance(history.count, Tracer):
        number = min(number, int(history.count))
    if np.shape(weights) != (number,):
        raise ValueError(
            f"weights has the shape {np.shape(weights)}, but params_history holds {number} tree(s): each needs one "
            "weight, oldest first. Pass weights=merge_weights(kind, count), or 'mean'."
        )
    _check_sum(weights)
    length = ring.length(history) if isinstance(history, History) else number
    row = jnp.asarray(weights) if isinstance(weights, jax.Array) else np.asarray(weights, float)
    padded = jnp.pad(row, (length - number, 0)) if isinstance(row, jax.Array) else np.pad(row, (length - number, 0))
    return padded[None]


def _check_sum(weights: Any) -> None:
    if isinstance(weights, Tracer) or any(isinstance(weight, Tracer) for weight in jax.tree.leaves(weights)):
        return
    numbers = np.asarray(weights, float)
    if not abs(numbers.sum() - 1.0) <= 1e-5 * max(1.0, np.abs(numbers).sum()):  # NaN does not hold either
        raise ValueError(
            f"weights sum to {numbers.sum():.6g}, but the parameters would be scaled by another sum than 1. Pass "
            "weights / weights.sum()."
        )
