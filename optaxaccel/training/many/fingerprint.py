"""Whether a record in a folder is of this very comparison: a hash of what was traced, and of the data."""

import hashlib
import re
from typing import Any

import jax
import numpy as np
import optax

from optaxaccel.tasks import batches
from optaxaccel.tasks.task import Task
from optaxaccel.training.many.contenders import Setting
from optaxaccel.training.steps import members


def of_task(task: Task, *facts: Any) -> str:
    """Return a hash of a task's functions as traced, of its data and of further facts."""
    with jax.enable_x64(task.precision == "float64"):
        data = members.data_of(task)

        def whole(key, data):
            params, net_state = task.init(key)
            batch, _ = batches.take(task, data.train, batches.first_order(task), key, jax.numpy.int32(0))
            return params, task.loss(params, net_state, batch, key=key, train=True)

        traced = jax.make_jaxpr(whole)(jax.random.key(0), data)
        return _hash(traced, data, (*facts, task.score, task.batch_size))


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
