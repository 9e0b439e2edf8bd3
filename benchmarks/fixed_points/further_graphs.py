"""Further maps, on graphs: belief propagation, similarity, an implicit layer, the power flow of a grid."""

from typing import Any

import jax.numpy as jnp
import numpy as np


def _grid(rows: int, columns: int) -> np.ndarray:
    """Return the edges of a grid, as pairs of the numbers of nodes."""
    node = np.arange(rows * columns).reshape(rows, columns)
    along = np.stack([node[:, :-1].reshape(-1), node[:, 1:].reshape(-1)], axis=1)
    across = np.stack([node[:-1].reshape(-1), node[1:].reshape(-1)], axis=1)
    return np.concatenate([along, across])


def belief_propagation(dtype: Any, side: int = 10):
    """Loopy belief propagation of an Ising model on a grid of 10 by 10 (Pearl 1988; Murphy, Weiss and Jordan 1999).

    m_ij <- artanh(tanh(J_ij) tanh(h_i + sum of m_ki over neighbours k but j)): messages, 360, are half log-odds;
    couplings J are normal of deviation 0.5, fields h of deviation 0.5.
    """
    rng = np.random.default_rng(70)
    edges = _grid(side, side)
    number = len(edges)
    coupling = np.tanh(0.5 * rng.normal(size=number))
    strength = jnp.asarray(np.concatenate([coupling, coupling]), dtype)
    source, target = jnp.asarray(np.concatenate([edges, edges[:, ::-1]])).T
    field = jnp.asarray(0.5 * rng.normal(size=side**2), dtype)

    def image(message):
        back = jnp.roll(message, number)  # of the same edge, the other way
        return jnp.arctanh(strength * jnp.tanh(field.at[target].add(message)[source] - back))

    return image, np.zeros(2 * number)


def simrank(dtype: Any, number: int = 40, decay: float = 0.8):
    """SimRank (Jeh and Widom 2002) of a random directed graph of 40 nodes with four links each, decay 0.8.

    S <- 0.8 W'S W off the diagonal, 1 on it, with the columns of W the averages over what links to a node.
    """
    rng = np.random.default_rng(71)
    links = np.array([rng.permutation(np.r_[np.ones(4), np.zeros(number - 4)]) for _ in range(number)])
    weight = jnp.asarray(links / np.maximum(links.sum(axis=0), 1), dtype)
    eye = jnp.eye(number, dtype=dtype)

    def image(x):
        return jnp.where(eye == 1, eye, decay * weight.T @ x.reshape(number, number) @ weight).reshape(-1)

    return image, np.eye(number).reshape(-1)


def implicit_graph_layer(dtype: Any, nodes: int = 50, size: int = 16):
    """An implicit graph neural network's layer, 50 nodes of 16 features (Gu et al. 2020).

    X <- relu(A X W + B), A the normalised adjacency of a random graph of mean degree 5 with loops, B normal, and W of
    absolute row sums 0.95, with which X is unique.
    """
    rng = np.random.default_rng(72)
    links = np.triu(rng.uniform(size=(nodes, nodes)) < 5 / nodes, 1)
    links = links + links.T + np.eye(nodes)
    degree = links.sum(axis=1)
    adjacency = jnp.asarray(links / np.sqrt(degree[:, None] * degree), dtype)
    weight = rng.normal(size=(size, size))
    weight = jnp.asarray((0.95 * weight / np.abs(weight).sum(axis=1, keepdims=True)).T, dtype)
    inserted = jnp.asarray(rng.normal(size=(nodes, size)), dtype)

    def image(x):
        return jnp.maximum(adjacency @ x.reshape(nodes, size) @ weight + inserted, 0).reshape(-1)

    return image, np.zeros(nodes * size)


def power_flow(dtype: Any, rows: int = 5, columns: int = 6):
    """Gauss's iteration of the power flow of a grid of 30 buses (Stagg and El-Abiad 1968), voltages complex.

    v_i <- (conj(s_i / v_i) - sum over neighbours of y_ij v_j) / y_ii: the first bus has voltage 1, the 29 others draw
    about 0.02 + 0.01i, the lines have impedances of about 0.02 + 0.1i.
    """
    rng = np.random.default_rng(73)
    edges = _grid(rows, columns)
    line = 1 / ((0.02 + 0.1j) * rng.uniform(0.5, 1.5, len(edges)))
    admittance = np.zeros((rows * columns, rows * columns), complex)
    for (one, two), value in zip(edges, line, strict=True):
        admittance[[one, two], [two, one]] -= value
        admittance[[one, two], [one, two]] += value
    drawn = -(0.02 + 0.01j) * rng.uniform(0.5, 1.5, rows * columns - 1)
    kind = jnp.promote_types(dtype, jnp.complex64)
    own = np.diag(admittance)[1:]
    others = jnp.asarray((admittance[1:, 1:] - np.diag(own)) / own[:, None], kind)
    first, drawn = jnp.asarray(admittance[1:, 0] / own, kind), jnp.asarray(drawn / own.conj(), kind)
    return lambda v: jnp.conj(drawn / v) - first - others @ v, np.ones(rows * columns - 1, complex)
