"""The loss of a training step as a function of the parameters: whole or in parts, on one device or averaged."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.models.model import Model
from optaxaccel.training.steps.state import TrainState

Tree = Any


class Batch(NamedTuple):
    """Inputs float32 [batch, height, width, channels] and labels int32 [batch]."""

    x: jax.Array
    label: jax.Array


class Options(NamedTuple):
    """How a step is computed; none of it changes what a method sees.

    Attributes:
      penalty: weight decay inside the loss; None leaves the term out.
      shrinkage: share of itself that every parameter loses after the update (decoupled weight decay); None leaves it
        out.
      micro_batches: parts in which the batch goes through the network one after the other.
      remat: whether activations are computed again in the backward pass instead of kept.
      skip: whether a step with a loss or gradient that is not finite is dropped.
      axis_name: the mapped axis under `jax.pmap`, over which losses and gradients are averaged; None under `jit`,
        where the batch is whole.
    """

    penalty: jax.typing.ArrayLike | None = None
    shrinkage: jax.typing.ArrayLike | None = None
    micro_batches: int = 1
    remat: bool = False
    skip: bool = False
    axis_name: str | None = None


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Return the softmax cross entropy of each example in nats, computed in float32 at least."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def objective(
    model: Model, params: Tree, net_state: Tree, batch: Batch, *, key: jax.Array, penalty: jax.typing.ArrayLike | None
) -> tuple[jax.Array, tuple[Tree, jax.Array]]:
    """Return the mean loss of the batch plus penalty/2 ||params||^2, and (new net_state, accuracy)."""
    logits, net_state = model.apply(params, net_state, batch.x, key=key, train=True)
    loss = jnp.mean(cross_entropy(logits, batch.label))
    if penalty is not None:
        loss += 0.5 * penalty * sum(jnp.sum(jnp.square(p.astype(loss.dtype))) for p in jax.tree.leaves(params))
    accuracy = jnp.mean((jnp.argmax(logits, -1) == batch.label).astype(loss.dtype))
    return loss, (net_state, accuracy)


def of_step(model: Model, state: TrainState, batch: Batch, options: Options) -> tuple[Callable, Callable]:
    """Return value_and_grad with auxiliary outputs, and the loss alone, as functions of the parameters."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    if options.axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(options.axis_name))
    if options.remat:
        model = model._replace(apply=_rematerialised(model.apply))
    if options.micro_batches > 1:
        value_and_grad, value = _in_parts(model, state.net_state, batch, key, options)
    else:

        def loss_fn(params):
            return objective(model, params, state.net_state, batch, key=key, penalty=options.penalty)

        value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

        def value(params):
            return loss_fn(params)[0]

    if options.axis_name is None:
        return value_and_grad, value
    return _on_all_devices(value_and_grad, value, options.axis_name)


def _rematerialised(apply: Callable) -> Callable:
    def call(params, net_state, x, *, key, train):
        return jax.checkpoint(partial(apply, train=train))(params, net_state, x, key=key)

    return call


def _in_parts(model: Model, net_state: Tree, batch: Batch, key: jax.Array, options: Options):
    """Return the same two functions computed in micro-batches, whose batch statistics follow one another."""
    parts = jax.tree.map(lambda a: a.reshape(options.micro_batches, -1, *a.shape[1:]), batch)
    keys = jax.random.split(key, options.micro_batches)

    def part_loss(params, net_state, part, part_key):
        return objective(model, params, net_state, part, key=part_key, penalty=options.penalty)

    part_value_and_grad = jax.value_and_grad(part_loss, has_aux=True)
    zero = jnp.zeros((), jnp.promote_types(batch.x.dtype, jnp.float32))

    def value_and_grad(params):
        def body(carry, inputs):
            sums, net_state = carry
            (loss, (net_state, accuracy)), grad = part_value_and_grad(params, net_state, *inputs)
            return (jax.tree.map(jnp.add, sums, (loss, accuracy, grad)), net_state), None

        zeros = (zero, zero, jax.tree.map(jnp.zeros_like, params))
        (sums, new_state), _ = jax.lax.scan(body, (zeros, net_state), (parts, keys))
        loss, accuracy, grad = jax.tree.map(lambda s: s / options.micro_batches, sums)
        return (loss, (new_state, accuracy)), grad

    def value(params):
        @jax.checkpoint  # so that a gradient of this function keeps the activations of one part only
        def body(carry, inputs):
            total, net_state = carry
            loss, (net_state, _) = part_loss(params, net_state, *inputs)
            return (total + loss, net_state), None

        (total, _), _ = jax.lax.scan(body, (zero, net_state), (parts, keys))
        return total / options.micro_batches

    return value_and_grad, value


def _on_all_devices(value_and_grad: Callable, value: Callable, axis: str) -> tuple[Callable, Callable]:
    """Average over a mapped axis, so that the loss is the global one and so is its gradient, taken by whom it may."""

    def mean(tree):
        return jax.lax.pmean(tree, axis)

    shared = jax.custom_vjp(lambda params: params)  # the same on all devices: its cotangents are averaged
    shared.defvjp(lambda params: (params, None), lambda _, cotangent: (mean(cotangent),))
    averaged = jax.custom_vjp(mean)  # the mean over devices, whose cotangent every device gets whole
    averaged.defvjp(lambda value: (mean(value), None), lambda _, cotangent: (cotangent,))
    return lambda params: mean(value_and_grad(params)), lambda params: averaged(value(shared(params)))
