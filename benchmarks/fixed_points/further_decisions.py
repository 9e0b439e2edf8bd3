"""Further maps, from economics and control: decisions, games, prices, matrix equations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def soft_value_iteration(dtype: Any, side: int = 20, discount: float = 0.97, temperature: float = 0.1):
    """Entropy-regularised value iteration on a grid of 20 by 20 with one cell that pays (Ziebart 2010).

    v <- t log sum_a exp((r + 0.97 P_a v) / t) with t = 0.1: four moves, each of which goes astray to a random one with
    probability 0.2 and stays where a wall is; the reward is 1 in one corner and 0 elsewhere.
    """
    row, column = np.divmod(np.arange(side**2), side)
    moves = np.zeros((4, side**2, side**2))
    for move, (down, right) in zip(moves, ((1, 0), (-1, 0), (0, 1), (0, -1)), strict=True):
        target = np.clip(row + down, 0, side - 1) * side + np.clip(column + right, 0, side - 1)
        move[np.arange(side**2), target] = 1.0
    chain = jnp.asarray(0.8 * moves + 0.2 * moves.mean(axis=0), dtype)
    reward = jnp.zeros(side**2, dtype).at[-1].set(1.0)

    def image(v):
        return temperature * jax.nn.logsumexp((reward + discount * chain @ v) / temperature, axis=0)

    return image, np.zeros(side**2)


def quantal_response(dtype: Any, choices: int = 30, precision: float = 2.0):
    """Logit quantal response equilibrium of a random zero-sum game of 30 by 30 (McKelvey and Palfrey 1995).

    p <- softmax(2 A q), q <- softmax(-2 A'p), payoffs A normal. It is unique, as the game is of sum zero.
    """
    payoff = jnp.asarray(np.random.default_rng(61).normal(size=(choices, choices)), dtype)

    def image(x):
        p, q = x[:choices], x[choices:]
        return jnp.concatenate([jax.nn.softmax(precision * payoff @ q), jax.nn.softmax(-precision * payoff.T @ p)])

    return image, np.full(2 * choices, 1 / choices)


def equilibrium_prices(dtype: Any, products: int = 30, firms: int = 5, people: int = 200):
    """Bertrand and Nash's prices of 30 products of 5 firms under mixed logit demand (Morrow and Skerlos 2011).

    p <- c + (H o G)(p - c) / l + s / l, with s_j the mean over people of s_ij, l_j that of a_i s_ij, G_jk that of
    a_i s_ij s_ik, H_jk = 1 where one firm sells both, and a_i person i's sensitivity to prices.
    """
    rng = np.random.default_rng(62)
    quality, cost = rng.normal(size=products) + 3, rng.uniform(0.5, 1.5, products)
    taste = jnp.asarray(quality + rng.normal(size=(people, 2)) @ rng.normal(size=(2, products)), dtype)
    sensitivity = jnp.asarray(np.exp(0.5 * rng.normal(size=(people, 1))), dtype)
    owner = np.arange(products) % firms
    same, cost = jnp.asarray(owner[:, None] == owner, dtype), jnp.asarray(cost, dtype)

    def image(price):
        share = jax.nn.softmax(jnp.pad(taste - sensitivity * price, ((0, 0), (0, 1))), axis=1)[:, :-1]
        slope = sensitivity * share
        cross = same * (slope.T @ share) / people
        return cost + (cross @ (price - cost) + jnp.mean(share, axis=0)) / jnp.mean(slope, axis=0)

    return image, np.asarray(cost, float)


def riccati(dtype: Any, size: int = 10):
    """The discrete algebraic Riccati equation of 10 states and one control, by its recursion (Anderson and Moore 1979).

    P <- I + A'P A - A'P b b'P A / (1 + b'P b), with A random, of spectral radius 1; from P = I.
    """
    rng = np.random.default_rng(63)
    matrix = rng.normal(size=(size, size))
    matrix = jnp.asarray(matrix / np.max(np.abs(np.linalg.eigvals(matrix))), dtype)
    control, eye = jnp.asarray(rng.normal(size=size), dtype), jnp.eye(size, dtype=dtype)

    def image(x):
        p = x.reshape(size, size)
        gain = control @ p @ matrix
        return (eye + matrix.T @ p @ matrix - jnp.outer(gain, gain) / (1 + control @ p @ control)).reshape(-1)

    return image, np.eye(size).reshape(-1)


def stein(dtype: Any, size: int = 20):
    """Smith's (1968) iteration of Stein's equation X = A X A' + Q, 20 by 20, A random and of spectral radius 0.97."""
    rng = np.random.default_rng(64)
    matrix, factor = rng.normal(size=(2, size, size))
    matrix = jnp.asarray(0.97 * matrix / np.max(np.abs(np.linalg.eigvals(matrix))), dtype)
    source = jnp.asarray(factor @ factor.T, dtype)
    return lambda x: (matrix @ x.reshape(size, size) @ matrix.T + source).reshape(-1), np.zeros(size**2)
