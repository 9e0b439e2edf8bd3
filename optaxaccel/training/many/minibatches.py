"""Train one small network with many settings and seeds, step by step, in one compiled program: for studies.

The loop trains what a `Run` can say. A study may want another loss, another network or every step's state; then this
is the plain loop of minibatches. What is compared shares the initial weights and the batches of each seed.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel import data, methods, models

Tree = Any
Loss = Callable[[Tree, jax.Array, jax.Array], jax.Array]
MEASURED = 10_000  # images an evaluation takes at once


class Problem(NamedTuple):
    """What is trained.

    Attributes:
      init: key -> parameters.
      loss: (parameters, x, y) -> the mean loss of a batch.
      error: (parameters, x, y) -> the share of a batch that is classified wrongly.
      train: (x, y) to train on.
      test: (x, y) to test on.
    """

    init: Callable[[jax.Array], Tree]
    loss: Loss
    error: Loss
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    def held_out(self, share: float = 0.2) -> "Problem":
        """Return the problem to tune on: the last part of the training images tests, the rest trains."""
        (x, y), first = self.train, round((1.0 - share) * len(self.train[0]))
        return self._replace(train=(x[:first], y[:first]), test=(x[first:], y[first:]))


class Trained(NamedTuple):
    """What came of it; the leading axes are settings and seeds, then, where there are any, epochs and steps.

    Attributes:
      train_loss: over all training images, at the iterate that the method wants evaluated, before the first epoch and
        after each, [settings, seeds, epochs + 1].
      error: share of wrongly classified test images there, likewise.
      batch_loss: the loss of every step's batch, [settings, seeds, epochs, steps].
      watched: what was asked for of every step, with the axes of `batch_loss` first.
      kept: the iterates that are evaluated if they are to be kept, with the axes of `train_loss` first; else None.
    """

    train_loss: np.ndarray
    error: np.ndarray
    batch_loss: np.ndarray
    watched: Any
    kept: Any


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Return the mean cross entropy (nats)."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))


def squared_error(outputs: jax.Array, label: jax.Array) -> jax.Array:
    """Return the mean squared distance of the outputs to ones and zeros, over classes and images."""
    return jnp.mean((outputs - jax.nn.one_hot(label, outputs.shape[-1], dtype=outputs.dtype)) ** 2)


def images(
    name: str,
    model: str,
    *,
    train: int,
    test: int,
    loss: Callable[[jax.Array, jax.Array], jax.Array] = cross_entropy,
    pool: int = 1,
    **arguments: Any,
) -> Problem:
    """Make a problem of a model without state and the first images of a data set, normalised by channel.

    Args:
      name: the data set.
      model: the model; one without batch statistics and dropout.
      train: number of training images, the first ones (all, if there are fewer).
      test: number of test images, likewise.
      loss: (outputs, labels) -> the mean loss.
      pool: side of the squares of pixels that are averaged.
      **arguments: of the model.
    """
    dataset = data.load(name)
    mean, std = data.normalisation(dataset)
    train_set, test_set = (
        (_pooled((np.asarray(s.image[:n], np.float32) / 255.0 - mean) / std, pool), np.asarray(s.label[:n], np.int32))
        for s, n in ((dataset.train, train), (dataset.test, test))
    )
    net = models.make(model, classes=dataset.classes, input_shape=train_set[0].shape[1:], **arguments)

    def outputs(params: Tree, x: jax.Array) -> jax.Array:
        return net.apply(params, {}, x, train=True)[0]

    return Problem(
        lambda key: net.init(key, jnp.zeros((1, *train_set[0].shape[1:])))[0],
        lambda params, x, y: loss(outputs(params, x), y),
        lambda params, x, y: jnp.mean(jnp.argmax(outputs(params, x), -1) != y),
        train_set,
        test_set,
    )


def _pooled(x: np.ndarray, side: int) -> np.ndarray:
    number, height, width, channels = x.shape
    squares = x.reshape(number, height // side, side, width // side, side, channels)
    return squares.mean((2, 4), dtype=np.float32)


def train(
    make: Callable[[dict[str, jax.Array]], optax.GradientTransformation],
    problem: Problem,
    settings: Sequence[Mapping[str, Any]],
    *,
    seeds: Sequence[int],
    epochs: int,
    batch_size: int,
    watch: Callable[[Any], Any] = lambda state: (),
    keep: bool = False,
    together: int | None = None,
) -> Trained:
    """Train every setting with every seed.

    Args:
      make: setting -> the method; the setting's numbers are traced, so all of them compile once.
      problem: what is trained.
      settings: dictionaries of numbers (or arrays) with the same names.
      seeds: they fix initial weights and batches, whatever the setting.
      epochs: passes over the training images; a last batch that is not full is left out.
      batch_size: images a step.
      watch: state of the method -> what to keep of it at every step.
      keep: whether the iterates after the epochs are kept.
      together: how many runs are one batch more (all, if None). With 1 they run one after the other: a branch of a
        method, such as a search, is then taken only where it is due.

    Example:
      >>> slope = lambda w, x, y: jnp.mean((w * x - y) ** 2) / 2
      >>> line = Problem(lambda key: jnp.zeros(()), slope, slope, (np.ones(4), np.ones(4)), (np.ones(4), np.ones(4)))
      >>> rates = [{"rate": 0.5}, {"rate": 1.0}]
      >>> outcome = train(lambda s: optax.sgd(s["rate"]), line, rates, seeds=[0], epochs=1, batch_size=2)
      >>> outcome.train_loss[:, 0].tolist()
      [[0.5, 0.03125], [0.5, 0.0]]
    """
    (_, labels), shape = problem.train, (len(settings), len(seeds))
    steps = len(labels) // batch_size
    if steps < 1:
        raise ValueError(f"batch_size={batch_size} is more than the {len(labels)} training images. Take fewer a step.")

    def one(sets: Any, run: Any) -> Any:
        (seen, unseen), (setting, seed) = sets, run
        tx = optax.with_extra_args_support(make(setting))
        key = jax.random.key(seed)
        params = problem.init(jax.random.fold_in(key, 0))

        def step(carry: Any, chosen: jax.Array) -> Any:
            params, state = carry
            batch = jax.tree.map(lambda a: a[chosen], seen)
            value_fn = partial(_on_batch, problem.loss, batch)
            value, grad = jax.value_and_grad(value_fn)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=value_fn)
            return (optax.apply_updates(params, updates), state), (value, watch(state))

        def epoch(carry: Any, number: jax.Array) -> Any:
            order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, 1), number), len(labels))
            carry, rows = jax.lax.scan(step, carry, order[: steps * batch_size].reshape(steps, batch_size))
            return carry, (measured(*carry), rows)

        def measured(params: Tree, state: Any) -> Any:
            evaluated = methods.eval_params(state, params)
            losses = _over(problem.loss, evaluated, seen), _over(problem.error, evaluated, unseen)
            return *losses, evaluated if keep else None

        start = (params, tx.init(params))
        _, (after, rows) = jax.lax.scan(epoch, start, jnp.arange(epochs))
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), measured(*start), after), rows

    runs = [(setting, seed) for setting in settings for seed in seeds]
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *runs)
    sets = jax.tree.map(jnp.asarray, (problem.train, problem.test))
    count = len(runs) if together is None else together
    program = jax.jit(lambda sets, stacked: _map(partial(one, sets), stacked, count))
    outputs = jax.device_get(program(sets, stacked))
    (loss, error, kept), (batch_loss, watched) = jax.tree.map(lambda a: a.reshape(*shape, *a.shape[1:]), outputs)
    return Trained(loss, error, batch_loss, watched, kept)


def _map(function: Callable[[Any], Any], xs: Any, together: int) -> Any:
    """Apply a function to every row, so many rows at a time."""
    if together == 1:
        return jax.lax.map(function, xs)
    rows = len(jax.tree.leaves(xs)[0])
    return jax.vmap(function)(xs) if together >= rows else jax.lax.map(function, xs, batch_size=together)


def _on_batch(loss: Loss, batch: tuple[jax.Array, jax.Array], params: Tree) -> jax.Array:
    return loss(params, *batch)


def _over(function: Loss, params: Tree, images: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Return the mean of a function over images, a part at a time."""
    x, y = images
    parts = [(x[k : k + MEASURED], y[k : k + MEASURED]) for k in range(0, len(y), MEASURED)]
    return jnp.sum(jnp.stack([function(params, *part) * len(part[1]) for part in parts])) / len(y)
