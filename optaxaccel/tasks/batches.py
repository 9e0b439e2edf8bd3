"""The batch of a step, and the measurement of a whole data set: pure functions for compiled steps and loops."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from optaxaccel.tasks.task import Task

Tree = Any
_EVALUATION = 20_000_407  # seed of what an evaluation draws, the same for all


def examples(data: Tree) -> int:
    """Return the number of examples of a tree of arrays."""
    return int(jnp.shape(jax.tree.leaves(data)[0])[0])


def steps_per_epoch(task: Task) -> int:
    """Return the number of steps that see every training example once; 1 where a step does, or where none is fixed."""
    if task.batch_size is None or callable(task.train):
        return 1
    return examples(task.train) // task.batch_size


def first_order(task: Task) -> jax.Array:
    """Return what `take` carries from step to step, before the first one."""
    cut = task.batch_size is not None and not callable(task.train)
    return jnp.zeros(examples(task.train) if cut else 1, jnp.int32)  # one, since checkpoints hold no empty arrays


def in_words(task: Task) -> str:
    """Return what a step is made on, for the heads of tables.

    Example:
      >>> from optaxaccel.tasks.task import from_loss
      >>> in_words(from_loss(lambda x, batch: x, 1.0, train=jnp.zeros((1797, 8)), batch_size=64))
      '64 of 1,797 examples a step'
    """
    if callable(task.train):
        return "examples drawn anew at every step"
    if not jax.tree.leaves(task.train):
        return ""
    if task.batch_size is not None:
        return f"{task.batch_size:,} of {examples(task.train):,} examples a step"
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(task.train)}
    count = lengths.pop() if len(lengths) == 1 else ()
    return f"all {count[0]:,} examples at every step" if count else "all data at every step"


def take(task: Task, data: Tree, order: jax.Array, key: jax.Array, step: jax.Array) -> tuple[Tree, jax.Array]:
    """Return the batch of a step and the order of its epoch.

    Args:
      task: says how.
      data: its training data, as an argument of the compiled step; unused where they are drawn.
      order: of the epoch so far.
      key: of the run: the order of epoch e comes from it and e, what is drawn in step k from it and k.
      step: number of the step, from 0.
    """
    if callable(task.train):
        return task.train(jax.random.fold_in(key, step)), order
    if task.batch_size is None:
        return data, order
    period = order.size // task.batch_size
    epoch, within = step // period, step % period
    order = jax.lax.cond(
        within == 0,
        lambda _: jax.random.permutation(jax.random.fold_in(key, epoch), order.size).astype(jnp.int32),
        lambda order: order,
        order,
    )
    chosen = jax.lax.dynamic_slice_in_dim(order, within * task.batch_size, task.batch_size)
    return jax.tree.map(lambda leaf: leaf[chosen], data), order


def measure(task: Task, params: Tree, net_state: Tree, data: Tree) -> Mapping[str, jax.Array]:
    """Return the loss and the metrics of an evaluation, means over all examples; call it inside `jax.jit`.

    Args:
      task: the task.
      params: what to evaluate.
      net_state: what belongs to it.
      data: `task.test`, `task.validation` or `task.train`, or others like them.

    Example:
      >>> from optaxaccel.tasks.task import Task
      >>> def loss(params, net_state, batch, *, key, train):
      ...     return jnp.mean(jnp.abs(batch - params)), (net_state, {})
      >>> task = Task(lambda key: (jnp.zeros(()), {}), loss, train=jnp.arange(5.0), batch_size=2, eval_batch_size=2)
      >>> float(measure(task, jnp.zeros(()), {}, task.train)["loss"])  # of batches of 2, 2 and 1
      2.0
    """
    key = jax.random.key(_EVALUATION)

    def of_batch(batch: Tree) -> dict[str, jax.Array]:
        loss, (_, metrics) = task.loss(params, net_state, batch, key=key, train=False)
        scores = {"loss": loss, **metrics}
        return {name: jnp.asarray(v, jnp.promote_types(jnp.result_type(v), jnp.float32)) for name, v in scores.items()}

    if callable(data):
        means = of_batch(data(key))
    elif task.batch_size is None or examples(data) <= task.eval_batch_size:
        means = of_batch(data)
    else:
        means = _in_parts(of_batch, data, task.eval_batch_size)
    return means if task.finish is None else {**means, **task.finish(means)}


def _in_parts(of_batch: Any, data: Tree, size: int) -> dict[str, jax.Array]:
    """Return means over examples, from batches of one size and a rest."""
    count = examples(data)
    whole = count // size
    parts = jax.tree.map(lambda leaf: leaf[: whole * size].reshape(whole, size, *leaf.shape[1:]), data)
    means = jax.tree.map(lambda m: jnp.mean(m, axis=0), jax.lax.map(of_batch, parts))
    rest = count - whole * size
    if rest == 0:
        return means
    last, share = of_batch(jax.tree.map(lambda leaf: leaf[whole * size :], data)), rest / count
    return jax.tree.map(lambda a, b: (1.0 - share) * a + share * b, means, last)


def numbers(tree: Tree) -> int:
    """Return how many numbers a tree of arrays holds."""
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree))
