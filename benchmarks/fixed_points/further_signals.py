"""Further maps, from signals and images: splittings, deconvolution, factorisations of tensors and matrices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def _shrunk(x, threshold: float):
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)


def admm_lasso(dtype: Any, rows: int = 100, size: int = 250):
    """The alternating direction method of multipliers for the lasso, 100 rows and 250 columns (Boyd et al. 2011).

    x = (A'A + I)^-1 (A'b + z - u); z <- shrunk(x + u, weight); u <- u + x - z. The unknowns are z and u, 500; the
    weight is a tenth of that at which all of z vanishes.
    """
    rng = np.random.default_rng(40)
    data = rng.normal(size=(rows, size))
    data /= np.linalg.norm(data, axis=0)
    truth = np.zeros(size)
    truth[rng.choice(size, 20, replace=False)] = rng.normal(size=20)
    side = data.T @ (data @ truth + 0.03 * rng.normal(size=rows))
    weight = 0.1 * float(np.max(np.abs(side)))
    inverse = jnp.asarray(np.linalg.inv(data.T @ data + np.eye(size)), dtype)
    side = jnp.asarray(side, dtype)

    def image(state):
        z, u = state[:size], state[size:]
        x = inverse @ (side + z - u)
        z = _shrunk(x + u, weight)
        return jnp.concatenate([z, u + x - z])

    return image, np.zeros(2 * size)


def admm_total_variation(dtype: Any, number: int = 200):
    """The same method for denoising a piecewise constant signal of 200 samples by total variation (Boyd et al. 2011).

    x = (I + D'D)^-1 (b + D'(z - u)); z <- shrunk(D x + u, 5); u <- u + D x - z, with D the differences of neighbours.
    The unknowns are z and u, 398.
    """
    rng = np.random.default_rng(41)
    levels = np.repeat(rng.integers(-4, 5, 8), number // 8)
    noisy = levels + rng.normal(size=number)
    difference = np.diff(np.eye(number), axis=0)
    inverse = jnp.asarray(np.linalg.inv(np.eye(number) + difference.T @ difference), dtype)
    noisy = jnp.asarray(noisy, dtype)

    def adjoint(p):
        return -jnp.diff(jnp.pad(p, 1))

    def image(state):
        z, u = state[: number - 1], state[number - 1 :]
        slope = jnp.diff(inverse @ (noisy + adjoint(z - u)))
        z = _shrunk(slope + u, 5.0)
        return jnp.concatenate([z, u + slope - z])

    return image, np.zeros(2 * (number - 1))


SIDE = 32  # of the image that Chambolle and Pock's method denoises


def chambolle_pock(dtype: Any, side: int = SIDE, fidelity: float = 8.0):
    """Chambolle and Pock's (2011) primal-dual method for denoising an image of 32 by 32 by total variation.

    u <- (u - t D'p + t w g) / (1 + t w); p <- projection of p + s D(2 u_new - u) to lengths of at most 1, with
    s = t = 8^-1/2 and w = 8. The unknowns are u and p, 3,072. The image is unique, p where u is flat is not.
    """
    rng = np.random.default_rng(42)
    row, column = np.mgrid[:side, :side] / side
    shapes = 0.2 + 0.6 * ((row - 0.4) ** 2 + (column - 0.4) ** 2 < 0.06) + 0.4 * ((row > 0.6) & (column > 0.5))
    noisy = jnp.asarray(shapes + 0.1 * rng.normal(size=(side, side)), dtype)
    step = 8**-0.5

    def gradient(u):
        down, right = jnp.diff(u, axis=0), jnp.diff(u, axis=1)
        return jnp.stack([jnp.pad(down, ((0, 1), (0, 0))), jnp.pad(right, ((0, 0), (0, 1)))])

    def adjoint(p):
        down, right = p[0, :-1], p[1, :, :-1]
        return -jnp.diff(jnp.pad(down, ((1, 1), (0, 0))), axis=0) - jnp.diff(jnp.pad(right, ((0, 0), (1, 1))), axis=1)

    def image(state):
        u, p = state[: side**2].reshape(side, side), state[side**2 :].reshape(2, side, side)
        following = (u - step * adjoint(p) + step * fidelity * noisy) / (1 + step * fidelity)
        p = p + step * gradient(2 * following - u)
        p = p / jnp.maximum(1, jnp.sqrt(jnp.sum(p**2, axis=0)))
        return jnp.concatenate([following.reshape(-1), p.reshape(-1)])

    return image, np.concatenate([np.asarray(noisy, float).reshape(-1), np.zeros(2 * side**2)])


def richardson_lucy(dtype: Any, number: int = 128):
    """Richardson (1972) and Lucy's (1974) deconvolution of 128 counts, with a gamma prior (Lange, Bahn, Little 1987).

    x <- (x A'(y / (A x + 1)) + 0.1) / (A'1 + 0.01): A is a Gaussian blur of width 2, the background is 1, and the
    prior, of shape 1.1 and rate 0.01, makes the point unique and keeps it positive.
    """
    rng = np.random.default_rng(43)
    place = np.arange(number)
    blur = np.exp(-0.5 * ((place[:, None] - place) / 2) ** 2)
    blur /= blur.sum(axis=0).max()
    truth = np.zeros(number)
    truth[rng.choice(number, 10, replace=False)] = rng.uniform(100, 1000, 10)
    counts = jnp.asarray(rng.poisson(blur @ truth + 1), dtype)
    seen = jnp.asarray(blur.sum(axis=0), dtype)
    blur = jnp.asarray(blur, dtype)
    start = np.full(number, float(np.mean(np.asarray(counts, float))))
    return lambda x: (x * (blur.T @ (counts / (blur @ x + 1))) + 0.1) / (seen + 0.01), start


def soft_impute(dtype: Any, rows: int = 40, columns: int = 30, rank: int = 3):
    """Completing a matrix of 40 by 30 of which half is seen, by soft-impute (Mazumder, Hastie and Tibshirani 2010).

    Z <- U max(S - 1, 0) V' with U S V' the singular value decomposition of X where it is seen and Z elsewhere.
    """
    rng = np.random.default_rng(44)
    data = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns)) + 0.1 * rng.normal(size=(rows, columns))
    seen = jnp.asarray(rng.uniform(size=data.shape) < 0.5)
    data = jnp.asarray(data, dtype)

    def image(z):
        left, values, right = jnp.linalg.svd(jnp.where(seen, data, z.reshape(rows, columns)), full_matrices=False)
        return ((left * jnp.maximum(values - 1, 0)) @ right).reshape(-1)

    return image, np.zeros(rows * columns)


SIZES, RANK = (8, 9, 10), 3  # of the tensor that is decomposed


def factors(x: Any) -> list[Any]:
    """Return the three factors that a point of `cp_als` holds."""
    ends = np.cumsum([size * RANK for size in SIZES])
    return [x[end - size * RANK : end].reshape(size, RANK) for size, end in zip(SIZES, ends, strict=True)]


def cp_als(dtype: Any):
    """A canonical decomposition of rank 3 of a tensor of 8 by 9 by 10, by alternating least squares.

    A <- normalised T_1 (C * B) (B'B o C'C)^-1, then B likewise, then C, which keeps the size (Carroll and Chang 1970,
    Harshman 1970; Kolda and Bader 2009): * is the columns' Kronecker product, o the entries' product. The tensor is of
    rank 3 but for noise of a tenth; 81 unknowns, of which signs and the order of columns are free.
    """
    rng = np.random.default_rng(45)
    truth = [rng.normal(size=(size, RANK)) for size in SIZES]
    tensor = jnp.asarray(np.einsum("ir,jr,kr->ijk", *truth) + 0.1 * rng.normal(size=SIZES), dtype)

    def solved(products, first, second):
        return jnp.linalg.solve((first.T @ first) * (second.T @ second), products.T).T

    def normalised(a):
        return a / jnp.linalg.norm(a, axis=0)

    def image(x):
        _, b, c = factors(x)
        a = normalised(solved(jnp.einsum("ijk,jr,kr->ir", tensor, b, c), b, c))
        b = normalised(solved(jnp.einsum("ijk,ir,kr->jr", tensor, a, c), a, c))
        c = solved(jnp.einsum("ijk,ir,jr->kr", tensor, a, b), a, b)
        return jnp.concatenate([a.reshape(-1), b.reshape(-1), c.reshape(-1)])

    return image, rng.normal(size=sum(SIZES) * RANK)


HISTOGRAMS = 4  # of which the barycentre is sought


def wasserstein_barycentre(dtype: Any, number: int = 100, temperature: float = 0.002):
    """The entropic barycentre of four histograms on 100 points, by Bregman projections (Benamou et al. 2015).

    u_k = p_k / (K v_k), a = the geometric mean of the K'u_k, v_k <- a / (K'u_k), on logarithms of the v_k: 400
    unknowns, each v_k free up to a factor. K = exp(-(x - y)^2 / temperature) on points of the unit interval.
    """
    rng = np.random.default_rng(46)
    place = (np.arange(number) + 0.5) / number
    centre, width = rng.uniform(0.2, 0.8, (HISTOGRAMS, 2, 1)), rng.uniform(0.03, 0.1, (HISTOGRAMS, 2, 1))
    masses = np.exp(-0.5 * ((place - centre) / width) ** 2).sum(axis=1) + 0.01
    logs = jnp.asarray(np.log(masses / masses.sum(axis=1, keepdims=True)), dtype)
    cost = jnp.asarray((place[:, None] - place) ** 2 / temperature, dtype)

    def smoothed(f):
        return jax.nn.logsumexp(f[:, None, :] - cost, axis=2)

    def image(x):
        back = smoothed(logs - smoothed(x.reshape(HISTOGRAMS, number)))
        return (jnp.mean(back, axis=0) - back).reshape(-1)

    return image, np.zeros(HISTOGRAMS * number)
