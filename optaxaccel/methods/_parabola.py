r"""The line search of PAL: fit a parabola to two losses and one slope, and go to its minimum.

Mutschler and Zell, "PAL: A fast DNN optimization method based on curvature information", 2019, sections 2.2-2.4.
`scale_by_parabola` searches along any descent direction; `optaxaccel.methods._pal` searches along its own momentum with
the same functions, and `line_profile` draws the loss that the parabola approximates.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import trees

__all__ = ["ParabolaCase", "ParabolaState", "scale_by_parabola"]

SLOPES = ("exact", "direction_norm", "gradient_norm")


class ParabolaCase(enum.IntEnum):
    """What the last step did; the number that `case` holds in the states of `pal` and `scale_by_parabola`."""

    NO_STEP_YET = 0
    MINIMUM = 1  # l' < 0 and l'' > 0: to the minimum of the parabola
    DOWNHILL = 2  # l' < 0 and l'' <= 0: no minimum ahead, walk the measuring step (or max_step_size) downhill
    NO_DESCENT = 3  # l' >= 0: a zero gradient, a zero direction or one that ascends; no move
    NOT_MEASURED = 4  # the loss at the measuring point is not finite; no move
    CLIPPED = 5  # l' < 0 and l'' > 0: towards the minimum of the parabola, which lies beyond max_step_size
    NO_MEASURING_STEP = 6  # measuring_step_size has come down to zero, so there is no second loss; no move


class ParabolaState(NamedTuple):
    """State of `scale_by_parabola` and of `pal`; all but the counters and the momentum describe the last step.

    Attributes:
      count: steps made, those that did not move included, int32.
      notfinite_count: updates held still because the loss or the gradient was not finite, int32.
      momentum: of `pal`, the sum g_t of decayed gradients, like the parameters; None of `scale_by_parabola`.
      step_size: the distance moved, s.
      slope: the slope l'(0) of the loss along the unit direction.
      curvature: lambda-scaled curvature l''(0) along it; 0 when it could not be measured.
      case: a `ParabolaCase`, int32.
    """

    count: jax.Array
    notfinite_count: jax.Array
    momentum: Any
    step_size: jax.Array
    slope: jax.Array
    curvature: jax.Array
    case: jax.Array

    @property
    def measurement_failed(self) -> jax.Array:
        """Whether the loss measured in the last step was not finite."""
        return self.case == int(ParabolaCase.NOT_MEASURED)

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """The last step on its line, and which case it was."""
        cases = {f"share_{case.name.lower()}": self.case == int(case) for case in tuple(ParabolaCase)[1:]}
        return {"step_size": self.step_size, "slope": self.slope, "curvature": self.curvature, **cases}


def scale_by_parabola(
    *,
    measuring_step_size: optax.ScalarOrSchedule = 0.1,
    max_step_size: optax.ScalarOrSchedule = 1.0,
    loose_approximation: optax.ScalarOrSchedule = 0.6,
    slope: str = "exact",
) -> optax.GradientTransformationExtraArgs:
    r"""Scale any descent direction to reach the minimum of a parabola along it.

    Example:
      Adam's direction, from w = (3, 4) on `f(w) = |w|^2 / 2`; the first one is (-1, -1), and the minimum along it is
      where the coordinates add up to zero:

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> search = optaxaccel.scale_by_parabola(loose_approximation=1.0, measuring_step_size=1.0, max_step_size=10.0)
      >>> tx = optax.chain(optax.scale_by_adam(), optax.scale(-1.0), search)
      >>> loss = lambda w: 0.5 * jnp.sum(w**2)
      >>> w = jnp.array([3.0, 4.0])
      >>> value, grad = jax.value_and_grad(loss)(w)
      >>> update, state = tx.update(grad, tx.init(w), w, value=value, grad=grad, value_fn=loss)
      >>> [round(float(x), 3) for x in w + update]
      [-0.5, 0.5]

    The line search of PAL for the direction of another method: the incoming updates d, with the sign with which they
    would be added to the parameters. With the exact slope their length does not matter, and a direction that ascends is
    never followed: `case` is then `ParabolaCase.NO_DESCENT`, at every step if a sign was forgotten.

    .. math::

        l(s) = f(\theta + s\, d / \lVert d \rVert), \qquad
        l''(0) = \lambda \frac{(l(\mu) - l(0))/\mu - l'(0)}{\mu/2}, \qquad
        \theta \leftarrow \theta + \min(s, s_{\max})\, d / \lVert d \rVert

    with s from l'(0) and l''(0) as in `pal`, :math:`\mu` = `measuring_step_size`, :math:`s_{\max}` = `max_step_size`,
    :math:`\lambda` = `loose_approximation`, :math:`l(0)` = `value`.

    Args:
      measuring_step_size: distance of the second loss, in units of the parameters, or a schedule of it; > 0. As `pal`.
      max_step_size: longest step, in units of the parameters, or a schedule of it; > 0, inf for no limit. As `pal`.
      loose_approximation: factor on the curvature, > 0, or a schedule of it. As `pal`.
      slope: l'(0): "exact" is :math:`\nabla f \cdot d / \lVert d \rVert` and needs `grad`; "direction_norm" is
        :math:`-\lVert d \rVert`, which holds for the negative gradient only; "gradient_norm" is
        :math:`-\lVert \nabla f \rVert` and needs `grad`. Only "exact" can tell that a direction ascends.

    Returns:
      A transformation whose `update` needs `params`, `value_fn` and, but for "direction_norm", `grad`; it takes the
      loss at `params` from `value`.

    References:
      Mutschler and Zell, "PAL: A fast DNN optimization method based on curvature information", 2019, sections 2.2-2.4.

    Costs:
      One loss beyond the gradient handed in (two when `value` is not passed), no backward pass; no copy of the
      parameters.

    Deviations:
      The paper searches along its own momentum only. All that `pal` says of values that are not finite, of schedules,
      masks, `optax.MultiSteps` and low precision holds here; what precedes in the chain keeps its own state, so wrap
      the chain in `optax.apply_if_finite` when gradients may be bad.
    """
    check_line_search(measuring_step_size, max_step_size, loose_approximation, slope)

    def init(params: optax.Params) -> ParabolaState:
        contract.check_params("scale_by_parabola", params)
        return initial_state()

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        loss, initial = losses("scale_by_parabola", params, value, value_fn, extra)
        if slope != "direction_norm":
            contract.require_extra("scale_by_parabola", "grad", grad)
        here = look(slope, initial, None if grad is None else contract.hidden_as(updates, grad), updates)
        distances = distances_at(state.count, measuring_step_size, max_step_size)
        loose = contract.at_step(loose_approximation, state.count)
        line = search(loss, params, updates, here, distances, loose)
        return move(line.step_size / here.length, updates, params), advance(state, here.finite, line)

    return contract.transformation("scale_by_parabola", ParabolaState, init, update, sees_loss=True)


# --- The parabola -----------------------------------------------------------------------------------------------------


class Here(NamedTuple):
    """What is known before the second loss is measured.

    `direction / length` is the unit vector of the line: `length` is the norm of the direction with the sign of the way
    to go, and infinite for a zero direction. A division by it, or a root, ends each chain of scalars, because XLA
    copies any other chain into the loop over every leaf (62 leaves: 20 s of compilation on CPU instead of 7 s).
    """

    value: jax.Array
    slope: jax.Array
    length: jax.Array
    finite: jax.Array


class Line(NamedTuple):
    """What one step finds out: the fields of the state that describe it."""

    step_size: jax.Array
    slope: jax.Array
    curvature: jax.Array
    case: jax.Array


def check_line_search(measuring_step_size: Any, max_step_size: Any, loose_approximation: Any, slope: str) -> None:
    """Raise ValueError for hyperparameters out of range."""
    contract.check_number("measuring_step_size", measuring_step_size, "the second loss is measured there", above=0.0)
    contract.check_number("max_step_size", max_step_size, "it is the longest step", above=0.0, unlimited=True)
    contract.check_number("loose_approximation", loose_approximation, "it scales the curvature", above=0.0)
    contract.check_choice("slope", slope, SLOPES)


def initial_state(momentum: optax.Updates | None = None) -> ParabolaState:
    """Return the state before the first step, each scalar in a buffer of its own so that it can be donated."""
    count, notfinite_count, case = (jnp.zeros((), jnp.int32) for _ in range(3))
    step_size, slope, curvature = (jnp.zeros((), trees.accumulation_dtype()) for _ in range(3))
    return ParabolaState(count, notfinite_count, momentum, step_size, slope, curvature, case)


def losses(
    method: str, params: Any, value: Any, value_fn: contract.ValueFn | None, extra: Mapping[str, Any]
) -> tuple[Callable[[optax.Params], jax.Array], jax.Array]:
    """Return the loss as a function of the parameters, and its value at `params`."""
    contract.require_params(method, params)
    loss = contract.bind_value_fn(method, value_fn, extra)
    initial = jnp.asarray(loss(params) if value is None else value, trees.accumulation_dtype())
    return loss, initial


def distances_at(count: jax.Array, *distances: optax.ScalarOrSchedule) -> list[jax.Array]:
    """Return the distances at this step."""
    return [jnp.asarray(contract.at_step(distance, count), trees.accumulation_dtype()) for distance in distances]


def look(rule: str, value: jax.Array, gradient: Any, direction: Any, *, sign: float = 1.0, finite: Any = True) -> Here:
    """Return what is known on the line along sign * direction (Algorithm 1, line 10, or Eq. 8)."""
    norm = trees.norm(direction)
    length = sign * jnp.where(norm > 0, norm, jnp.inf)
    if rule == "exact":
        slope = trees.vdot(gradient, direction) / length
    elif rule == "direction_norm":
        slope = -norm
    else:  # without a direction the slope is zero, unless the gradient is not finite
        slope = jnp.where(norm > 0, -1.0, 0.0) * trees.norm(gradient)
    return Here(value, slope, length, finite & jnp.isfinite(value) & jnp.isfinite(norm) & jnp.isfinite(slope))


def search(
    loss: Callable[[optax.Params], jax.Array],
    params: Any,
    direction: Any,
    here: Here,
    distances: Sequence[jax.Array],
    loose_approximation: jax.typing.ArrayLike,
) -> Line:
    """Measure the loss at a distance and return how far to go (Algorithm 1, lines 9-21)."""
    measuring, maximum = distances
    # The direction is never normalised: its norm is folded into the scalar, which saves a pass and a buffer. No cond
    # around the loss: convolutions are slow inside control flow on CPU.
    measured = loss(trees.add_scaled(params, measuring / here.length, direction)).astype(here.value.dtype)
    measures = measuring > 0
    distance = jnp.where(measures, measuring, 1.0)
    curvature = loose_approximation * ((measured - here.value) / distance - here.slope) / (distance / 2)
    known = jnp.isfinite(curvature) & measures
    descends, convex = here.slope < 0, curvature > 0
    minimum = -here.slope / jnp.where(convex, curvature, 1.0)
    step_size = jnp.minimum(jnp.where(convex, minimum, measuring), maximum)
    reached = jnp.where(minimum > maximum, int(ParabolaCase.CLIPPED), int(ParabolaCase.MINIMUM))
    case = jnp.where(convex, reached, int(ParabolaCase.DOWNHILL))
    unknown = jnp.where(measuring <= 0, int(ParabolaCase.NO_MEASURING_STEP), int(ParabolaCase.NOT_MEASURED))
    case = jnp.where(known, case, unknown)
    case = jnp.where(descends, case, int(ParabolaCase.NO_DESCENT))
    return Line(
        step_size=jnp.where(here.finite & descends & known, step_size, 0.0),
        slope=here.slope,
        curvature=jnp.where(known, curvature, 0.0),
        case=case,
    )


def move(factor: jax.Array, direction: Any, params: Any) -> Any:
    """Return factor * direction in the dtypes of the parameters; a zero factor gives zeros, whatever the direction."""
    return trees.cast_like(jax.tree.map(lambda d: jnp.where(factor == 0, 0.0, factor * d), direction), params)


def advance(state: ParabolaState, finite: jax.Array, line: Line) -> ParabolaState:
    """Return the state after a step, or after one held still because of a value that is not finite."""
    new = line._asdict() | {"count": optax.safe_increment(state.count)}
    kept = {name: jnp.where(finite, field, getattr(state, name)) for name, field in new.items()}
    skipped = jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count))
    return state._replace(notfinite_count=skipped, **kept)
