"""What tracing tells of a task: whether a record is of this very task and its data, and whether seeds matter."""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from optaxaccel.tasks import batches
from optaxaccel.tasks.task import Task
from optaxaccel.training.run.optimizer import Recipe
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import members


def of_task(task: Task, *facts: Any) -> str:
    """Return a hash of a task's functions as traced, of its data and of further facts.

    Functions are the start, the loss in training and in evaluation, `finish`, and whatever draws examples; data are
    those to train on, to test and to validate on.
    """
    with _usual_settings(), jax.enable_x64(task.precision == "float64"):
        data = members.data_of(task)

        def whole(key, data):
            params, net_state, loss = _first(task, key, data)
            test = task.train if task.test is None else task.test
            measured = batches.measure(task, params, net_state, test if callable(test) else data.test)
            return params, loss, measured, task.validation(key) if callable(task.validation) else ()

        traced = jax.make_jaxpr(whole)(jax.random.key(0), data)
        arrays = (data, () if callable(task.validation) else task.validation)
        return _hash(traced, arrays, (*facts, task.score, task.higher_is_better, task.batch_size))


@contextlib.contextmanager
def _usual_settings() -> Iterator[None]:
    """Trace as under JAX's own settings: what a user sets for a process does not make another task."""
    with contextlib.ExitStack() as settings:
        settings.enter_context(jax.default_matmul_precision(None))
        settings.enter_context(jax.default_prng_impl("threefry2x32"))
        settings.enter_context(jax.numpy_rank_promotion("allow"))
        settings.enter_context(jax.numpy_dtype_promotion("standard"))
        settings.enter_context(jax.disable_jit(False))
        yield


def of_run(run: Run, task: Task) -> str:
    """Return the hash of a run's task where that is one's own, or was given data; "" of others: they do not change."""
    return of_task(task) if ":" in run.task or {"data", "dataset"} & set(run.task_args) else ""


def seeds_are_alike(task: Task) -> bool:
    """Return whether every seed gives the same run: neither the start nor a batch nor the loss hangs on the key.

    Example:
      >>> from optaxaccel.tasks import from_loss
      >>> [seeds_are_alike(from_loss(lambda x: x**2, start)) for start in (1.0, lambda key: jax.random.normal(key))]
      [True, False]
    """
    with jax.enable_x64(task.precision == "float64"):
        traced = jax.make_jaxpr(lambda key, data: _first(task, key, data))(jax.random.key(0), members.data_of(task))
    drawn = {traced.jaxpr.invars[0]}
    for equation in traced.jaxpr.eqns:
        if any(not isinstance(entry, Literal) and entry in drawn for entry in equation.invars):
            drawn.update(equation.outvars)
    return not any(not isinstance(entry, Literal) and entry in drawn for entry in traced.jaxpr.outvars)


def _first(task: Task, key: Any, data: members.Data) -> tuple[Any, Any, Any]:
    """Return what a run begins with: parameters, the network's state, and all that the loss of the first batch says."""
    params, net_state = task.init(key)
    batch, _ = batches.take(task, data.train, batches.first_order(task), key, jax.numpy.int32(0))
    return params, net_state, task.loss(params, net_state, batch, key=key, train=True)


def of_method(recipe: Recipe, task: Task) -> str:
    """Return a hash of a method as traced on a task's parameters: of a transformation nobody knows the arguments."""
    numbers = {name: float(value) for name, value in recipe.numbers.items()}

    def update(params):
        extra = {"value": jax.numpy.zeros(()), "grad": params, "value_fn": _sum}
        tx = recipe.build(numbers)
        return tx.update(params, tx.init(params), params, **extra)

    with jax.enable_x64(task.precision == "float64"):
        start = jax.eval_shape(lambda key: jax.tree.map(jax.numpy.asarray, task.init(key)[0]), jax.random.key(0))
        return _hash(jax.make_jaxpr(update)(start), (), ())


def _sum(params: Any) -> Any:
    return sum(jax.numpy.sum(leaf.real) for leaf in jax.tree.leaves(params))


def _hash(traced: ClosedJaxpr, data: Any, facts: tuple) -> str:
    digest = hashlib.sha256(f"{re.sub('0x[0-9a-f]+', '', str(traced.jaxpr))} {facts}".encode())
    _update(digest, (*_constants(traced, set()), *jax.tree.leaves(data)))
    return digest.hexdigest()[:12]


def of_arrays(arrays: Any) -> str:
    """Return a hash of a tree of arrays; 100 MB take a fifth of a second."""
    digest = hashlib.sha256()
    _update(digest, jax.tree.leaves(arrays))
    return digest.hexdigest()[:12]


def _update(digest: Any, leaves: Iterable[Any]) -> None:
    for leaf in leaves:
        keys = jax.numpy.issubdtype(jax.numpy.result_type(leaf), jax.dtypes.prng_key)
        array = np.ascontiguousarray(jax.random.key_data(leaf) if keys else leaf)
        digest.update(f"{array.dtype}{np.shape(leaf)}".encode())
        digest.update(array.reshape(-1).view(np.uint8))


def _constants(part: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the arrays that a traced function holds, those of the functions within it too: their text does not."""
    if isinstance(part, ClosedJaxpr):
        yield from part.consts
        part = part.jaxpr
    if not isinstance(part, Jaxpr):
        if isinstance(part, (np.ndarray, jax.Array)):
            yield part
        return
    if id(part) in seen:
        return
    seen.add(id(part))
    for equation in part.eqns:
        yield from (entry.val for entry in equation.invars if isinstance(entry, Literal) and np.ndim(entry.val))
        for one in jax.tree.leaves(equation.params, is_leaf=lambda node: isinstance(node, (ClosedJaxpr, Jaxpr))):
            yield from _constants(one, seen)
