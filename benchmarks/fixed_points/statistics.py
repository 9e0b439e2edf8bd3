"""Maps from statistics and economics: expectation-maximisation, contractions, transport."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Deaths of women over 80 in London, 1910 to 1912, by notices a day (Hasselblad 1969): how often 0, 1, .., 9.
NOTICES = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1])


def em_poisson(dtype: Any):
    """A mixture of two Poisson distributions; EM is slow, since they overlap."""
    days = jnp.asarray(NOTICES, dtype)
    number = jnp.arange(10).astype(dtype)

    def image(x):
        share, first, second = x[0], x[1], x[2]
        a = share * jnp.exp(-first) * first**number
        b = (1 - share) * jnp.exp(-second) * second**number
        mine = days * a / (a + b)
        other = days - mine
        means = jnp.sum(mine * number) / jnp.sum(mine), jnp.sum(other * number) / jnp.sum(other)
        return jnp.stack([jnp.sum(mine) / jnp.sum(days), *means])

    return image, np.array([0.3, 1.0, 2.5])


def blood_groups(dtype: Any):
    """Frequencies of the alleles A, B, O from 186 people of group A, 38 of B, 13 of AB, 284 of O."""
    a, b, ab, o = (jnp.asarray(float(n), dtype) for n in (186, 38, 13, 284))
    people = 2 * (a + b + ab + o)

    def image(x):
        p, q, r = x[0], x[1], x[2]
        aa, bb = a * p / (p + 2 * r), b * q / (q + 2 * r)  # expected homozygotes
        return jnp.stack([a + aa + ab, b + bb + ab, (a - aa) + (b - bb) + 2 * o]) / people

    return image, np.array([0.1, 0.8, 0.1])


def em_gauss(dtype: Any, kinds: int = 6, number: int = 1000):
    """A mixture of six Gaussians on the line: weights, means and standard deviations."""
    rng = np.random.default_rng(7)
    centres = np.array([-6, -3.2, -0.8, 1.4, 4.0, 7.0])
    data = jnp.asarray(centres[rng.integers(0, kinds, number)] + rng.normal(size=number), dtype)

    def image(x):
        weight, mean, deviation = x.reshape(3, kinds)
        density = weight / deviation * jnp.exp(-0.5 * ((data[:, None] - mean) / deviation) ** 2)
        share = density / jnp.sum(density, axis=1, keepdims=True)
        total = jnp.sum(share, axis=0)
        mean = share.T @ data / total
        spread = jnp.sqrt(jnp.sum(share * (data[:, None] - mean) ** 2, axis=0) / total)
        return jnp.concatenate([total / number, mean, spread])

    return image, np.concatenate([np.full(kinds, 1 / kinds), np.linspace(-7, 8, kinds), np.full(kinds, 1.5)])


def em_multinomial(dtype: Any, kinds: int = 3, words: int = 20, documents: int = 300):
    """A mixture of three multinomials over twenty words, on logarithms of the probabilities."""
    rng = np.random.default_rng(8)
    topics = rng.dirichlet(np.full(words, 2.0), kinds)
    counts = jnp.asarray([rng.multinomial(25, topics[rng.integers(kinds)]) for _ in range(documents)], dtype)

    def image(x):
        weight, topic = x[:kinds], x[kinds:].reshape(kinds, words)
        topic = jax.nn.log_softmax(topic, axis=1)
        share = jax.nn.softmax(jax.nn.log_softmax(weight) + counts @ topic.T, axis=1)
        log_counts = jnp.log(share.T @ counts + 1e-3)
        weight = jnp.log(jnp.mean(share, axis=0))
        return jnp.concatenate([weight, jax.nn.log_softmax(log_counts, axis=1).reshape(-1)])

    start = np.log(rng.dirichlet(np.full(words, 20.0), kinds))
    return image, np.concatenate([np.log(np.full(kinds, 1 / kinds)), start.reshape(-1)])


def baum_welch(dtype: Any, states: int = 3, symbols: int = 5, length: int = 300):
    """A hidden Markov chain of three states and five symbols: transitions and emissions."""
    rng = np.random.default_rng(9)
    chain = 0.85 * np.eye(states) + 0.15 / states
    emission = rng.dirichlet(np.full(symbols, 1.0), states)
    state, seen = 0, []
    for _ in range(length):
        state = rng.choice(states, p=chain[state])
        seen.append(rng.choice(symbols, p=emission[state]))
    seen = jnp.asarray(np.array(seen))
    marks = jax.nn.one_hot(seen, symbols, dtype=dtype)

    def image(x):
        chain, emission = x[: states**2].reshape(states, states), x[states**2 :].reshape(states, symbols)
        likelihood = marks @ emission.T

        def forward(alpha, b):
            alpha = (alpha @ chain) * b
            total = jnp.sum(alpha)
            return alpha / total, (alpha / total, total)

        def backward(beta, both):
            b, total = both
            beta = chain @ (b * beta) / total
            return beta, beta

        first = likelihood[0] / states
        start = first / jnp.sum(first)
        _, (alphas, totals) = jax.lax.scan(forward, start, likelihood[1:])
        alphas = jnp.concatenate([start[None], alphas])
        last = jnp.ones(states, dtype)
        _, betas = jax.lax.scan(backward, last, (likelihood[1:], totals), reverse=True)
        betas = jnp.concatenate([betas, last[None]])
        moves = (alphas[:-1] / totals[:, None]).T @ (likelihood[1:] * betas[1:]) * chain + 0.01
        shown = (alphas * betas).T @ marks + 0.01
        chain = moves / jnp.sum(moves, axis=1, keepdims=True)
        return jnp.concatenate([chain.reshape(-1), (shown / jnp.sum(shown, axis=1, keepdims=True)).reshape(-1)])

    start = 0.6 * np.eye(states) + 0.4 / states
    guess = rng.dirichlet(np.full(symbols, 5.0), states)
    return image, np.concatenate([start.reshape(-1), guess.reshape(-1)])


def student_t(dtype: Any, number: int = 200, size: int = 5):
    """Location and scatter of a Student t with one degree of freedom, by EM: few data, heavy tails."""
    rng = np.random.default_rng(10)
    data = rng.normal(size=(number, size)) @ rng.normal(size=(size, size)) / np.sqrt(rng.chisquare(1, number))[:, None]
    data = jnp.asarray(data, dtype)

    def image(x):
        mean, scatter = x[:size], x[size:].reshape(size, size)
        centred = data - mean
        distance = jnp.sum(centred * jnp.linalg.solve(scatter, centred.T).T, axis=1)
        weight = (1 + size) / (1 + distance)
        mean = weight @ data / jnp.sum(weight)
        centred = data - mean
        return jnp.concatenate([mean, ((weight[:, None] * centred).T @ centred / number).reshape(-1)])

    return image, np.concatenate([np.zeros(size), np.eye(size).reshape(-1)])


def demand_inversion(dtype: Any, products: int = 100, people: int = 200):
    """Mean utilities from market shares (Berry, Levinsohn and Pakes): a contraction, slow if few buy nothing."""
    rng = np.random.default_rng(11)
    taste = jnp.asarray(2.0 * rng.normal(size=(people, 3)) @ rng.normal(size=(3, products)), dtype)

    def shares(utility):
        both = jnp.concatenate([taste + utility, jnp.zeros((people, 1), dtype)], axis=1)
        return jnp.mean(jax.nn.softmax(both, axis=1), axis=0)[:-1]

    observed = jnp.log(shares(jnp.asarray(rng.normal(size=products) + 1, dtype)))
    return lambda utility: utility + observed - jnp.log(shares(utility)), np.zeros(products)


def sinkhorn(dtype: Any, number: int = 200, temperature: float = 0.05):
    """One potential of entropic transport between two clouds of points; it is free up to a constant."""
    rng = np.random.default_rng(12)
    a, b = rng.uniform(size=(number, 2)), rng.uniform(size=(number, 2)) ** 2
    cost = jnp.asarray(np.sum((a[:, None] - b) ** 2, axis=2) / temperature, dtype)

    def image(f):
        g = -jax.nn.logsumexp(f[:, None] - cost, axis=0)
        return -jax.nn.logsumexp(g - cost, axis=1)

    return image, np.zeros(number)


def value_iteration(dtype: Any, states: int = 300, choices: int = 4, discount: float = 0.99):
    """Bellman's equation of a random decision process: the maximum has kinks."""
    rng = np.random.default_rng(13)
    chain = jnp.asarray(rng.dirichlet(np.full(states, 0.02), (choices, states)), dtype)
    reward = jnp.asarray(rng.uniform(size=(choices, states)), dtype)
    return lambda v: jnp.max(reward + discount * chain @ v, axis=0), np.zeros(states)


def pagerank(dtype: Any, number: int = 1000, damping: float = 0.95):
    """The stationary distribution of a random surfer."""
    rng = np.random.default_rng(14)
    links = (rng.uniform(size=(number, number)) < 3 / number) * rng.pareto(1.2, number)[:, None]
    links[:, links.sum(axis=0) == 0] = 1.0
    links = jnp.asarray(links / links.sum(axis=0), dtype)
    return lambda x: damping * links @ x + (1 - damping) / number * jnp.sum(x), np.full(number, 1 / number)
