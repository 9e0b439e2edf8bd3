"""What tracing tells of a task: whether a record in a folder is of this very comparison, and whether seeds matter."""

import hashlib
import re
from typing import Any

import jax
import numpy as np
import optax
from jax.extend.core import Literal

from optaxaccel.tasks import batches
from optaxaccel.tasks.task import Task
from optaxaccel.training.many.contenders import Setting
from optaxaccel.training.steps import members


def of_task(task: Task, *facts: Any) -> str:
    """Return a hash of a task's functions as traced, of its data and of further facts."""
    with jax.enable_x64(task.precision == "float64"):
        traced, data = _traced(task)
        return _hash(traced, data, (*facts, task.score, task.batch_size))


def seeds_are_alike(task: Task) -> bool:
    """Return whether every seed gives the same run: neither the start nor a batch nor the loss hangs on the key.

    Example:
      >>> from optaxaccel.tasks import from_loss
      >>> [seeds_are_alike(from_loss(lambda x: x**2, start)) for start in (1.0, lambda key: jax.random.normal(key))]
      [True, False]
    """
    with jax.enable_x64(task.precision == "float64"):
        traced, _ = _traced(task)
    drawn = {traced.jaxpr.invars[0]}
    for equation in traced.jaxpr.eqns:
        if any(not isinstance(entry, Literal) and entry in drawn for entry in equation.invars):
            drawn.update(equation.outvars)
    return not any(not isinstance(entry, Literal) and entry in drawn for entry in traced.jaxpr.outvars)


def _traced(task: Task) -> tuple[Any, members.Data]:
    """Return what a run begins with, as traced: start, first batch and loss as functions of the key; and the data."""
    data = members.data_of(task)

    def whole(key, data):
        params, net_state = task.init(key)
        batch, _ = batches.take(task, data.train, batches.first_order(task), key, jax.numpy.int32(0))
        return params, task.loss(params, net_state, batch, key=key, train=True)

    return jax.make_jaxpr(whole)(jax.random.key(0), data), data


def of_setting(setting: Setting) -> str:
    """Return a hash of a method as traced on a small problem: of a transformation nobody knows the arguments."""

    def update(params):
        tx = optax.with_extra_args_support(setting.recipe.method.make(**setting.arguments))
        extra = {"value": params["w"][0], "grad": params, "value_fn": lambda p: p["w"].sum()}
        return tx.update(params, tx.init(params), params, **extra)

    return _hash(jax.make_jaxpr(update)({"w": np.ones(2, np.float32)}), (), ())


def _hash(traced: Any, data: Any, facts: tuple) -> str:
    digest = hashlib.sha256(f"{re.sub('0x[0-9a-f]+', '', str(traced.jaxpr))} {facts}".encode())
    for leaf in jax.tree.leaves((traced.consts, data)):
        if not jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:12]
