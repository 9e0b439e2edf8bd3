r"""Weights of merged checkpoints that a loss chooses.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time", 2022, of which `greedy_weights` is Recipe 1.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from optaxaccel.methods import _extrapolation, _merge_weights, weighted_means
from optaxaccel.numerics import ring, sequences
from optaxaccel.numerics.ring import History
from optaxaccel.numerics.trees import Tree

__all__ = ["adaptive_weights", "greedy_weights"]

ValueOf = Callable[[np.ndarray], float]
REGULARIZATIONS = (1e-8, 1e-4, 1e-2)  # of the extrapolations that `adaptive_weights` tries
CHOICES = ("greedy", "adaptive")


def greedy_weights(
    params_history: Sequence[Tree] | History, value_fn: Callable[..., jax.typing.ArrayLike], **data: Any
) -> np.ndarray:
    r"""Return equal weights for the trees of a history whose mean a loss likes, and 0 for the others (greedy soup).

    Example:
      The first two balance each other, the third is far:

      >>> import jax.numpy as jnp, optaxaccel
      >>> history = [jnp.array(x) for x in (1.0, -0.5, 9.0)]
      >>> optaxaccel.greedy_weights(history, lambda x: x**2).tolist()
      [0.5, 0.5, 0.0]

    The trees are taken from the best to the worst, and each is kept if with it the loss of the mean is no higher.

    Args:
      params_history: trees, oldest first, or a `History`.
      value_fn: the loss `value_fn(params, **data)`, deterministic; best on data that training has not seen. It is
        called outside `jax.jit`: compile it where it is slow.
      **data: what `value_fn` takes besides the parameters.

    Returns:
      One weight a tree, float64, for `merge`. The merged tree is never worse on `value_fn` than the best one alone.

    Raises:
      ValueError: there is no history, or the loss is no number, or finite for no tree.

    References:
      Wortsman et al., "Model soups", 2022, Recipe 1.

    Costs:
      2 n - 1 losses for n trees.
    """
    trees = _listed(params_history)
    return greedy(len(trees), _of_trees(trees, value_fn, data))


def adaptive_weights(
    params_history: Sequence[Tree] | History,
    value_fn: Callable[..., jax.typing.ArrayLike],
    *,
    candidates: Sequence[jax.typing.ArrayLike | Sequence[float]] | None = None,
    **data: Any,
) -> np.ndarray:
    r"""Return those of several weights whose merged tree a loss likes best.

    Example:
      The iterates jump over the minimum, and the mean of the last two lies in it:

      >>> import jax.numpy as jnp, optaxaccel
      >>> history = [jnp.array(x) for x in (6.0, -1.0, 1.0)]
      >>> optaxaccel.adaptive_weights(history, lambda x: x**2).tolist()
      [0.0, 0.5, 0.5]

    Args:
      params_history: trees, oldest first, or a `History`.
      value_fn: the loss `value_fn(params, **data)`, deterministic; best on data that training has not seen. It is
        called outside `jax.jit`: compile it where it is slow.
      candidates: weights to choose from, each of one number a tree. None is the newest tree alone, the means of the
        last two, of the newer half and of all, the exponential mean, the cosine and square-root decays, and where there
        are three trees the extrapolations with the regularisations 1e-8, 1e-4 and 1e-2. Of equals the first is taken.
      **data: what `value_fn` takes besides the parameters.

    Returns:
      One weight a tree, float64, for `merge`. Unless `candidates` are given, the merged tree is never worse on
      `value_fn` than the newest one.

    Raises:
      ValueError: there is no history, or the loss is no number, or finite for no candidate.

    Costs:
      As many losses as there are candidates, at most ten unless they are given.
    """
    trees = _listed(params_history)
    if candidates is None:
        rna = [extrapolation(trees, r) for r in REGULARIZATIONS] if len(trees) > 2 else []
        candidates = [weights for _, weights in by_order(len(trees))] + rna
    value_of = _of_trees(trees, value_fn, data)
    return best([np.asarray(weights, float) for weights in candidates], value_of)[0]


def chosen(kind: str, history: Any, value_fn: Callable[[Tree], Any] | None, stacked: bool) -> np.ndarray:
    """Return the weights of `merge` for one of CHOICES."""
    if value_fn is None:
        raise ValueError(f"weights={kind!r} are chosen by a loss, and there is none. Pass value_fn=loss_of_params.")
    if stacked:
        number = len(jax.tree.leaves(history)[0])
        history = [jax.tree.map(lambda x, k=k: x[k], history) for k in range(number)]
    return (greedy_weights if kind == "greedy" else adaptive_weights)(history, value_fn)


# --- The choice, whatever the loss is one of --------------------------------------------------------------------------


def greedy(count: int, value_of: ValueOf) -> np.ndarray:
    """Return the greedy weights of `count` trees, given the loss of merged ones by their weights."""
    alone = [value_of(np.eye(count)[k]) for k in range(count)]
    order = sorted(range(count), key=lambda k: (alone[k], -k))  # of equals the newest first
    _refuse_unless_finite(value := alone[order[0]])
    chosen = np.eye(count)[order[0]]
    for k in order[1:]:
        more = chosen + np.eye(count)[k]
        with_it = value_of(more / more.sum())
        if with_it <= value:
            chosen, value = more, with_it
    return chosen / chosen.sum()


def best(candidates: Sequence[np.ndarray], value_of: ValueOf) -> tuple[np.ndarray, list[float]]:
    """Return the weights of the lowest loss, the first of equals, and the losses of all."""
    values = [value_of(weights) for weights in candidates]
    _refuse_unless_finite(min(values))
    return candidates[int(np.argmin(values))], values


def by_order(count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the candidates that need nothing but the order, by name."""
    yield "newest", np.eye(count)[-1]
    for last in sorted({2, -(-count // 2), count} - {1, *range(count + 1, 3)}):
        yield f"mean of the last {last}", np.pad(_merge_weights.merge_weights("mean", last), (count - last, 0))
    for kind in ("ema", "cosine", "one_minus_sqrt"):
        yield kind, _merge_weights.merge_weights(kind, count)


def extrapolation(trees: Sequence[Tree], regularization: float) -> np.ndarray:
    """Return the weights of an extrapolation as those of the trees themselves: the oldest has none."""
    weights = _extrapolation.extrapolation_weights(trees, regularization=regularization)
    weights = np.asarray(weights, float)
    return np.concatenate([[0.0], weights / weights.sum()])


def number_of(value: Any) -> float:
    """Return a loss as a number, infinite where it is not finite.

    Raises:
      ValueError: it is no single real number.
    """
    value = np.asarray(value)
    if value.size != 1 or not np.issubdtype(value.dtype, np.number) or np.iscomplexobj(value):
        raise ValueError(
            f"The loss returned {value.dtype} {value.shape}, but it chooses by one number. Return a float, lower "
            "is better."
        )
    value = float(value.reshape(()))
    return value if math.isfinite(value) else math.inf


def _refuse_unless_finite(value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(
            "The loss is finite for none of the trees, so it cannot choose. Evaluate value_fn on the newest tree by "
            "itself, and leave out trees after the run diverged."
        )


def _of_trees(trees: Sequence[Tree], value_fn: Callable[..., Any], data: dict[str, Any]) -> ValueOf:
    return lambda weights: number_of(value_fn(weighted_means.of(trees, weights[None]), **data))


def _listed(history: Any) -> Sequence[Tree]:
    sequences.check("params_history", history, stacked=False, at_least=1)
    return ring.history_list(history) if isinstance(history, History) else history
