"""Further maps, from physics and numerical analysis: sweeps, nonlinear diffusion, condensates, liquids, transport."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax


def gauss_seidel(dtype: Any, side: int = 31):
    """Gauss and Seidel's sweep, red before black, of Poisson's equation -lap u = 1 on 31 by 31 points (Young 1971)."""
    square = 1 / (side + 1) ** 2
    red = jnp.asarray(np.add.outer(np.arange(side), np.arange(side)) % 2 == 0)

    def relaxed(u):
        around = jnp.pad(u, 1)
        return (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:] + square) / 4

    def image(x):
        u = x.reshape(side, side)
        u = jnp.where(red, relaxed(u), u)
        return jnp.where(red, u, relaxed(u)).reshape(-1).astype(dtype)

    return image, np.zeros(side**2)


def convection_diffusion(dtype: Any, side: int = 31, viscosity: float = 1 / 200):
    """Jacobi's sweeps of a recirculating wind, the double glazing problem (Elman, Silvester and Wathen 2014).

    -lap u / 200 + w . grad u = 0 on [-1, 1]^2 with w = (2 y (1 - x^2), -2 x (1 - y^2)), u = 1 on the wall x = 1 and 0
    on the others, 31 by 31 points, upwind differences: u <- (the neighbours' terms) / (the point's coefficient).
    """
    step = 2 / (side + 1)
    place = -1 + step * np.arange(1, side + 1)
    y, x = place[:, None], place[None, :]
    along, across = 2 * y * (1 - x**2), -2 * x * (1 - y**2)
    drift = viscosity / step**2
    west, east = drift + np.maximum(along, 0) / step, drift + np.maximum(-along, 0) / step
    south, north = drift + np.maximum(across, 0) / step, drift + np.maximum(-across, 0) / step
    total = west + east + south + north
    west, east, south, north = (jnp.asarray(part / total, dtype) for part in (west, east, south, north))

    def image(state):
        u = jnp.pad(state.reshape(side, side), 1).at[:, -1].set(1.0)
        around = west * u[1:-1, :-2] + east * u[1:-1, 2:] + south * u[:-2, 1:-1] + north * u[2:, 1:-1]
        return around.reshape(-1)

    return image, np.zeros(side**2)


def nonlinear_diffusion(dtype: Any, number: int = 127):
    """Picard's iteration of ((1 + u)^2 u')' = 0, u(0) = 0, u(1) = 1, at 127 points (Langtangen 2012).

    The linear equation with the last u in the coefficient, k between neighbours the mean of theirs, has the solution
    u_i <- sum_{j <= i} 1 / k_j / sum_j 1 / k_j. The limit of many points is (7 x + 1)^(1/3) - 1.
    """
    ends = jnp.asarray([0.0, 1.0], dtype)

    def image(u):
        coefficient = (1 + jnp.concatenate([ends[:1], u, ends[1:]])) ** 2
        climbed = jnp.cumsum(2 / (coefficient[1:] + coefficient[:-1]))
        return climbed[:-1] / climbed[-1]

    return image, np.arange(1, number + 1) / (number + 1)


def gross_pitaevskii(dtype: Any, number: int = 128, strength: float = 100.0, step: float = 0.1):
    """The ground state of a condensate by normalised imaginary time, semi-implicit steps (Bao and Du 2004).

    f <- g / |g| with (1 + 0.1 (-d^2/dx^2 / 2 + x^2 / 2 + 100 f^2)) g = f, at 128 points of [-8, 8]; the sign is free.
    """
    grid = np.linspace(-8, 8, number + 2)[1:-1]
    width = float(grid[1] - grid[0])
    kinetic = (2 * np.eye(number) - np.eye(number, k=1) - np.eye(number, k=-1)) / (2 * width**2)
    fixed = jnp.asarray(np.eye(number) + step * (kinetic + np.diag(grid**2 / 2)), dtype)

    def image(f):
        g = jnp.linalg.solve(fixed + jnp.diag(step * strength * f**2), f)
        return g / jnp.sqrt(width * jnp.sum(g**2))

    return image, np.exp(-(grid**2) / 2) / np.pi**0.25


def ornstein_zernike(dtype: Any, number: int = 512, density: float = 0.6, temperature: float = 1.5):
    """Structure of a Lennard-Jones liquid in the hypernetted-chain approximation (van Leeuwen et al. 1959).

    c = exp(-u / 1.5 + g) - 1 - g; g <- the mean of g and the transform back of 0.6 c^2 / (1 - 0.6 c) with c's sine
    transform, at 512 distances up to 10.24, density 0.6: the indirect correlations of Ornstein and Zernike's equation.
    """
    width = 0.02
    index = np.arange(1, number + 1)
    distance, wave = width * index, np.pi / (number + 1) / width * index
    sines = np.sin(np.pi / (number + 1) * np.outer(index, index))
    forth = jnp.asarray(4 * np.pi * width / wave[:, None] * sines * distance, dtype)
    back = jnp.asarray(wave[0] / (2 * np.pi**2) / distance[:, None] * sines * wave, dtype)
    energy = jnp.asarray(4 * (distance**-12.0 - distance**-6.0) / temperature, dtype)

    def image(g):
        c = forth @ (jnp.exp(g - energy) - 1 - g)
        return (g + back @ (density * c**2 / (1 - density * c))) / 2

    return image, np.zeros(number)


def slab_transport(dtype: Any, cells: int = 200, ratio: float = 0.98):
    """Source iteration of neutrons in a slab of 20 free paths, 200 cells, 8 directions (Lewis and Miller 1984).

    phi <- sum_m w_m psi_m with m_m dpsi_m/dx + psi_m = (0.98 phi + 1) / 2, diamond differences, nothing coming in.
    """
    cosines, weights = np.polynomial.legendre.leggauss(8)
    ahead = jnp.asarray(20 / cells / cosines[4:], dtype)  # the other four are their mirror images
    weights = jnp.asarray(weights[4:], dtype)

    def swept(source):
        def cell(entering, q):
            leaving = ((1 - ahead / 2) * entering + ahead * q) / (1 + ahead / 2)
            return leaving, weights @ (entering + leaving) / 2

        return lax.scan(cell, jnp.zeros(4, dtype), source)[1]

    def image(phi):
        source = (ratio * phi + 1) / 2
        return swept(source) + swept(source[::-1])[::-1]

    return image, np.zeros(cells)
