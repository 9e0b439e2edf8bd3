r"""RNA: regularised nonlinear acceleration, an estimate of the limit from the last iterates of any method.

Scieur, Oyallon, d'Aspremont and Bach, "Nonlinear Acceleration of CNNs", 2018. `extrapolate` is their Algorithm 1. What
belongs to RNA has a place each:

numerics/extrapolation_weights   the weights, from columns in whichever form, with their derivative
methods/_extrapolation           `extrapolate`: the weights of a given history, and the point that they make
methods/_adaptive_extrapolation  `extrapolate_adaptive`: the regularisation and the length chosen by the loss
methods/_rna                     `rna`: around an optimiser, extrapolated points while it trains
training/histories               the same from files of checkpoints, and beside a training loop
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from optaxaccel.methods import contract, given_history, leaf_kinds
from optaxaccel.numerics import extrapolation_weights as differentiable
from optaxaccel.numerics import sequences, trees
from optaxaccel.numerics.columns import Leaf
from optaxaccel.numerics.ring import History
from optaxaccel.numerics.trees import Tree

__all__ = ["extrapolate", "extrapolation_weights"]


def extrapolate(
    params_history: Sequence[Tree] | History | Tree,
    *,
    regularization: jax.typing.ArrayLike = 1e-8,
    relative: bool = True,
    iterate: str = "tail",
    stacked: bool = False,
    statistics: Sequence[Tree] | History | Tree | None = None,
) -> Any:
    r"""Combine the last iterates of a method into an estimate of the point that they tend to (RNA).

    Example:
      Gradient descent on a quadratic with one curvature approaches its minimum, here 1, along a line. Two differences
      tell where it is:

      >>> import jax.numpy as jnp, optaxaccel
      >>> history = [{"w": 1 + 0.5**k * jnp.array([4.0, -8.0])} for k in range(3)]
      >>> optaxaccel.extrapolate(history, regularization=0.0)["w"].round(4).tolist()
      [1.0, 1.0]

    Near a minimum the gradient is about linear, so the gradient at a weighted mean of iterates is about the weighted
    mean of their gradients, and successive differences are about gradients times the step. The weights that make their
    mean shortest are thus those of a point where the gradient is small. They cost no gradient: it happens afterwards,
    on a copy, while training goes on untouched.

    .. math::

        c = \arg\min_{1^T c = 1} \lVert R c \rVert^2 + \lambda s \lVert c \rVert^2, \qquad
        R = [\theta_1 - \theta_0, \dots, \theta_K - \theta_{K-1}], \qquad
        \hat\theta = \sum_{i=1}^K c_i \theta_i

    with :math:`\theta_0, \dots, \theta_K` = `params_history`, :math:`\lambda` = `regularization`, and
    :math:`s = \lVert R^T R \rVert_2` if `relative`, else 1. That is :math:`c = z / \sum z` with
    :math:`(R^T R + \lambda s I) z = 1`.

    Args:
      params_history: K + 1 >= 2 trees, oldest first, usually one an epoch: a list or tuple, a `History`, or with
        `stacked` one tree whose leaves have a leading axis of K + 1. The weights come from the floating and complex
        leaves; of all others the newest is returned, bit for bit. Running statistics among them, which are known by
        name ("running_mean", "running_var", "moving_mean", "moving_variance", "batch_stats") or as Flax NNX's
        `BatchStat`, have no say in the weights and are combined as `statistics` are. Of a `History` that is not full
        only what was pushed counts.
      regularization: :math:`\lambda` >= 0, the paper's 1e-8 by default. It may be traced. A larger one (1e-6, 1e-4)
        gives flatter weights, closer to a mean; with noisy iterates that is what one wants.
      relative: whether :math:`\lambda` is in units of the largest eigenvalue of R'R, as in the authors' code, so that
        it does not depend on the scale of the problem; the paper prints the absolute form.
      iterate: "tail" combines :math:`\theta_1 \dots \theta_K`, as the authors' Python code does: for gradient descent
        one more of its steps is contained. "head" combines :math:`\theta_0 \dots \theta_{K-1}`, as the paper's
        derivation and the authors' Matlab code do.
      stacked: whether a history is one tree of stacked leaves.
      statistics: a second history of the same length, for the running statistics of batch normalisation: combined with
        the same weights. Leaves whose name contains "var" or "std" stay between their least and largest value in the
        history, because weights may be negative.

    Returns:
      A tree like one of the history, in its dtypes; with `statistics` the pair of it and the combined statistics.
      Arrays of NumPy in 64 bits, which JAX holds only with `jax_enable_x64`, come back as arrays of NumPy. Where a
      tree, or the result, is not finite, the newest tree is returned inside `jax.jit`; outside that is an error.

    Raises:
      ValueError: an argument is of no use, the trees hold no floating weights, or (outside `jax.jit`, which waits for
        the result) a tree or the result is not finite.

    References:
      Scieur, Oyallon, d'Aspremont and Bach, "Nonlinear Acceleration of CNNs", 2018, Algorithm 1; Scieur, d'Aspremont
      and Bach, "Regularized Nonlinear Acceleration", 2016.

    Costs:
      No oracle call. For K = 10 on one CPU core about 4 times as long as copying the history, which is read twice; no
      temporary copy of it. First derivatives, forwards and backwards, take two more readings.

    Deviations:
      * R'R is not solved with as it is: its rounding in float32, 1e-7 R'R, is more than the default lambda, and the
        weights of the authors' code are noise there. `optaxaccel.numerics.least_squares` keeps the objective within
        1e-4 of its optimum for lambda >= 1e-8.
      * The combination is written :math:`\theta_K + \sum_i c_i (\theta_i - \theta_K)`, which rounds less.
      * Where :math:`|\sum z| < 10^{-10}` the weights are 1/K, as in the authors' code. A history that stands still,
        for which that code divides by zero, has equal weights too.
      * Leaves that sharding may split over devices are taken in one piece, which needs memory for two histories of one
        leaf. Inside `jax.jit` on an automatic mesh these are all leaves: call it outside if they are not split.
    """
    _check(regularization)
    contract.check_choice("iterate", iterate, ("tail", "head"))
    number = sequences.check("params_history", params_history, stacked)
    if statistics is not None:
        counted = sequences.check("statistics", statistics, stacked)
        if counted != number:
            raise ValueError(
                f"statistics holds {counted} trees and params_history {number}, but each set of statistics belongs to "
                "one set of parameters. Push both at the same moments."
            )
    prepared = given_history.of(params_history, statistics, stacked)
    with prepared.precision():
        *combined, finite = _extrapolate(
            prepared.params,
            prepared.statistics,
            regularization,
            relative=relative,
            iterate=iterate,
            stacked=stacked,
            sharded=sequences.sharded(prepared.params, stacked),
            kinds=prepared.kinds,
        )
    prepared.refuse_unless(finite)
    params, combined = prepared.restored(*combined)
    return params if statistics is None else (params, combined)


def extrapolation_weights(
    params_history: Sequence[Tree] | History | Tree,
    *,
    regularization: jax.typing.ArrayLike = 1e-8,
    relative: bool = True,
    stacked: bool = False,
) -> jax.Array:
    r"""Return the weights c of `extrapolate`, which sum to 1: one for each successive difference, oldest first.

    Example:
      The differences 2 and 1 cancel with the weights -1 and 2:

      >>> import jax.numpy as jnp, optaxaccel
      >>> history = [jnp.array(x) for x in (0.0, 2.0, 3.0)]
      >>> optaxaccel.extrapolation_weights(history, regularization=0.0).round(3).tolist()
      [-1.0, 2.0]

    They do not depend on `iterate`, which says what they multiply. Of a `History` that is not full the differences that
    do not exist yet have the weight 0.

    Args:
      params_history: K + 1 >= 2 trees, oldest first: a list or tuple, a `History`, or with `stacked` one tree whose
        leaves have a leading axis of K + 1. Only floating and complex leaves count, and no running statistics.
      regularization: :math:`\lambda` >= 0, the paper's 1e-8 by default. A larger one gives flatter weights.
      relative: whether :math:`\lambda` is in units of the largest eigenvalue of R'R; the paper prints it absolute.
      stacked: whether the history is one tree of stacked leaves.

    Returns:
      An array of shape (K,).

    Raises:
      ValueError: as of `extrapolate`: a history that is none, no floating weights, trees that are not finite.
    """
    _check(regularization)
    sequences.check("params_history", params_history, stacked)
    prepared = given_history.of(params_history, None, stacked)
    with prepared.precision():
        weights, finite = _extrapolation_weights(
            prepared.params,
            regularization,
            relative=relative,
            stacked=stacked,
            sharded=sequences.sharded(prepared.params, stacked),
            kinds=prepared.kinds[0],
        )
    prepared.refuse_unless(finite)
    return weights


def _check(regularization: jax.typing.ArrayLike) -> None:
    why = "a negative one is no longer a least-squares problem"
    contract.check_number("regularization", regularization, why, at_least=0.0, fixed="there are no steps here")


@functools.partial(jax.jit, static_argnames=("relative", "iterate", "stacked", "sharded", "kinds"))
def _extrapolate(history, statistics, regularization, *, relative, iterate, stacked, sharded, kinds):
    iterates = sequences.unpack(history, stacked, sharded)
    weights = _weights(iterates, kinds[0], regularization, relative)
    finite = jnp.all(jnp.isfinite(weights))
    combined = []
    for part, kind in zip((history, statistics), kinds, strict=True):
        if part is None:
            combined.append(None)
            continue
        part = sequences.unpack(part, stacked, sharded if part is history else sequences.sharded(part, stacked))
        tree, newest = sequences.combine(part, weights, int(iterate == "tail")), sequences.pick(part, part.newest)
        tree = in_their_range(tree, part, kind)
        finite &= all_finite(tree)
        combined.append((tree, newest))
    chosen = [None if c is None else jax.tree.map(lambda x, y: _where(finite, x, y), *c) for c in combined]
    return *chosen, finite


@functools.partial(jax.jit, static_argnames=("relative", "stacked", "sharded", "kinds"))
def _extrapolation_weights(history, regularization, *, relative, stacked, sharded, kinds):
    iterates = sequences.unpack(history, stacked, sharded)
    weights = _weights(iterates, kinds, regularization, relative)[iterates.order[:-1]]
    finite = jnp.all(jnp.isfinite(weights))
    return jnp.where(finite, weights, jnp.zeros_like(weights).at[-1].set(1.0)), finite


def _weights(
    iterates: sequences.Iterates, kinds: tuple[str, ...], regularization: jax.typing.ArrayLike, relative: bool
) -> jax.Array:
    return differentiable.weights(columns(iterates, kinds), iterates.mask, regularization, relative)


def columns(iterates: sequences.Iterates, kinds: tuple[str, ...]) -> list[Leaf]:
    """Return the differences of the weights, without statistics."""
    weigh = [leaf for leaf, kind in zip(iterates.leaves, kinds, strict=True) if kind == leaf_kinds.WEIGHT]
    return sequences.columns_of(iterates._replace(leaves=weigh))


def all_finite(tree: Tree) -> jax.Array:
    """Tell whether all floating leaves are finite."""
    return trees.all_finite([x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)])


def _where(finite: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.where(finite, x, y) if jnp.issubdtype(x.dtype, jnp.inexact) else y


def in_their_range(tree: Tree, iterates: sequences.Iterates, kinds: tuple[str, ...]) -> Tree:
    """Clip variances at their least and largest values in the history: weights may be negative, or above 1."""
    leaves, structure = jax.tree.flatten(tree)
    for k, kind in enumerate(kinds):
        if kind == leaf_kinds.VARIANCE and jnp.isrealobj(leaves[k]):
            least, largest = sequences.bounds(iterates, k)
            leaves[k] = jnp.clip(leaves[k], least, largest)
    return jax.tree.unflatten(structure, leaves)
