"""Four differential equations for small networks, each with a reference solution.

A network's output is put into an expression that satisfies the boundary and initial conditions whatever the network is,
so that the loss is the mean square of the equation's residual alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel.tasks import networks


class Equation(NamedTuple):
    """A differential equation for a network.

    Attributes:
      inputs: what the network sees of a point: their number.
      solution: `solution(params, point)`, the expression with the network inside.
      residual: `residual(params, point)`, what the equation leaves.
      low, high: the corners of the domain.
      points: collocation points, shape (n, d).
      test_points: where the error is measured, shape (m, d).
      reference: the solution there, shape (m,).
    """

    inputs: int
    solution: Callable[[Any, jax.Array], jax.Array]
    residual: Callable[[Any, jax.Array], jax.Array]
    low: np.ndarray
    high: np.ndarray
    points: np.ndarray
    test_points: np.ndarray
    reference: np.ndarray


def network(params: networks.Layers, x: jax.Array) -> jax.Array:
    """Return the output of a tanh network at a point."""
    return networks.forward(params, x, jnp.tanh)[0]


def slopes(function: Callable[[jax.Array], jax.Array], x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Return the first and the second derivative along an axis."""
    along = jnp.zeros_like(x).at[axis].set(1.0)

    def first(x: jax.Array) -> jax.Array:
        return jax.jvp(function, (x,), (along,))[1]

    return jax.jvp(first, (x,), (along,))


def random_points(equation: Equation, n: int, seed: int) -> np.ndarray:
    """Return uniform random points of the domain."""
    unit = np.random.default_rng(seed).uniform(size=(n, len(equation.low)))
    return equation.low + (equation.high - equation.low) * unit


def poisson_1d() -> Equation:
    """Poisson: u'' = f on (0, 1), u = 0 at both ends, u = sin(2 pi x) + sin(6 pi x) / 5."""

    def exact(x: Any, lib: Any) -> Any:
        return lib.sin(2 * np.pi * x) + 0.2 * lib.sin(6 * np.pi * x)

    def solution(params: Any, x: jax.Array) -> jax.Array:
        return x[0] * (1.0 - x[0]) * network(params, 2.0 * x - 1.0)

    def residual(params: Any, x: jax.Array) -> jax.Array:
        force = -((2 * np.pi) ** 2) * jnp.sin(2 * np.pi * x[0]) - 0.2 * (6 * np.pi) ** 2 * jnp.sin(6 * np.pi * x[0])
        return slopes(lambda x: solution(params, x), x, 0)[1] - force

    points, test = ((np.arange(n) + 0.5)[:, None] / n for n in (100, 1000))
    return Equation(1, solution, residual, np.zeros(1), np.ones(1), points, test, exact(test[:, 0], np))


def poisson_2d() -> Equation:
    """The Laplacian of u is f on the unit square, u = 0 on its boundary, u = sin(pi x) sin(2 pi y)."""

    def solution(params: Any, x: jax.Array) -> jax.Array:
        return x[0] * (1.0 - x[0]) * x[1] * (1.0 - x[1]) * network(params, 2.0 * x - 1.0)

    def residual(params: Any, x: jax.Array) -> jax.Array:
        laplacian = sum(slopes(lambda x: solution(params, x), x, axis)[1] for axis in (0, 1))
        return laplacian + 5 * np.pi**2 * jnp.sin(np.pi * x[0]) * jnp.sin(2 * np.pi * x[1])

    points, test = (_grid((n, n), np.zeros(2), np.ones(2)) for n in (18, 50))
    want = np.sin(np.pi * test[:, 0]) * np.sin(2 * np.pi * test[:, 1])
    return Equation(2, solution, residual, np.zeros(2), np.ones(2), points, test, want)


def burgers() -> Equation:
    """u_t + u u_x = nu u_xx, u(0, x) = -sin(pi x), u = 0 at x = -1 and 1, nu = 0.1 / pi; Cole and Hopf's reference."""
    nu = 0.1 / np.pi

    def solution(params: Any, z: jax.Array) -> jax.Array:
        t, x = z
        return -jnp.sin(np.pi * x) + t * (1.0 - x * x) * network(params, jnp.stack([2.0 * t - 1.0, x]))

    def residual(params: Any, z: jax.Array) -> jax.Array:
        def u(z: jax.Array) -> jax.Array:
            return solution(params, z)

        along_t = jax.jvp(u, (z,), (jnp.array([1.0, 0.0]),))[1]
        along_x, bend = slopes(u, z, 1)
        return along_t + u(z) * along_x - nu * bend

    low, high = np.array([0.0, -1.0]), np.array([1.0, 1.0])
    test = _grid((20, 101), low, high)
    equation = Equation(2, solution, residual, low, high, test, test, _cole_hopf(test, nu))
    return equation._replace(points=random_points(equation, 500, 0))


