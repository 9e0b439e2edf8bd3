"""What one run of a task carries from step to step, and what of it a checkpoint holds."""

import dataclasses
from collections.abc import Mapping

import flax.struct
import jax

from optaxaccel.training.steps.state import TrainState


@flax.struct.dataclass
class Kept:
    """What a checkpoint holds of a run under way.

    Attributes:
      state: parameters, states and key.
      order: of the epoch, see `batches.take`.
      fault: the first step whose loss, gradient or measurement was not finite; -1 for none.
      loss_sum: of the losses of the steps since the last look.
      steps: number of these steps.
      grad_norm: of the last step.
      values: losses that searches along lines took.
      grads: gradients that they took.
    """

    state: TrainState
    order: jax.Array
    fault: jax.Array
    loss_sum: jax.Array
    steps: jax.Array
    grad_norm: jax.Array
    values: jax.Array
    grads: jax.Array


@flax.struct.dataclass
class Member(Kept):
    """One run under way; `diagnostics` are sums of what its method told since the last look, see `diagnosing`."""

    diagnostics: Mapping[str, jax.Array]

    @property
    def kept(self) -> Kept:
        """Return what a checkpoint holds; what the method told stands beside it, so that older ones can be read."""
        return Kept(*(getattr(self, field.name) for field in dataclasses.fields(Kept)))  # pyright: ignore
