"""A deep autoencoder of handwritten digits, the classic test of optimisers (Hinton and Salakhutdinov, 2006)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from optaxaccel import data
from optaxaccel.tasks import networks
from optaxaccel.tasks.task import Task


def autoencoder(*, hidden: Sequence[int] = (32, 16), code: int = 8, batch_size: int = 64, steps: int = 2000) -> Task:
    """Return the reconstruction of 8x8 digits by tanh layers through a narrow code, with the mean square error.

    Args:
      hidden: widths from the image down to the code; the way back mirrors them.
      code: width of the code, linear.
      batch_size: images a step.
      steps: updates of a run.
    """
    digits = data.load("digits")
    train, test = ({"x": part.image.reshape(len(part.label), -1)} for part in (digits.train, digits.test))
    sizes = (train["x"].shape[1], *hidden, code)

    def init(key):
        down, up = jax.random.split(key)
        return {"down": networks.dense(down, sizes), "up": networks.dense(up, sizes[::-1])}, {}

    def loss(params, net_state, batch, *, key, train):
        x = batch["x"].astype(jnp.float32) / 255.0
        return jnp.mean((again(params, net_state, x) - x) ** 2), (net_state, {})

    def again(params, net_state, x):
        return networks.forward(params["up"], networks.forward(params["down"], x, jnp.tanh), jnp.tanh)

    own = {"batch_size": batch_size, "steps": steps, "note": digits.note}
    return Task(init, loss, train=train, test=test, predict=again, **own)
