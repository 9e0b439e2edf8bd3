"""Evaluation at the iterate that the method wants evaluated, with the batch statistics of training."""

import jax
import jax.numpy as jnp

from optaxaccel.methods import eval_params
from optaxaccel.models.model import Model
from optaxaccel.training.steps.loss import Batch, cross_entropy
from optaxaccel.training.steps.state import TrainState

TOP5_ABOVE = 10  # classes, above which the share of labels among the five likeliest is counted, too


def evaluate_batch(model: Model, state: TrainState, batch: Batch, weight: jax.Array) -> dict[str, jax.Array]:
    """Return sums over the examples of weight 1: the loss (nats) and the correct answers, each named by its mean.

    Where there are more than ten classes, "top5" counts the labels among the five highest logits as well.

    Args:
      model: the network.
      state: the state to evaluate; its parameters are read through `eval_params`.
      batch: inputs and labels.
      weight: float32 [batch], 1 for an example and 0 for padding.
    """
    params = eval_params(state.opt_state, state.params)
    logits, _ = model.apply(params, state.net_state, batch.x, key=None, train=False)
    correct = (jnp.argmax(logits, -1) == batch.label).astype(jnp.float32)
    sums = {"loss": jnp.sum(weight * cross_entropy(logits, batch.label)), "accuracy": jnp.sum(weight * correct)}
    if logits.shape[-1] > TOP5_ABOVE:
        among = jnp.any(jax.lax.top_k(logits, 5)[1] == batch.label[..., None], -1)
        sums["top5"] = jnp.sum(weight * among.astype(jnp.float32))
    return sums
