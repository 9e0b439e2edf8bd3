"""The one training step. It passes value, grad and value_fn to every method and knows none of them."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.models.model import Model
from optaxaccel.training.steps import loss as losses
from optaxaccel.training.steps.loss import Batch, Options
from optaxaccel.training.steps.state import TrainState

METRICS = ("loss", "accuracy", "grad_norm", "measurement_failed", "search_attempts", "line_values", "line_grads")
UNKNOWN = -1.0  # of `line_values` and `line_grads`, where a method does not search along lines


def packed(metrics: Mapping[str, Any]) -> jax.Array:
    """Return METRICS and what the method tells in one array, since fetching from a device costs by the array."""
    readings = [metrics[name] for name in METRICS] + list(metrics["diagnostics"].values())
    return jnp.stack([jnp.asarray(value, metrics["loss"].dtype) for value in readings], axis=-1)


def train_step(
    model: Model,
    tx: optax.GradientTransformationExtraArgs,
    state: TrainState,
    batch: Batch,
    options: Options = Options(),
) -> tuple[TrainState, Mapping[str, Any]]:
    """Make one update.

    The loss may be evaluated again at other parameters, so it is a function of the parameters alone: same batch, same
    dropout key and the batch statistics from before the step. The network's state is committed once, from the first
    evaluation.

    Args:
      model: the network.
      tx: the method.
      state: the state before the step; donate it.
      batch: the examples of this step (on this device, under `jax.pmap`).
      options: how the step is computed.

    Returns:
      (the state after the step, METRICS). "loss", "accuracy" and "grad_norm" are at the parameters before it;
      "measurement_failed" tells of the step, "search_attempts" counts from the start, "line_values" and "line_grads"
      what searches along lines took in the step; "diagnostics" is what the method tells, by name. Under `options.skip`
      a step with a fault changes nothing but the step count.
    """
    value_and_grad, value_fn = losses.of_step(model, state, batch, options)
    (loss, (net_state, accuracy)), grad = value_and_grad(state.params)
    grad_norm = optax.tree.norm(grad)
    updates, opt_state = tx.update(grad, state.opt_state, state.params, value=loss, grad=grad, value_fn=value_fn)
    params = state.params
    if options.shrinkage is not None:
        factor = 1.0 - jnp.asarray(options.shrinkage)
        params = jax.tree.map(lambda p: (factor * p).astype(p.dtype), params)
    params = optax.apply_updates(params, updates)
    failed = contract.measurement_failed(opt_state)
    metrics: dict[str, Any] = {"loss": loss, "accuracy": accuracy, "grad_norm": grad_norm, "measurement_failed": failed}
    metrics["search_attempts"] = contract.search_attempts(opt_state)
    line_calls = contract.line_calls(opt_state, state.opt_state) or (UNKNOWN, UNKNOWN)
    metrics["line_values"], metrics["line_grads"] = line_calls
    metrics["diagnostics"] = contract.diagnostics(opt_state)
    new = TrainState(state.step + 1, params, net_state, opt_state, state.key)
    if options.skip:
        good = jnp.isfinite(loss) & jnp.isfinite(grad_norm) & ~failed
        new = jax.tree.map(partial(jnp.where, good), new, state).replace(step=state.step + 1)
    return new, metrics
