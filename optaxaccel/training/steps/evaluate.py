"""Evaluation at the iterate that the method wants evaluated, with the batch statistics of training."""

import jax
import jax.numpy as jnp

from optaxaccel.methods import eval_params
from optaxaccel.models.model import Model
from optaxaccel.training.steps.loss import Batch, cross_entropy
from optaxaccel.training.steps.state import TrainState


def evaluate_batch(model: Model, state: TrainState, batch: Batch, weight: jax.Array) -> dict[str, jax.Array]:
    """Return the summed loss (nats) and number of correct answers over the examples of weight 1.

    Args:
      model: the network.
      state: the state to evaluate; its parameters are read through `eval_params`.
      batch: inputs and labels.
      weight: float32 [batch], 1 for an example and 0 for padding.
    """
    params = eval_params(state.opt_state, state.params)
    logits, _ = model.apply(params, state.net_state, batch.x, key=None, train=False)
    correct = (jnp.argmax(logits, -1) == batch.label).astype(jnp.float32)
    return {"loss": jnp.sum(weight * cross_entropy(logits, batch.label)), "correct": jnp.sum(weight * correct)}
