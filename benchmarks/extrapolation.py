"""Extrapolation of a history of eleven iterates against copying the history once."""

import jax
import jax.numpy as jnp
import numpy as np

import optaxaccel
from benchmarks.measure import Donated, interleave
from benchmarks.updates import resnet18_like

Row = dict[str, object]
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
    history = optaxaccel.history_init(params, length=K + 1)
    push = Donated(lambda history, params: optaxaccel.history_push(history, params), history, params)
    extrapolate = jax.jit(lambda stacked: optaxaccel.extrapolate(stacked, stacked=True)).lower(stacked).compile()
    variants = {
        "np.copyto of the history": lambda: np.copyto(target, flat),
        "np.copyto of one iterate": lambda: np.copyto(one, flat[0]),
        "extrapolate": lambda: extrapolate(stacked),
        "history_push": push,
        "NumPy, the published way": lambda: authors_way(flat, 1e-8),
    }
    whole = interleave(variants, rounds=rounds)
    single = whole["np.copyto of one iterate"].seconds / whole["np.copyto of the history"].seconds
    goals = {"extrapolate": 6.0, "history_push": 2.5 * single}
    return [
        {
            "benchmark": f"extrapolation, K={K}, 11.2 M parameters, against one copy of the history",
            "variant": name,
            "ms": 1e3 * timing.seconds,
            "ratio": timing.ratio,
            "quartiles": (timing.low, timing.high),
            "goal": goals.get(name),
        }
        for name, timing in whole.items()
    ]
