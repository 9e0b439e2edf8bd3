r"""Weights of merged checkpoints that nothing but their order decides: means, and decays that training never made.

Sanyal et al., "Early Weight Averaging meets High Learning Rates for LLM Pre-training", 2023 (LAWA: `mean`).
Tian et al., "WSM: Decay-Free Learning Rate Schedule via Checkpoint Merging", 2025 (decay-shaped weights).
"""

import math
from collections.abc import Callable

import numpy as np

from optaxaccel.methods import contract

__all__ = ["merge_weights"]

SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: (1.0 + np.cos(math.pi * t)) / 2.0,
    "one_minus_sqrt": lambda t: 1.0 - np.sqrt(t),
}
KINDS = ("mean", "ema", *SHAPES)
POINTS = ("inside", "from_zero", "to_one")


def merge_weights(
    kind: str | Callable[[np.ndarray], np.ndarray],
    count: int,
    *,
    decay: float = 0.9,
    debias: bool = False,
    points: str = "inside",
) -> np.ndarray:
    r"""Return weights by which checkpoints are merged, oldest first; they sum to 1.

    Example:
      >>> import optaxaccel
      >>> optaxaccel.merge_weights("ema", 3, decay=0.5).tolist()
      [0.25, 0.25, 0.5]
      >>> optaxaccel.merge_weights("linear", 4).tolist()  # a linear decay is the mean
      [0.25, 0.25, 0.25, 0.25]

    With `count` = k + 1 checkpoints :math:`\theta_0 \dots \theta_k` and j from 0 to k:

    .. math::

        \text{mean:}\quad & c_j = 1 / (k + 1) \\
        \text{ema:}\quad & c_0 = d^k, \quad c_j = (1 - d)\, d^{k - j} \\
        \text{ema, debias:}\quad & c_j = (1 - d)\, d^{k - j} / (1 - d^{k + 1}) \\
        \text{shapes:}\quad & c_0 = 1 - w_1, \quad c_j = w_j - w_{j+1}, \quad c_k = w_k, \qquad w_i = D(t_i)

    with d = `decay`. A shape stands for the decay of a learning rate: :math:`w_i` is the factor that it would have put
    on the i-th of the k updates between the checkpoints, since :math:`\sum_j c_j \theta_j = \theta_0 + \sum_i w_i
    (\theta_i - \theta_{i-1})`. That is the run with the decayed rate only where the updates do not depend on the
    parameters; elsewhere it is an estimate of it.

    Args:
      kind: "mean" (LAWA), "ema" (the exponential mean that starts from the oldest checkpoint), a shape: "linear" with
        D(t) = 1 - t, "cosine" with (1 + cos(pi t)) / 2, "one_minus_sqrt" with 1 - sqrt(t); or a function D of an array
        of times in [0, 1] that falls from at most 1 to at least 0.
      count: number of checkpoints, at least 1.
      decay: of "ema", in [0, 1): what the mean keeps at each further checkpoint. 0.9 is our choice.
      debias: whether "ema" starts from zero and is divided by the sum of its weights, so that the oldest checkpoint
        counts no more than its turn. Otherwise it holds :math:`d^k`, which for few checkpoints is most of all.
      points: times of a shape: "inside" is :math:`t_i = i/(k+1)`, for which no factor is 0 or 1; "from_zero" is
        :math:`(i-1)/k`, which gives the oldest checkpoint no weight; "to_one" is :math:`i/k`, which gives none to the
        newest.

    Returns:
      `count` weights, float64.

    Raises:
      ValueError: an argument is of no use, or a function is no decay.

    References:
      Sanyal, Neerkaje, Kaddour, Kumar and Sanghavi, "Early Weight Averaging meets High Learning Rates for LLM
      Pre-training", 2023; Tian et al., "WSM: Decay-Free Learning Rate Schedule via Checkpoint Merging for LLM
      Pre-training", arXiv 2507.17634, 2025.

    Deviations:
      * WSM's discretisation of the times is not known to us; all three that fit are here, the symmetric one by default.
    """
    contract.check_count("count", count, "it is the number of checkpoints")
    contract.check_number("decay", decay, "it is the share that a mean keeps", at_least=0.0, below=1.0, fixed=_FIXED)
    contract.check_choice("points", points, POINTS)
    if callable(kind):
        return _decayed(kind, count, points)
    contract.check_choice("weights", kind, KINDS)
    if kind == "mean":
        return np.full(count, 1.0 / count)
    if kind == "ema":
        weights = (1.0 - decay) * float(decay) ** np.arange(count - 1, -1, -1.0)
        if debias:
            return weights / (1.0 - float(decay) ** count)
        weights[0] = float(decay) ** (count - 1)
        return weights
    return _decayed(SHAPES[kind], count, points)


_FIXED = "there are no steps here"


def _decayed(shape: Callable[[np.ndarray], np.ndarray], count: int, points: str) -> np.ndarray:
    """Return the weights that belong to factors of the updates between checkpoints."""
    updates = count - 1
    if not updates:
        return np.ones(1)
    number = np.arange(1.0, count)
    times = {"inside": number / count, "from_zero": (number - 1) / updates, "to_one": number / updates}[points]
    factors = np.broadcast_to(np.asarray(shape(times), float), (updates,))
    weights = -np.diff(factors, prepend=1.0, append=0.0)
    if not np.all(weights >= -1e-12):
        raise ValueError(
            f"The decay gives the factors {factors.tolist()} to successive updates, but those of a decay fall from at "
            "most 1 to at least 0; other weights would be negative. Pass a function such as lambda t: 1 - t**2."
        )
    return np.maximum(weights, 0.0)
