"""The copy task: a recurrent network tells a word again after a pause (Hochreiter and Schmidhuber, 1997)."""

import jax
import jax.numpy as jnp
import optax

from optaxaccel.tasks import networks
from optaxaccel.tasks.task import Task


def copy(
    *, length: int = 4, pause: int = 4, symbols: int = 4, hidden: int = 48, batch_size: int = 64, steps: int = 1500
) -> Task:
    """Return the copy task for a gated recurrent unit; every batch is drawn anew, inside the compiled step.

    The network reads `length` symbols, then blanks for `pause` steps, then a sign to answer; it is to tell the symbols
    in their order. Its loss is the mean cross entropy over the answer, its score the share of symbols that are right.

    Args:
      length: symbols of a word.
      pause: blanks between the word and the sign.
      symbols: number of different ones; chance is 1 / symbols.
      hidden: width of the unit.
      batch_size: words a step.
      steps: updates of a run.
    """
    blank, sign, inputs = symbols, symbols + 1, symbols + 2

    def sample(key):
        word = jax.random.randint(key, (batch_size, length), 0, symbols)
        rest = jnp.full((batch_size, pause + 1 + length - 1), blank).at[:, pause].set(sign)
        return {"read": jnp.concatenate([word, rest], axis=1), "word": word}

    def init(key):
        gates, candidate, out = jax.random.split(key, 3)
        params = {
            "gates": networks.dense(gates, (inputs + hidden, 2 * hidden)),
            "candidate": networks.dense(candidate, (inputs + hidden, hidden)),
            "out": networks.dense(out, (hidden, symbols)),
        }
        return params, {}

    def tell(params, read):
        def unit(h, x):
            both = jnp.concatenate([x, h], axis=-1)
            update, reset = jnp.split(jax.nn.sigmoid(networks.forward(params["gates"], both, jnp.tanh)), 2, axis=-1)
            new = jnp.tanh(networks.forward(params["candidate"], jnp.concatenate([x, reset * h], axis=-1), jnp.tanh))
            h = update * h + (1.0 - update) * new
            return h, h

        x = jnp.swapaxes(jax.nn.one_hot(read, inputs), 0, 1)
        _, states = jax.lax.scan(unit, jnp.zeros((read.shape[0], hidden)), x)
        return networks.forward(params["out"], jnp.swapaxes(states[-length:], 0, 1), jnp.tanh)

    def loss(params, net_state, batch, *, key, train):
        logits = tell(params, batch["read"])
        value = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["word"]))
        right = jnp.mean((jnp.argmax(logits, -1) == batch["word"]).astype(jnp.float32))
        return value, (net_state, {"accuracy": right})

    return Task(init, loss, train=sample, score="accuracy", higher_is_better=True, steps=steps)
