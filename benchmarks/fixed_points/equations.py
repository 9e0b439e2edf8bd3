"""Maps from physics and numerical analysis: equations rewritten as x = F(x)."""

from typing import Any

import jax.numpy as jnp
import numpy as np


def spiral(dtype: Any):
    """A slow spiral into a point of the plane."""
    turn = 0.98 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    turn = jnp.asarray(turn, dtype)
    return lambda x: turn @ x + 0.005 * jnp.tanh(x) + 0.3, np.array([5.0, -3.0])


def chandrasekhar(dtype: Any, number: int = 200, albedo: float = 0.999):
    """Chandrasekhar's H-equation of radiative transfer, midpoint rule."""
    mu = (np.arange(number) + 0.5) / number
    kernel = jnp.asarray(albedo / 2 * mu[:, None] / (mu[:, None] + mu) / number, dtype)
    return lambda h: 1 / (1 - kernel @ h), np.ones(number)


def mean_field(dtype: Any, number: int = 100):
    """Naive mean field of an antiferromagnet: one direction has derivative -4.4, so plain iteration oscillates."""
    rng = np.random.default_rng(4)
    couplings = rng.normal(size=(number, number)) * 0.3 / np.sqrt(number)
    couplings = jnp.asarray((couplings + couplings.T) / 2 - 4.4 / number, dtype)
    field = jnp.asarray(0.1 * rng.normal(size=number), dtype)
    return lambda m: jnp.tanh(couplings @ m + field), np.full(number, 0.5)


def _self_consistent(dtype: Any, strength: float, number: int = 60, occupied: int = 6):
    grid = np.linspace(-5, 5, number)
    step = grid[1] - grid[0]
    kinetic = (2 * np.eye(number) - np.eye(number, k=1) - np.eye(number, k=-1)) / (2 * step**2)
    core = jnp.asarray(kinetic + np.diag(0.5 * grid**2), dtype)
    repulsion = jnp.asarray(strength / np.sqrt((grid[:, None] - grid) ** 2 + 1) * step, dtype)

    def density(rho):
        _, orbitals = jnp.linalg.eigh(core + jnp.diag(repulsion @ rho))
        return 2 * jnp.sum(orbitals[:, :occupied] ** 2, axis=1) / step

    return density, np.full(number, 2.0 * occupied / (number * step))


def scf(dtype: Any):
    """The density of twelve electrons in a harmonic well that repel each other a little."""
    return _self_consistent(dtype, 0.6)


def scf_hard(dtype: Any):
    """The same with a repulsion at which charge sloshes: plain iteration does not settle."""
    return _self_consistent(dtype, 3.0)


def power(dtype: Any, number: int = 200):
    """Power iteration: the leading eigenvector; other eigenvectors are fixed points that repel."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(number, number)))[0]
    matrix = jnp.asarray(
        basis @ np.diag(np.concatenate([[1.0, 0.97], np.linspace(0, 0.93, number - 2)])) @ basis.T, dtype
    )

    def image(x):
        y = matrix @ x
        return y / jnp.linalg.norm(y)

    start = rng.normal(size=number)
    return image, start / np.linalg.norm(start)


def power_complex(dtype: Any, number: int = 200):
    """Power iteration of a Hermitian matrix; phases are free."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(number, number)) + 1j * rng.normal(size=(number, number)))[0]
    spectrum = np.concatenate([[1.0], np.linspace(0, 0.96, number - 1)])
    matrix = jnp.asarray(basis @ np.diag(spectrum) @ basis.conj().T, jnp.promote_types(dtype, jnp.complex64))

    def image(x):
        y = matrix @ x
        return y / jnp.linalg.norm(y)

    start = rng.normal(size=number) + 1j * rng.normal(size=number)
    return image, start / np.linalg.norm(start)


def kepler(dtype: Any, number: int = 500):
    """Kepler's equation for many orbits at once, eccentricities up to 0.95."""
    anomaly = jnp.asarray(np.linspace(0.1, 3.0, number), dtype)
    eccentricity = jnp.asarray(np.linspace(0.05, 0.95, number), dtype)
    return lambda e: anomaly + eccentricity * jnp.sin(e), np.linspace(0.1, 3.0, number)


def _neighbours(u):
    padded = jnp.pad(u, 1)
    return padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]


def bratu_jacobi(dtype: Any, side: int = 48):
    """Bratu's equation -lap u = 5 exp(u) on a square, Jacobi sweeps."""
    square = 1 / (side + 1) ** 2

    def image(x):
        u = x.reshape(side, side)
        return ((_neighbours(u) + 5.0 * square * jnp.exp(u)) / 4).reshape(-1).astype(dtype)

    return image, np.zeros(side * side)


def jacobi(dtype: Any, side: int = 64):
    """Poisson's equation on a square with a random source, Jacobi sweeps."""
    source = np.random.default_rng(3).normal(size=(side, side)) / (side + 1) ** 2
    source = jnp.asarray(source, dtype)

    def image(x):
        return ((_neighbours(x.reshape(side, side)) + source) / 4).reshape(-1)

    return image, np.zeros(side * side)


def diffusion(dtype: Any, side: int = 316):
    """Stationary nonlinear reaction and diffusion, 99,856 unknowns: one smoothing and one reaction a step."""
    rng = np.random.default_rng(5)
    source = jnp.asarray(rng.normal(size=(side, side)), dtype)

    def image(x):
        u = x.reshape(side, side)
        return (u / 2 + 0.97 * _neighbours(u) / 8 + 0.02 * jnp.tanh(source - u)).reshape(-1)

    return image, np.zeros(side * side)
