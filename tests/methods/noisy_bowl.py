"""A quadratic with noise in the gradient that the loss of the same batch has, too."""

import jax
import jax.numpy as jnp
import optax


def train(tx, steps, noise=0.0, scale=1.0, bend=1.0):
    """Minimise |w|^2 / 2 times a scale, with noise in each gradient that the loss of its batch has, too.

    Without the `bend` the loss is a plane.
    """
    tx = optax.with_extra_args_support(tx)

    def step(carry, key):
        w, state = carry
        shift = noise * jax.random.normal(key, w.shape)

        def loss(w):
            return scale * (0.5 * bend * w @ w + (1.0 - bend) * jnp.sum(w) + shift @ w)

        value, grad = jax.value_and_grad(loss)(w)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
        return (w + updates, state), state

    w = jnp.array([3.0, -4.0])
    keys = jax.random.split(jax.random.key(0), steps)
    (w, _), states = jax.jit(lambda w: jax.lax.scan(step, (w, tx.init(w)), keys))(w)
    return w, states
