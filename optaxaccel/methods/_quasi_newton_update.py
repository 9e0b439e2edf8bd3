r"""The update of a dense inverse Hessian: BFGS, self-scaled BFGS and self-scaled Broyden.

Al-Baali, "Numerical experience with a class of self-scaling quasi-Newton algorithms", 1998; Al-Baali and Khalfan, "Wide
interval for efficient self-scaling quasi-Newton algorithms", 2005; Urbán, Stefanou and Pons, "Unveiling the
optimization process of physics informed neural networks", 2025, and their code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optaxaccel.methods import contract

__all__ = ["quasi_newton_update"]

QUASI_NEWTON_METHODS = ("bfgs", "ssbfgs", "ssbfgs_ol", "ssbroyden", "ssbroyden1", "ssbroyden3")
PARALLEL = 1e-12  # below this c, s and Hy are parallel up to rounding, and theta would be 0/0


def quasi_newton_update(
    H: jax.Array,
    s: jax.Array,
    y: jax.Array,
    g: jax.Array,
    step_size: jax.typing.ArrayLike | None = None,
    *,
    method: str = "ssbroyden",
    first: jax.typing.ArrayLike = False,
) -> jax.Array:
    r"""Update an approximation of the inverse Hessian after a step.

    Example:
      On f(x) = x_1^2 + 2 x_2^2, whose Hessian is diag(2, 4), a step along the first axis teaches its curvature:

      >>> import jax.numpy as jnp
      >>> s, y, g = jnp.array([1.0, 0.0]), jnp.array([2.0, 0.0]), jnp.array([-1.0, 0.0])
      >>> quasi_newton_update(jnp.eye(2), s, y, g, 1.0, method="bfgs").tolist()
      [[0.5, 0.0], [0.0, 1.0]]

    The new matrix maps the change of the gradient to the step, :math:`H_+ y = s`, and lies between BFGS and DFP and
    beyond (Broyden's class, :math:`\theta`); the self-scaled ones first divide the old matrix by :math:`\tau`, which
    takes out curvature that it overestimates.

    .. math::

        \rho &= \frac{1}{y^T s}, \quad h = \rho\, y^T H y, \quad b = -a \rho\, s^T g, \quad c = h b - 1, \quad
        v = \rho s - \frac{H y}{y^T H y}, \quad \phi = \frac{1 - \theta}{1 + \theta c}, \\
        H_+ &= \frac{1}{\tau} \left( H - \frac{H y\, y^T H}{y^T H y} + \phi\, (y^T H y)\, v v^T \right)
        + \rho\, s s^T

    with a = `step_size`. "bfgs" has :math:`\theta = 0, \tau = 1`; "ssbfgs" :math:`\theta = 0, \tau = \min(1, 1/b)`
    (Al-Baali); "ssbfgs_ol" :math:`\theta = 0, \tau = 1/b` (Oren and Luenberger). With
    :math:`r = \sqrt{c/(1 + c)}` and :math:`\varrho = \min(1, h(1 - r))`, "ssbroyden" has

    .. math::

        \theta = \max\left( \frac{\varrho - 1}{c}, \min\left( \frac{1}{\varrho}, \frac{1 - b}{b} \right) \right), \quad
        \sigma = 1 + \theta c, \quad q = \sigma^{1/(1-n)}, \quad
        \tau = \begin{cases} \min(q \min(1, 1/b), \sigma) & \theta \le 0 \\
        \min(1, 1/b) \min(q, 1/\theta) & \theta > 0 \end{cases}

    and "ssbroyden1" and "ssbroyden3" other :math:`\theta` in the same interval.

    Args:
      H: the inverse Hessian, shape (n, n), symmetric and positive definite.
      s: the step, shape (n,).
      y: the change of the gradient over it, shape (n,).
      g: the gradient before the step, shape (n,); s = -a H g.
      step_size: a, the step along -H g; None finds it from :math:`a = -s^T H g / \lVert H g \rVert^2`, which costs
        another product with H.
      method: the member of the class, see above. "ssbroyden" is the second variant of Urbán et al., their choice.
      first: whether H is still the identity and is to be scaled to the size of the inverse Hessian:
        :math:`\tau = \rho\, y^T y`, for the Broyden ones :math:`\tau = h / (1 + \theta c)`; a bool or a traced one.

    Returns:
      H_+, of the dtype of H and exactly symmetric if H is; H itself where :math:`y^T s \le 0` or where the result would
      not be finite.

    Raises:
      ValueError: `method` is unknown, or the shapes do not fit.
      TypeError: the numbers are complex.

    References:
      Urbán, Stefanou and Pons, "Unveiling the optimization process of physics informed neural networks: how accurate
      and competitive can PINNs be?", 2025; Al-Baali, 1998; Al-Baali and Khalfan, 2005.

    Costs:
      H is read twice (the product H y, then the update) and written once.

    Deviations:
      * Exact symmetry: products of two vectors are formed before they are scaled. The authors' code scales one factor
        first, the rounding makes H unsymmetric, and :math:`1/\tau` multiplies that part at every step.
      * The authors set :math:`\rho = 1000` where :math:`y^T s = 0` and let a negative one make H indefinite; here such
        a pair is skipped.
      * For :math:`c \le 10^{-12}` and for n = 1 the update is that of "ssbfgs", which is the limit; theirs divides zero
        by zero.
      * Only "bfgs" takes a pair with :math:`b \le 0`, which the step -a H g cannot make.
    """
    contract.check_choice("method", method, QUASI_NEWTON_METHODS)
    H, s, y, g = (jnp.asarray(x) for x in (H, s, y, g))
    if any(map(jnp.iscomplexobj, (H, s, y, g))):
        raise TypeError("quasi_newton_update: complex numbers have no order, y's > 0. Pass real and imaginary parts.")
    H = H.astype(jnp.promote_types(H.dtype, jnp.result_type(float)) if H.dtype.kind in "iub" else H.dtype)
    if s.ndim != 1 or H.shape != (s.size, s.size) or y.shape != s.shape or g.shape != s.shape:
        raise ValueError(
            f"quasi_newton_update: H has shape {H.shape}, s {s.shape}, y {y.shape}, g {g.shape}, but a matrix (n, n) "
            "and three vectors (n,) are needed. Join trees to vectors with jax.flatten_util.ravel_pytree."
        )
    if jnp.ndim(step_size if step_size is not None else 0.0) or jnp.ndim(first):
        raise ValueError("quasi_newton_update: step_size and first belong to the whole step. Pass one number each.")
    product = jax.lax.Precision.HIGHEST
    if step_size is None:
        Hg = jnp.dot(H, g, precision=product)
        step_size = -jnp.dot(s, Hg) / _nonzero(jnp.dot(Hg, Hg))
    return correction(H, jnp.dot(H, y, precision=product), s, y, g, step_size, method=method, first=first).matrix(H)


class Correction(NamedTuple):
    """What an update adds to a matrix: vectors of shape (n,) and numbers, see `quasi_newton_update`.

    Attributes:
      usable: whether there is an update.
      Hy, v, s: the vectors.
      shrink, stretch, grow, rho: 1 / y'Hy, phi y'Hy, 1 / tau and rho.
    """

    usable: jax.Array
    Hy: jax.Array
    v: jax.Array
    s: jax.Array
    shrink: jax.Array
    stretch: jax.Array
    grow: jax.Array
    rho: jax.Array

    def matrix(self, H: jax.Array) -> jax.Array:
        """Return H_+: H is read and written once."""
        return self._of(H, *(x[:, None] * x[None, :] for x in (self.Hy, self.v, self.s)))

    def product(self, Hx: jax.Array, x: jax.Array) -> jax.Array:
        """Return H_+ x from H x, for vectors of shape (n,)."""
        return self._of(Hx, *(jnp.dot(a, x) * a for a in (self.Hy, self.v, self.s)))

    def _of(self, old: jax.Array, of_Hy: jax.Array, of_v: jax.Array, of_s: jax.Array) -> jax.Array:
        new = (old - self.shrink * of_Hy + self.stretch * of_v) * self.grow + self.rho * of_s
        return jnp.where(self.usable, new.astype(old.dtype), old)


def correction(
    H: jax.Array,
    Hy: jax.Array,
    s: jax.Array,
    y: jax.Array,
    g: jax.Array,
    step_size: jax.typing.ArrayLike,
    *,
    method: str,
    first: jax.typing.ArrayLike = False,
) -> Correction:
    """Return the update of H by a pair, where H y is known; only the diagonal of H is read."""
    sy, yHy, yy, sg = jnp.dot(s, y), jnp.dot(y, Hy), jnp.dot(y, y), jnp.dot(s, g)
    usable = (sy > 0) & (yHy > 0)
    rho = 1.0 / jnp.where(usable, sy, 1.0)
    yHy = jnp.where(usable, yHy, 1.0)
    b = -jnp.asarray(step_size, H.dtype) * rho * sg
    p = _parameters(method, rho * yHy, b, rho * yy, jnp.asarray(first), s.size)
    v = rho * s - Hy / yHy
    shrink, grow = 1.0 / yHy, 1.0 / p.tau  # a division for each entry would take longer than the pass over H
    # A bound on all entries, which needs no pass over H: no entry of a positive definite matrix exceeds its diagonal.
    diagonal, of_Hy, of_v, of_s = (jnp.max(jnp.abs(x), initial=0) for x in (jnp.diagonal(H), Hy, v, s))
    largest = (diagonal + of_Hy**2 * shrink + p.phi * yHy * of_v**2) * grow + rho * of_s**2
    usable = usable & jnp.isfinite(largest) & (p.tau > 0) & ((b > 0) | (method == "bfgs"))
    return Correction(usable, Hy, v, s, shrink, p.phi * yHy, grow, rho)


class Parameters(NamedTuple):
    """The numbers that tell the members of the class apart."""

    phi: jax.Array
    tau: jax.Array


def _parameters(method: str, h, b, first_tau, first, n: int) -> Parameters:
    one = jnp.ones_like(h)
    positive = jnp.where(b > 0, b, 1.0)
    shrink = {"bfgs": one, "ssbfgs_ol": 1.0 / positive}.get(method, jnp.minimum(one, 1.0 / positive))
    plain = Parameters(one, jnp.where(first, first_tau, shrink))
    if n == 1 or not method.startswith("ssbroyden"):
        return plain
    c = h * positive - 1.0
    parallel = ~(c > PARALLEL)
    c = jnp.where(parallel, 1.0, c)
    theta = _theta(method, h, positive, c, first)
    sigma = 1.0 + theta * c
    q = jnp.abs(sigma) ** (1.0 / (1.0 - n))
    above = theta > 0
    tau = jnp.where(above, shrink * jnp.minimum(q, 1.0 / jnp.where(above, theta, 1.0)), jnp.minimum(shrink * q, sigma))
    broyden = Parameters((1.0 - theta) / sigma, jnp.where(first, h / sigma, tau))
    return jax.tree.map(lambda a, d: jnp.where(parallel, a, d), plain, broyden)


def _theta(method: str, h, b, c, first) -> jax.Array:
    root = jnp.sqrt(c / (1.0 + c))
    rm = jnp.minimum(1.0, h * (1.0 - root))
    lower = (rm - 1.0) / c
    if method == "ssbroyden3":
        return lower
    if method == "ssbroyden":
        return jnp.maximum(lower, jnp.minimum(1.0 / rm, (1.0 - b) / b))
    upper = jnp.where(first, 1.0 / rm, jnp.maximum(1.0, b * (1.0 + root)))
    rank_one = 1.0 / _nonzero(1.0 - b)
    return jnp.where(b == 1, lower, jnp.where(b > 1, jnp.maximum(lower, rank_one), jnp.minimum(upper, rank_one)))


def _nonzero(x: jax.Array) -> jax.Array:
    return jnp.where(x == 0, 1.0, x)
