"""Extrapolation of a history of eleven iterates against copying the history once."""

import jax.numpy as jnp
import numpy as np

import optaxaccel
from benchmarks.measure import Donated, Row, interleave, rows_of
from benchmarks.updates import resnet18_like

K = 10


def authors_way(history: np.ndarray, regularization: float) -> np.ndarray:
    """Return the extrapolation as the published NumPy code computes it: one Gram matrix, one solve."""
    differences = np.diff(history, axis=0)
    gram = differences @ differences.T
    gram /= np.linalg.norm(gram, 2)
    z = np.linalg.solve(gram + regularization * np.eye(len(gram)), np.ones(len(gram)))
    return (z / z.sum()) @ history[1:]


def run(rounds: int) -> list[Row]:
    """Return one row a variant."""
    params = resnet18_like()
    rng = np.random.default_rng(0)
    stacked = {
        name: jnp.asarray(p[None] + np.cumsum(0.01 * rng.normal(size=(K + 1, *p.shape)), 0).astype(np.float32))
        for name, p in params.items()
    }
    flat = np.concatenate([np.asarray(s).reshape(K + 1, -1) for s in stacked.values()], axis=1)
    target, one = np.zeros_like(flat), np.zeros_like(flat[0])
    trees = [{name: s[k] for name, s in stacked.items()} for k in range(K + 1)]
    history = optaxaccel.history_init(params, length=K + 1)
    for tree in trees:
        history = optaxaccel.history_push(history, tree)
    pushed = optaxaccel.history_push(optaxaccel.history_init(params, length=K + 1), params)
    push = Donated(lambda history, params: optaxaccel.history_push(history, params), pushed, params)
    extrapolate = {
        "extrapolate, a stacked tree": lambda: optaxaccel.extrapolate(stacked, stacked=True),
        "extrapolate, a list of trees": lambda: optaxaccel.extrapolate(trees),
        "extrapolate, a History": lambda: optaxaccel.extrapolate(history),
    }
    against_history = interleave(
        {
            "np.copyto of the history": lambda: np.copyto(target, flat),
            **extrapolate,
            "NumPy, the published way": lambda: authors_way(flat, 1e-8),
        },
        rounds=rounds,
    )
    against_tree = interleave(
        {"np.copyto of one tree": lambda: np.copyto(one, flat[0]), "history_push": push}, rounds=rounds
    )
    return [
        *rows_of(
            f"extrapolation, K={K}, 11.2 M parameters, against one copy of the history",
            against_history,
            goals=dict.fromkeys(extrapolate, 6.0),
        ),
        *rows_of("pushing a tree, 11.2 M parameters", against_tree, goals={"history_push": 2.5}),
    ]
