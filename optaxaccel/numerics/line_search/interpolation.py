"""Minima of the parabola and of the cubic through two or three points of a line.

Where the interpolant has no minimum the result is not finite or lies outside; callers keep it inside an interval.

Used by `zoom` and `more_thuente`.
"""

import jax
import jax.numpy as jnp


def _safe(x: jax.Array) -> jax.Array:
    return jnp.where(x == 0, jnp.nan, x)


def cubic_two_slopes(a: jax.Array, fa: jax.Array, ga: jax.Array, b: jax.Array, fb: jax.Array, gb: jax.Array):
    """Return the numbers of the cubic through (a, fa) and (b, fb) with slopes ga, gb: theta and gamma squared.

    Its stationary points are a + r (b - a) with r = (gamma - ga + theta) / (2 gamma - ga + gb) for both signs of the
    root gamma. Both numbers are scaled against overflow.
    """
    theta = 3.0 * (fa - fb) / _safe(b - a) + ga + gb
    size = jnp.maximum(jnp.abs(theta), jnp.maximum(jnp.abs(ga), jnp.abs(gb)))
    scale = jnp.where(size > 0, size, 1.0)
    inside = (theta / scale) ** 2 - (ga / scale) * (gb / scale)
    return theta, scale, inside


def parabola_one_slope(a: jax.Array, fa: jax.Array, ga: jax.Array, b: jax.Array, fb: jax.Array) -> jax.Array:
    """Return the minimum of the parabola through (a, fa) with slope ga and (b, fb)."""
    width = b - a
    bend = (fb - fa - ga * width) / _safe(width * width)
    return a - ga / _safe(2.0 * bend)


def cubic_one_slope(
    a: jax.Array, fa: jax.Array, ga: jax.Array, b: jax.Array, fb: jax.Array, c: jax.Array, fc: jax.Array
) -> jax.Array:
    """Return the minimum of the cubic through (a, fa) with slope ga, (b, fb) and (c, fc)."""
    u, v = b - a, c - a
    ru, rv = fb - fa - ga * u, fc - fa - ga * v
    scale = _safe(u * u * v * v * (u - v))
    third = (v * v * ru - u * u * rv) / scale
    second = (u * u * u * rv - v * v * v * ru) / scale
    return a + (-second + jnp.sqrt(second * second - 3.0 * third * ga)) / _safe(3.0 * third)
