"""Seconds of the processor that a training step of a deep network takes to compile."""

import time

import jax
import jax.numpy as jnp

from benchmarks.measure import Row
from optaxaccel import models

TITLE = "seconds of the processor to compile a training step, CIFAR-10, batch 32"
NETWORKS = {"ResNet-98": "resnet98_cifar", "ResNet-200": "resnet200_cifar", "DenseNet-40": "densenet40"}
BATCH = 32


def run(rounds: int, networks: dict[str, str] = NETWORKS) -> list[Row]:
    """Return a row a network; each is compiled once, whatever `rounds` says, without a cache."""
    del rounds
    return [{"benchmark": TITLE, "variant": label, "seconds": _seconds(name)} for label, name in networks.items()]


def _seconds(name: str) -> float:
    net = models.make(name, classes=10, input_shape=(32, 32, 3))
    x, label = jnp.zeros((BATCH, 32, 32, 3)), jnp.zeros(BATCH, jnp.int32)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)

    def loss(params, state):
        logits, state = net.apply(params, state, x, key=jax.random.key(1), train=True)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(BATCH), label]), state

    def step(params, state):
        (value, state), gradient = jax.value_and_grad(loss, has_aux=True)(params, state)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), state, value

    lowered = jax.jit(step).lower(params, state)
    started = time.process_time()
    lowered.compile()
    return time.process_time() - started
