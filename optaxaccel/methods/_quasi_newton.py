"""Directions from a dense inverse Hessian of all parameters, for any line search behind them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods._quasi_newton_update import QUASI_NEWTON_METHODS, correction
from optaxaccel.numerics import flat
from optaxaccel.numerics.branching import when

__all__ = ["QuasiNewtonState", "scale_by_quasi_newton"]


class QuasiNewtonState(NamedTuple):
    """State of `scale_by_quasi_newton`; vectors hold all parameters, complex ones as two reals.

    Attributes:
      count: updates made, int32.
      notfinite_count: updates held still because the gradient was not finite, int32.
      skipped: pairs of a step and a change of the gradient that taught nothing, int32.
      inverse_hessian: H, shape (n, n).
      last_params: the parameters of the last update, shape (n,).
      last_gradient: the gradient there, shape (n,).
      last_direction: H times that gradient, shape (n,); where you put another H into a state, put this there, too.
    """

    count: jax.Array
    notfinite_count: jax.Array
    skipped: jax.Array
    inverse_hessian: jax.Array
    last_params: jax.Array
    last_gradient: jax.Array
    last_direction: jax.Array


def scale_by_quasi_newton(
    *, method: str = "ssbroyden", initial_scale: bool = False, max_size: int = 20_000
) -> optax.GradientTransformationExtraArgs:
    r"""Multiply the gradient by a dense approximation of the inverse Hessian.

    Example:
      With exact searches, two steps find the minimum of a quadratic of two variables. Here the steps are those of
      f(x) = x_1^2 / 2 + 2 x_2^2 from (4, 1):

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> tx = optaxaccel.scale_by_quasi_newton(method="bfgs")
      >>> curvature, x = jnp.array([1.0, 4.0]), jnp.array([4.0, 1.0])
      >>> state = tx.init(x)
      >>> for _ in range(2):
      ...     grad = curvature * x
      ...     direction, state = tx.update(grad, state, x)
      ...     x = x - (grad @ direction) / (direction @ (curvature * direction)) * direction
      >>> bool(jnp.max(jnp.abs(x)) < 1e-6)
      True

    Each update first learns from the last step, then multiplies: :math:`H_{k+1} = U(H_k, s_k, y_k)` with
    :math:`s_k = \theta_{k+1} - \theta_k` and :math:`y_k = \nabla f(\theta_{k+1}) - \nabla f(\theta_k)`, and
    :math:`d_{k+1} = H_{k+1} \nabla f(\theta_{k+1})`, where U is `quasi_newton_update` and :math:`H_0 = I`. As in
    `optax.scale_by_lbfgs` the result has the sign of the gradient: follow it with `optax.scale(-1.0)` and a search.

    All parameters are one vector of n real numbers, H is one array of n times n. Compute in float64
    (`jax.config.update("jax_enable_x64", True)`) where more than four digits of the minimum are wanted.

    Args:
      method: the update, see `quasi_newton_update`: "bfgs", "ssbfgs", "ssbfgs_ol", "ssbroyden", "ssbroyden1",
        "ssbroyden3".
      initial_scale: whether the first update scales the identity to the size of the inverse Hessian. Off in all of the
        authors' examples; on a quadratic of condition 1e6 it costs "bfgs" eight times the iterations.
      max_size: largest n. A matrix for 20,000 parameters takes 3.2 GB in float64, and every step reads it three times.

    Returns:
      A transformation whose `update` needs `params`.

    Raises:
      ValueError: `method` is unknown, or there are more than `max_size` parameters.

    References:
      Urbán, Stefanou and Pons, "Unveiling the optimization process of physics informed neural networks: how accurate
      and competitive can PINNs be?", 2025; Al-Baali, 1998; Al-Baali and Khalfan, 2005.

    Costs:
      H is read three times and written once a step (two products and the update), with "bfgs" read twice (H y is the
      change of H times the gradient); n^2 + 3 n numbers of state. No evaluation of the loss.

    Deviations:
      * The step size of the last search is recovered from :math:`a = -s^T d / \lVert d \rVert^2`, so that any search
        may follow.
      * Where H is no longer positive definite, which rounding does where curvatures of the first pair are above 1 over
        the precision, H begins anew as :math:`(s^T y / y^T y) I`.
      * An update whose gradient, or `value` where it is given, is not finite stores nothing but `notfinite_count` + 1.
    """
    contract.check_choice("method", method, QUASI_NEWTON_METHODS)
    contract.check_count("max_size", max_size, "a dense matrix has its square of entries")

    def init(params: optax.Params) -> QuasiNewtonState:
        n, dtype = flat.real_size(params), flat.real_dtype(params)
        refuse_large(n, dtype.itemsize, max_size)
        return QuasiNewtonState(
            count=jnp.zeros((), jnp.int32),
            notfinite_count=jnp.zeros((), jnp.int32),
            skipped=jnp.zeros((), jnp.int32),
            inverse_hessian=jnp.eye(n, dtype=dtype),
            last_params=jnp.zeros((n,), dtype),
            last_gradient=jnp.zeros((n,), dtype),
            last_direction=jnp.zeros((n,), dtype),
        )

    def update(updates, state, params=None, *, value=None, **extra):
        del extra
        contract.require_params("scale_by_quasi_newton", params)
        x = flat.flatten(params)
        g = flat.flatten(updates).astype(x.dtype)  # gradients may be summed in a wider dtype than the state has
        finite = contract.step_is_finite(g, value)
        known = finite & (state.count > 0)
        s = jnp.where(known, x - state.last_params, 0.0)  # a step of zero teaches nothing
        y = jnp.where(known, g - state.last_gradient, 0.0)
        d = state.last_direction
        dd = jnp.dot(d, d)
        step_size = -jnp.dot(s, d) / jnp.where(dd > 0, dd, 1.0)
        H, g = state.inverse_hessian, jnp.where(finite, g, 0.0)
        # d is H times the last gradient, so H y is known with H g; self-scaling would multiply the rounding of that.
        Hg = _times(H, g) if method == "bfgs" else None
        Hy = _times(H, y) if Hg is None else jnp.where(known, Hg - d, 0.0)
        first = (state.count == 1) if initial_scale else False
        learnt = correction(H, Hy, s, y, state.last_gradient, step_size, method=method, first=first)
        H = learnt.matrix(H)
        direction = _times(H, g) if Hg is None else learnt.product(Hg, g)
        slope = jnp.dot(direction, g)  # terms that overflow with both signs may come out as +inf, not as NaN
        uphill = finite & ((slope <= 0) | ~jnp.isfinite(slope)) & (jnp.dot(g, g) > 0)
        # Rounding has made H indefinite: there were curvatures above 1 over the precision, and H began far too large.
        scale = jnp.dot(s, y) / jnp.dot(y, y)
        scale = jnp.where(jnp.isfinite(scale) & (scale > 0), scale, 1.0)
        H, direction, *_ = when(uphill, _anew, (H, direction, scale, g))
        new = state._replace(
            count=state.count + finite,
            notfinite_count=state.notfinite_count + ~finite,
            skipped=state.skipped + (known & ~(jnp.dot(s, y) > 0)),
            inverse_hessian=H,
            last_params=jnp.where(finite, x, state.last_params),
            last_gradient=jnp.where(finite, g, state.last_gradient),
            last_direction=jnp.where(finite, direction, d),
        )
        return flat.unflatten(direction, updates), new

    return contract.transformation("scale_by_quasi_newton", QuasiNewtonState, init, update)


def _times(H: jax.Array, g: jax.Array) -> jax.Array:
    return jnp.dot(H, g, precision=jax.lax.Precision.HIGHEST)


def _anew(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Return the scaled identity, its product with the gradient, and what is not used again.

    All comes from what is carried and changes: a matrix made of anything else would be made in every step.
    """
    _, _, scale, g = carry
    return scale * jnp.eye(g.size, dtype=g.dtype), scale * g, -scale, -g


def refuse_large(n: int, itemsize: int, max_size: int) -> None:
    """Raise ValueError where a dense matrix would be too large."""
    if n > max_size:
        raise ValueError(
            f"{n} parameters are more than max_size={max_size}: the dense inverse Hessian would take "
            f"{n * n * itemsize / 1e9:.1f} GB, and every step would read it two or three times. Use "
            f"optaxaccel.lbfgs(), which keeps a few vectors, or allow it with max_size={n}."
        )
