"""What comes in parts, put together so that a run can name it, as `optax.sgd` names SGD.

Two of optax's baselines, PAL's line search along the directions of Adam and INDIAN, and three that choose their rate.
"""

from typing import Any, NamedTuple

import optax
from optax import contrib

from optaxaccel import methods
from optaxaccel.training.run.self_tuned_baselines import SELF_TUNED


def backtracking_sgd(
    max_learning_rate: float = 1.0, *, max_steps: int = 15, decrease_factor: float = 0.8, increase_factor: float = 1.5
) -> optax.GradientTransformationExtraArgs:
    """Run gradient descent whose every step is found by optax's backtracking line search (Armijo's rule).

    Args:
      max_learning_rate: the largest step.
      max_steps: the largest number of trials a step.
      decrease_factor: by what a step that is refused is multiplied.
      increase_factor: by what the last step is multiplied for the first trial.
    """
    search = optax.scale_by_backtracking_linesearch(
        max_backtracking_steps=max_steps,
        decrease_factor=decrease_factor,
        increase_factor=increase_factor,
        max_learning_rate=max_learning_rate,
    )
    return optax.chain(optax.sgd(1.0), search)


class ScheduleFreeState(NamedTuple):
    """State of `schedule_free_sgd`: optax's, with the point that it wants evaluated."""

    inner: Any

    def eval_params(self, params: optax.Params) -> optax.Params:
        """Return the averaged point x that belongs to the parameters y."""
        return contrib.schedule_free_eval_params(self.inner, params)


def schedule_free_sgd(learning_rate: float = 1.0, *, b1: float = 0.9) -> optax.GradientTransformationExtraArgs:
    """Run optax's schedule-free SGD, evaluated where its authors evaluate it.

    Args:
      learning_rate: step, constant.
      b1: share of the average in the point where gradients are taken.
    """
    base = contrib.schedule_free_sgd(learning_rate, b1=b1)

    def init(params):
        return ScheduleFreeState(base.init(params))

    def update(updates, state, params=None, **extra):
        del extra
        updates, inner = base.update(updates, state.inner, params)
        return updates, ScheduleFreeState(inner)

    return optax.GradientTransformationExtraArgs(init, update)


def parabola_adam(
    measuring_step_size: optax.ScalarOrSchedule = 0.1,
    max_step_size: optax.ScalarOrSchedule = 1.0,
    *,
    loose_approximation: float = 0.6,
) -> optax.GradientTransformationExtraArgs:
    """Run PAL's line search along Adam's direction, with optax's decay rates.

    Args:
      measuring_step_size: as `pal`.
      max_step_size: as `pal`.
      loose_approximation: as `pal`.
    """
    direction = optax.chain(optax.scale_by_adam(), optax.scale(-1.0))
    return _search_along(direction, measuring_step_size, max_step_size, loose_approximation)


def parabola_indian(
    learning_rate: float = 0.1,
    measuring_step_size: optax.ScalarOrSchedule = 0.1,
    max_step_size: optax.ScalarOrSchedule = 1.0,
    *,
    loose_approximation: float = 0.6,
) -> optax.GradientTransformationExtraArgs:
    """Run PAL's line search along INDIAN's direction, with INDIAN's default alpha and beta.

    Args:
      learning_rate: step of INDIAN, which moves its buffer; the length of its own move is forgotten.
      measuring_step_size: as `pal`.
      max_step_size: as `pal`.
      loose_approximation: as `pal`.
    """
    return _search_along(methods.indian(learning_rate), measuring_step_size, max_step_size, loose_approximation)


def _search_along(direction: optax.GradientTransformation, measuring: Any, longest: Any, loose: float) -> Any:
    search = methods.scale_by_parabola(measuring_step_size=measuring, max_step_size=longest, loose_approximation=loose)
    return optax.chain(direction, search)


BASELINES = {
    "backtracking_sgd": backtracking_sgd,
    "schedule_free_sgd": schedule_free_sgd,
    "parabola_adam": parabola_adam,
    "parabola_indian": parabola_indian,
    **SELF_TUNED,
}
