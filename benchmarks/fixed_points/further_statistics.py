"""Further maps, from statistics: expectation-maximisation, scalings, minorisation, reweighted least squares, modes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

VARIABLES, FACTORS = 20, 3  # of the factor analysis


def factor_analysis(dtype: Any, number: int = 500):
    """Factor analysis of 20 variables with 3 factors from 500 people, by EM (Rubin and Thayer 1982).

    b = L'(L L' + N)^-1; L <- S b'(I - b L + b S b')^-1; N <- diag(S - L b S), with S the covariance, L the loadings and
    N the noise, kept as logarithms: 80 unknowns, of which a rotation of L is free.
    """
    rng = np.random.default_rng(50)
    truth = rng.normal(size=(VARIABLES, FACTORS))
    noise = rng.uniform(0.3, 2.0, VARIABLES)
    data = rng.normal(size=(number, FACTORS)) @ truth.T + rng.normal(size=(number, VARIABLES)) * np.sqrt(noise)
    covariance = np.cov(data.T, bias=True)
    start = np.concatenate([rng.normal(size=VARIABLES * FACTORS), np.log(np.diag(covariance))])
    covariance, eye = jnp.asarray(covariance, dtype), jnp.eye(FACTORS, dtype=dtype)

    def image(x):
        loadings, noise = x[: VARIABLES * FACTORS].reshape(VARIABLES, FACTORS), jnp.exp(x[VARIABLES * FACTORS :])
        beta = jnp.linalg.solve(loadings @ loadings.T + jnp.diag(noise), loadings).T
        cross = covariance @ beta.T
        second = eye - beta @ loadings + beta @ cross
        loadings = jnp.linalg.solve(second, cross.T).T
        noise = jnp.diag(covariance) - jnp.sum(loadings * cross, axis=1)
        return jnp.concatenate([loadings.reshape(-1), jnp.log(noise)])

    return image, start


SEEN, COMPONENTS = 10, 2  # variables and components of the principal components


def missing_components(dtype: Any, number: int = 200):
    """Two probabilistic principal components of 200 rows of 10, a third missing, by EM (Tipping and Bishop 1999).

    Each row's z has precision I + W'W / s over what was seen of it; then each variable's row of W and its mean are
    regressed on the z, with their covariances, and s <- the mean of squares that remains, as a logarithm (Ilin and
    Raiko 2010). 31 unknowns, of which a rotation of W is free.
    """
    rng = np.random.default_rng(51)
    data = rng.normal(size=(number, COMPONENTS)) @ rng.normal(size=(COMPONENTS, SEEN))
    data = data + rng.normal(size=SEEN) + 0.5 * rng.normal(size=(number, SEEN))
    seen = rng.uniform(size=data.shape) < 2 / 3
    data, seen = jnp.asarray(np.where(seen, data, 0.0), dtype), jnp.asarray(seen, dtype)
    eye = jnp.eye(COMPONENTS, dtype=dtype)

    def image(x):
        w, mean, s = x[: SEEN * COMPONENTS].reshape(SEEN, COMPONENTS), x[SEEN * COMPONENTS : -1], jnp.exp(x[-1])
        spread = jnp.linalg.inv(eye + jnp.einsum("nj,ja,jb->nab", seen, w, w) / s)
        z = jnp.einsum("nab,nj,jb->na", spread, seen * (data - mean), w) / s
        z = jnp.concatenate([z, jnp.ones((number, 1), dtype)], axis=1)
        spread = jnp.pad(spread, ((0, 0), (0, 1), (0, 1)))
        second = jnp.einsum("nj,nab->jab", seen, z[:, :, None] * z[:, None, :] + spread)
        products = jnp.einsum("nj,na->ja", seen * data, z)
        both = jnp.linalg.solve(second, products[..., None])[..., 0]
        squares = (data - z @ both.T) ** 2 + jnp.einsum("ja,nab,jb->nj", both, spread, both)
        s = jnp.sum(seen * squares) / jnp.sum(seen)
        return jnp.concatenate([both[:, :COMPONENTS].reshape(-1), both[:, COMPONENTS], jnp.log(s)[None]])

    return image, np.concatenate([rng.normal(size=SEEN * COMPONENTS), np.zeros(SEEN + 1)])


def turnbull(dtype: Any, number: int = 300, cells: int = 40):
    """Turnbull's (1976) self-consistent distribution of 300 times over 40 cells, each known up to an interval.

    p_j <- p_j mean_i(a_ij / sum_k a_ik p_k), with a_ij = 1 where cell j is within person i's interval.
    """
    rng = np.random.default_rng(52)
    time = np.clip((cells / 2 * rng.weibull(1.5, number)).astype(int), 0, cells - 1)
    visits = rng.uniform(size=(number, cells)) < 0.1  # a visit is at the beginning of a cell
    visits[:, 0] = True
    cell = np.arange(cells)
    first = np.array([np.max(cell[v & (cell <= t)]) for v, t in zip(visits, time, strict=True)])
    last = np.array([np.min(cell[v & (cell > t)], initial=cells) for v, t in zip(visits, time, strict=True)])
    within = jnp.asarray((cell >= first[:, None]) & (cell < last[:, None]), dtype)
    return lambda p: p * (within.T @ (1 / (within @ p))) / number, np.full(cells, 1 / cells)


def bradley_terry(dtype: Any, players: int = 100, games: int = 2000):
    """Strengths of 100 players from 2,000 games, by minorisation and maximisation (Hunter 2004).

    g_i <- w_i / sum_j n_ij / (g_i + g_j), then of sum 1, with w_i the games that i won and n_ij those of i and j.
    """
    rng = np.random.default_rng(53)
    strength = np.exp(0.5 * rng.normal(size=players))
    one, two = rng.integers(players, size=games), rng.integers(1, players, size=games)
    two = (one + two) % players
    first = rng.uniform(size=games) < strength[one] / (strength[one] + strength[two])
    won, played = np.zeros(players), np.zeros((players, players))
    np.add.at(won, np.where(first, one, two), 1)
    np.add.at(played, (one, two), 1)
    won, played = jnp.asarray(won, dtype), jnp.asarray(played + played.T, dtype)

    def image(g):
        g = won / jnp.sum(played / (g[:, None] + g), axis=1)
        return g / jnp.sum(g)

    return image, np.full(players, 1 / players)


SHAPE = (6, 7, 8)  # of the table that is fitted to its margins


def terms(x: Any) -> tuple[Any, Any, Any]:
    """Return the logarithms of the three factors that a point of `proportional_fitting` holds, as tables."""
    i, j, k = SHAPE
    first, second, third = x[: i * j], x[i * j : i * j + i * k], x[i * j + i * k :]
    return first.reshape(i, j, 1), second.reshape(i, 1, k), third.reshape(1, j, k)


def proportional_fitting(dtype: Any, people: int = 2000):
    """Iterative proportional fitting of a table of 6 by 7 by 8 to its two-way margins (Deming and Stephan 1940).

    a_ij <- m_ij / sum_k b_ik c_jk, then b_ik and c_jk likewise: the log-linear model without an interaction of all
    three (Bishop, Fienberg and Holland 1975), on logarithms; 146 unknowns, of which the table a b c is unique.
    """
    rng = np.random.default_rng(54)
    counts = rng.multinomial(people, rng.dirichlet(np.full(np.prod(SHAPE), 0.5))).reshape(SHAPE) + 0.5
    first, second, third = (jnp.asarray(np.log(counts.sum(axis=a, keepdims=True)), dtype) for a in (2, 1, 0))

    def image(x):
        _, b, c = terms(x)
        a = first - jax.nn.logsumexp(b + c, axis=2, keepdims=True)
        b = second - jax.nn.logsumexp(a + c, axis=1, keepdims=True)
        c = third - jax.nn.logsumexp(a + b, axis=0, keepdims=True)
        return jnp.concatenate([a.reshape(-1), b.reshape(-1), c.reshape(-1)])

    return image, np.zeros(6 * 7 + 6 * 8 + 7 * 8)


def least_absolute(dtype: Any, number: int = 200, size: int = 20):
    """Least absolute deviations of 200 data in 20 coefficients, by reweighted least squares (Schlossmacher 1973).

    x <- (A'W A)^-1 A'W b with W = diag((A x - b)^2 + 10^-6)^-1/2; errors are Cauchy's.
    """
    rng = np.random.default_rng(55)
    data = rng.normal(size=(number, size))
    side = jnp.asarray(data @ rng.normal(size=size) + 0.3 * rng.standard_cauchy(number), dtype)
    data = jnp.asarray(data, dtype)

    def image(x):
        weighted = data.T / jnp.sqrt((data @ x - side) ** 2 + 1e-6)
        return jnp.linalg.solve(weighted @ data, weighted @ side)

    return image, np.linalg.lstsq(np.asarray(data, float), np.asarray(side, float), rcond=None)[0]


def geometric_median(dtype: Any, number: int = 100, size: int = 3):
    """Weiszfeld's (1937) iteration to the point of least summed distance from 100 points of space.

    x <- sum_i y_i / d_i / sum_i 1 / d_i with d_i = (|x - y_i|^2 + 10^-6)^1/2; the points are Student's with one degree
    of freedom, ten times as wide in the last coordinate.
    """
    rng = np.random.default_rng(56)
    points = rng.normal(size=(number, size)) * [1, 1, 10] / np.sqrt(rng.chisquare(1, (number, 1)))
    start = points.mean(axis=0)
    points = jnp.asarray(points, dtype)

    def image(x):
        weight = 1 / jnp.sqrt(jnp.sum((x - points) ** 2, axis=1) + 1e-6)
        return weight @ points / jnp.sum(weight)

    return image, start


def mean_shift(dtype: Any, number: int = 500, size: int = 5):
    """Mean shift to the mode of a Gaussian kernel density of 500 skewed data in 5 dimensions, from their mean.

    x <- sum_i k_i y_i / sum_i k_i with k_i = exp(-|x - y_i|^2 / 2 h^2) (Fukunaga and Hostetler 1975), the data
    lognormal and standardised, and h of Scott's rule (1992), 500^(-1/9).
    """
    rng = np.random.default_rng(57)
    data = np.exp(0.5 * rng.normal(size=(number, size)))
    data = jnp.asarray((data - data.mean(axis=0)) / data.std(axis=0), dtype)
    square = 2 * number ** (-2 / (size + 4))
    return lambda x: jax.nn.softmax(-jnp.sum((x - data) ** 2, axis=1) / square) @ data, np.zeros(size)
