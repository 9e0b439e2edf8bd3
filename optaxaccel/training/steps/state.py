"""What a run carries from step to step."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from optaxaccel.models.model import Model

Tree = Any


@flax.struct.dataclass
class TrainState:
    """Everything that training changes.

    Attributes:
      step: number of updates done, int32.
      params: the trainable parameters.
      net_state: the network's own state, such as batch statistics.
      opt_state: the optimiser's state.
      key: the run's random key as raw data; step k uses fold_in(key, k).
    """

    step: jax.Array
    params: Tree
    net_state: Tree
    opt_state: Tree
    key: jax.Array


def counts(state: TrainState, member: int | None = None) -> dict[str, int]:
    """Return what the optimiser counted: {"searches": ..., "jumps": ...} along negative curvature, {} if it does not.

    Waits for the state.

    Args:
      state: of a run, or of several along a first axis.
      member: which of several; None for a run.
    """
    counted = {}
    for name in ("searches", "jumps"):
        counters = optax.tree.get_all_with_path(state.opt_state, f"num_{name}")
        if counters:
            each = (counter if member is None else jax.device_get(counter)[member] for _, counter in counters)
            counted[name] = sum(map(int, each))
    return counted


def init_state(model: Model, tx: optax.GradientTransformation, seed: jax.typing.ArrayLike, x: jax.Array) -> TrainState:
    """Return the state before the first step; call it inside jit, so that every leaf gets a buffer of its own."""
    key = jax.random.key(seed)
    params, net_state = model.init(jax.random.fold_in(key, 0), x)
    step_key = jax.random.fold_in(key, 1)
    return TrainState(jnp.zeros((), jnp.int32), params, net_state, tx.init(params), jax.random.key_data(step_key))
