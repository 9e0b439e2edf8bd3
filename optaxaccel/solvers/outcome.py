"""What a fixed-point solver says at its end: the result, and the status with the advice that belongs to it."""

import enum
from typing import Any, NamedTuple

import jax


class FixedPointStatus(enum.IntEnum):
    """Why the search for a fixed point ended; `advice` says what to do.

    The codes are also at hand as `fixed_point.CONVERGED`, `fixed_point.LIMIT`, ...

    Example:
      >>> import optaxaccel
      >>> optaxaccel.FixedPointStatus(1).name
      'LIMIT'
      >>> optaxaccel.FixedPointStatus(1).advice
      'max_maps came first and the residual was still falling: raise max_maps, or start nearer.'
    """

    RUNNING = -1
    CONVERGED = 0
    LIMIT = 1
    NOT_FINITE = 2
    STALLED = 3

    @property
    def advice(self) -> str:
        """What to do about this status, in a sentence."""
        return _ADVICE[self]


_ADVICE = {
    FixedPointStatus.RUNNING: "evaluate the map at the point returned and call the update again.",
    FixedPointStatus.CONVERGED: "the residual is within the tolerance; the error is residual / (1 - rate).",
    FixedPointStatus.LIMIT: "max_maps came first and the residual was still falling: raise max_maps, or start nearer.",
    FixedPointStatus.NOT_FINITE: (
        "the map returned NaN, infinity or a number whose square overflows at a plain step: start elsewhere, or keep "
        "the unknowns in the map's domain (logarithms, bounds=, project=)."
    ),
    FixedPointStatus.STALLED: (
        "the residual no longer falls: the tolerance lies below the rounding of the map (raise rtol, or use float64), "
        "the map is noisy, it does not contract (damp it, or solve F(x) - x = 0 by Newton's method), or squares of so "
        "small residuals are zero (take larger units, or float64)."
    ),
}


class FixedPoint(NamedTuple):
    """Result of `fixed_point`.

    Attributes:
      value: F(x) at the last point taken, a tree like x0; of an unfinished run at the point of least residual.
      aux: the auxiliary output of that same evaluation; None without `has_aux`.
      status: int32, a `FixedPointStatus`: `fixed_point.CONVERGED` = 0, LIMIT = 1, NOT_FINITE = 2, STALLED = 3.
      residual: `|F(x) - x|` at that point, over all leaves; infinite where F(x0) is not finite.
      maps: evaluations of F, int32: those of the search, one more for `aux` or where it did not converge, and the
        `phantom` ones.
      rejected: extrapolations that were taken back, int32; many mean that F is noisy or far from smooth.
      backward: extrapolations against the plain step, which were not tried, int32; many mean that a fixed point is near
        that repels the plain iteration.
    """

    value: Any
    aux: Any
    status: jax.Array
    residual: jax.Array
    maps: jax.Array
    rejected: jax.Array
    backward: jax.Array