def allen_cahn() -> Equation:
    """u_t = 0.01 u_xx + 5 u - 5 u^3, periodic, u(0, x) = x^2 cos(pi x); reference by Fourier modes and ETDRK4."""

    def solution(params: Any, z: jax.Array) -> jax.Array:
        t, x = z
        seen = jnp.stack([2.0 * t - 1.0, jnp.cos(np.pi * x), jnp.sin(np.pi * x)])
        return x * x * jnp.cos(np.pi * x) + t * network(params, seen)

    def residual(params: Any, z: jax.Array) -> jax.Array:
        def u(z: jax.Array) -> jax.Array:
            return solution(params, z)

        along_t = jax.jvp(u, (z,), (jnp.array([1.0, 0.0]),))[1]
        here = u(z)
        return along_t - 0.01 * slopes(u, z, 1)[1] - 5.0 * here + 5.0 * here**3

    low, high = np.array([0.0, -1.0]), np.array([1.0, 1.0])
    test, want = _etdrk4(modes=512, steps=2000, times=20, every=4)
    equation = Equation(3, solution, residual, low, high, test, test, want)
    return equation._replace(points=random_points(equation, 500, 0))


def _grid(counts: tuple[int, ...], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    axes = [a + (b - a) * (np.arange(n) + 0.5) / n for n, a, b in zip(counts, low, high, strict=True)]
    return np.stack([m.ravel() for m in np.meshgrid(*axes, indexing="ij")], axis=1)


def _cole_hopf(points: np.ndarray, nu: float) -> np.ndarray:
    """Burgers' equation as a ratio of two heat integrals, by Gauss and Hermite's rule, scaled against overflow."""
    nodes, weights = np.polynomial.hermite.hermgauss(200)
    t, x = points[:, :1], points[:, 1:]
    y = x - np.sqrt(4 * nu * t) * nodes
    exponent = -np.cos(np.pi * y) / (2 * np.pi * nu)
    kernel = weights * np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return -(kernel * np.sin(np.pi * y)).sum(axis=1) / kernel.sum(axis=1)


def _etdrk4(modes: int, steps: int, times: int, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Allen and Cahn's equation by exponential Runge-Kutta steps (Kassam and Trefethen, 2005)."""
    h, x = 1.0 / steps, -1.0 + 2.0 * np.arange(modes) / modes
    linear = 5.0 - 0.01 * (np.pi * np.fft.fftfreq(modes, 1.0 / modes)) ** 2
    circle = h * linear[:, None] + np.exp(1j * np.pi * (np.arange(1, 33) - 0.5) / 32)
    half, whole = np.exp(0.5 * h * linear), np.exp(h * linear)
    q = h * ((np.exp(circle / 2) - 1) / circle).mean(axis=1).real
    f1 = h * ((-4 - circle + np.exp(circle) * (4 - 3 * circle + circle**2)) / circle**3).mean(axis=1).real
    f2 = h * ((2 + circle + np.exp(circle) * (circle - 2)) / circle**3).mean(axis=1).real
    f3 = h * ((-4 - 3 * circle - circle**2 + np.exp(circle) * (4 - circle)) / circle**3).mean(axis=1).real

    def cubic(v: np.ndarray) -> np.ndarray:
        return np.fft.fft(-5.0 * np.fft.ifft(v).real ** 3)

    v, points, values = np.fft.fft(x**2 * np.cos(np.pi * x)), [], []
    for k in range(1, steps + 1):
        n = cubic(v)
        a = half * v + q * n
        na = cubic(a)
        b = half * v + q * na
        nb = cubic(b)
        c = half * a + q * (2 * nb - n)
        v = whole * v + n * f1 + 2 * (na + nb) * f2 + cubic(c) * f3
        if k % (steps // times) == 0:
            points.append(np.stack([np.full(modes, k * h), x], axis=1)[::every])
            values.append(np.fft.ifft(v).real[::every])
    return np.concatenate(points), np.concatenate(values)
