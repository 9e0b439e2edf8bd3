"""Refuse a task that cannot be trained before any work is done; every error says what to write instead."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel import registry
from optaxaccel.tasks import batches, data_refusals, metric_refusals
from optaxaccel.tasks.task import Task

Tree = Any
_ONE_BATCH = " All of the data come as one argument: def loss(params, batch): x, y = batch."
_ROOT = re.compile(r"\b(sqrt|pow|cbrt)\b")  # whose derivatives may be infinite where they are finite
_RETURNS = "return loss, (net_state, {'accuracy': accuracy})"


def check(task: Task) -> None:
    """Raise ValueError unless a task can be trained and measured: shapes, kinds, and finite numbers at the start.

    Traces `init` and `loss`, and evaluates both and the gradient once, on one batch; of test and validation data only
    the shapes are looked at.

    Raises:
      ValueError: what is wrong, where, and what to write instead; TypeError: it is no Task.
    """
    if not isinstance(task, Task):
        raise TypeError(
            f"a {type(task).__name__} is no task. Make one with optaxaccel.tasks.Task(init, loss, train=data), or pass "
            "a plain loss with params=: compare(loss, params=params, ...)."
        )
    _check_fields(task)
    for name in ("train", "test", "validation"):
        data_refusals.check(task, name, getattr(task, name))
    with jax.enable_x64(task.precision == "float64"):
        params, net_state = _check_init(task)
        for name in ("train", "test", "validation"):
            _check_sampler(task, name, getattr(task, name))
        batch, _ = batches.take(task, task.train, batches.first_order(task), jax.random.key(0), jnp.zeros((), int))
        for train in (True, False):
            _check_loss(task, params, net_state, batch, train)
        for name in ("test", "validation"):
            _check_measured(task, name, params, net_state)
        _check_start(task, params, net_state, batch)


def _check_fields(task: Task) -> None:
    for name in ("batch_size", "eval_batch_size", "steps"):
        value = getattr(task, name)
        right = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not right and not (name == "batch_size" and value is None):
            raise ValueError(f"{task.name}: {name}={value!r} is no number of them. Pass an integer >= 1.")
    if task.precision not in ("float32", "float64"):
        raise ValueError(f"{task.name}: precision={task.precision!r} is unknown. Pass 'float32' or 'float64'.")
    for name in ("init", "loss"):
        if not callable(getattr(task, name)):
            raise ValueError(f"{task.name}: {name}={getattr(task, name)!r} is no function. See optaxaccel.tasks.Task.")


def _check_init(task: Task) -> tuple[Tree, Tree]:
    try:
        start = task.init(jax.random.key(0))
    except TypeError as error:
        raise ValueError(
            f"{task.name}: init(key) failed: {' '.join(str(error).split())[:300]}. It is called with a key alone: "
            "lambda key: model.init(key, x), say."
        ) from error
    if not (isinstance(start, tuple) and len(start) == 2):
        raise ValueError(
            f"{task.name}: init returned a {type(start).__name__}, but it gives the parameters and what the network "
            "carries beside them. Write: return params, {}."
        )
    params, net_state = start
    for path, leaf in jax.tree_util.tree_leaves_with_path({"params": params, "net_state": net_state}):
        if not isinstance(leaf, (jax.Array, np.ndarray, np.generic, int, float, complex)):
            where = f"{path[0].key}{jax.tree_util.keystr(path[1:])}"
            raise ValueError(
                f"{task.name}: {where} is a {type(leaf).__name__}, which no device computes with. Keep arrays alone in "
                "params and net_state, and the rest in the functions."
            )
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError(f"{task.name}: init returned no parameters, so there is nothing to train.")
    for path, leaf in leaves:
        where = f"params{jax.tree_util.keystr(path)}"
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise ValueError(
                f"{task.name}: {where} is of dtype {jnp.result_type(leaf)}, which has no gradient. Keep floating "
                "arrays in params and the rest in net_state."
            )
        if not bool(jnp.isfinite(leaf).all()):
            raise ValueError(f"{task.name}: {where} is not finite at the start. Look at init.")
    return params, net_state


def _check_loss(task: Task, params: Tree, net_state: Tree, batch: Tree, train: bool) -> None:
    call = _call(task, f"loss(params, net_state, batch, key=key, train={train})")
    returns = _RETURNS if call.endswith(f"train={train})") else "return loss, or return loss, {'accuracy': accuracy}"
    as_given: list[Any] = []  # what the loss is, and what the metrics call one

    def traced(p: Tree, s: Tree, b: Tree, k: jax.Array) -> Any:
        output = task.loss(p, s, b, key=k, train=train)
        if isinstance(output, tuple) and len(output) == 2:
            aux = output[1]
            as_given[:] = output[0], aux[1] if isinstance(aux, tuple) and len(aux) == 2 else {}
        return output

    try:
        output = jax.eval_shape(traced, *_shapes(params, net_state, batch))
    except Exception as error:  # libraries of networks raise errors of their own
        raise ValueError(_failed(task, call, batch, error)) from error
    if not (isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], tuple) and len(output[1]) == 2):
        raise ValueError(
            f"{task.name}: {call} returned {_described(output)}. Write: {returns}, with {{}} for no metrics."
        )
    if not hasattr(output[0], "dtype"):
        raise ValueError(f"{task.name}: {call} returned {_described(output[0])} for a loss. Write: {returns}.")
    loss, (state, metrics) = output
    if jnp.shape(loss) != ():
        raise ValueError(
            f"{task.name}: the loss has shape {jnp.shape(loss)}, but a loss is one number. Return its mean over the "
            "batch: jnp.mean(loss)."
        )
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(f"{task.name}: the loss is of dtype {loss.dtype}, which has no gradient. Return a float.")
    if not isinstance(as_given[0], jax.Array):
        raise ValueError(
            f"{task.name}: the loss is {as_given[0]!r}, a {type(as_given[0]).__name__} that depends on no parameter. "
            "Compute it from the parameters with jax.numpy."
        )
    if not isinstance(metrics, Mapping):
        raise ValueError(f"{task.name}: the metrics are a {type(metrics).__name__}. Write: {returns}.")
    metric_refusals.check_numbers(task, "the metric", metrics)
    _check_state(task, net_state, state, call)
    if not train:
        metric_refusals.check_names(
            task, "the metric", metrics, as_given[1].get("loss", as_given[0]) is not as_given[0]
        )
        known = {"loss": loss, **metrics}
        if task.finish is not None:
            known |= metric_refusals.finished(task, task.finish, known)
        if task.score not in known:
            raise registry.unknown(f"score of {task.name}: its evaluation has no metric", task.score, known)


def _check_sampler(task: Task, name: str, sample: Any) -> None:
    if not callable(sample):
        return
    try:
        jax.eval_shape(sample, *_shapes())
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(
            f"{task.name}: {name}(key) failed: {said}. A function that draws examples is called with a random key "
            "alone: def sample(key): return batch."
        ) from error


def _check_measured(task: Task, name: str, params: Tree, net_state: Tree) -> None:
    """Trace the evaluation of other data than those that are trained on."""
    data = getattr(task, name)
    if data is None:
        return
    drawn = data if callable(data) else None
    shaped_params, shaped_state, shapes, key = _shapes(params, net_state, {} if callable(data) else data)
    try:
        jax.eval_shape(
            lambda p, s, d: batches.measure(task, p, s, d if drawn is None else drawn),
            shaped_params,
            shaped_state,
            shapes,
        )
    except Exception as error:  # libraries of networks raise errors of their own
        sources = {"train": task.train, name: data}
        drawn_shapes = {n: jax.eval_shape(tree, key) if callable(tree) else tree for n, tree in sources.items()}
        listed = " and ".join(_listed(n, tree) for n, tree in drawn_shapes.items())
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(
            f"{task.name}: {name} cannot be evaluated as train is: there are {listed}. Pass {name} data of the same "
            f"names and shapes but for the number of examples. It said: {said}"
        ) from error


def _call(task: Task, otherwise: str) -> str:
    """Return how a task's loss is called, in words of who wrote it."""
    return getattr(task.loss, "called_as", otherwise)


def _failed(task: Task, call: str, batch: Tree, error: Exception) -> str:
    """Return what to say of a loss that failed when it was traced."""
    said = " ".join(str(error).split())[:300]
    if isinstance(error, TypeError) and "unexpected keyword" in said:
        return (
            f"{task.name}: {said}. Write def loss(params, net_state, batch, *, key, train): the key is for dropout, "
            "and may be ignored."
        )
    if isinstance(error, TypeError) and "positional argument" in said:
        more = {"loss(params)": " Pass data=batch where it needs one.", "loss(params, batch)": _ONE_BATCH}.get(call, "")
        return f"{task.name}: {said}. It is called as {call}.{more}"
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    listed = _listed("batch", batch)
    lengths = {jnp.shape(leaf)[:1] for _, leaf in leaves}
    cut = " The first axes, usually the examples, differ: pass arrays of one length." if len(lengths) > 1 else ""
    return f"{task.name}: {call} failed for a batch of {listed}.{cut} It said: {said}"


def _check_state(task: Task, before: Tree, after: Tree, call: str) -> None:
    like = [jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), tree) for tree in (before, after)]
    if like[0] != like[1]:
        raise ValueError(
            f"{task.name}: {call} changed the structure, shapes or dtypes of net_state, from {like[0]} to {like[1]}. "
            "Return it as init made it, with new numbers; or as it was."
        )


def _check_start(task: Task, params: Tree, net_state: Tree, batch: Tree) -> None:
    def of_batch(p: Tree, s: Tree, b: Tree) -> Any:
        return task.loss(p, s, b, key=jax.random.key(0), train=True)

    evaluate = jax.value_and_grad(of_batch, has_aux=True)
    try:
        steps = str(jax.make_jaxpr(evaluate)(params, net_state, batch))
    except Exception as error:  # the loss itself was traced before
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"{task.name}: the gradient of the loss cannot be computed. It said: {said}") from error
    if _ROOT.search(steps):
        (loss, (_, metrics)), gradient = jax.jit(evaluate)(params, net_state, batch)
    else:  # compiling the gradient of a large network takes long
        (loss, (_, metrics)), gradient = jax.jit(of_batch)(params, net_state, batch), {}
    scores = {"loss": loss, **metrics}
    bad = [name for name, value in scores.items() if not np.isfinite(np.asarray(value))]
    if bad:
        raise ValueError(
            f"{task.name}: {', '.join(f'{name}={float(scores[name])}' for name in bad)} at the very start, before any "
            "update. Look for log(0), a division by zero or too large a scale in init; jax_debug_nans=True names the "
            "line."
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        if not bool(jnp.isfinite(leaf).all()):
            raise ValueError(
                f"{task.name}: the gradient by params{jax.tree_util.keystr(path)} is not finite at the very start, "
                f"where the loss is {float(loss):.4g}. Look for a square root or a norm of zero, whose derivative is "
                "infinite: jnp.sqrt(x + 1e-12), or another init."
            )


def _shapes(*trees: Tree) -> tuple[Tree, ...]:
    shaped = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), trees)
    return (*shaped, jax.eval_shape(lambda: jax.random.key(0)))


def _listed(name: str, tree: Tree) -> str:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    kinds = [f"{name}{jax.tree_util.keystr(path)} {jnp.result_type(leaf)} {jnp.shape(leaf)}" for path, leaf in leaves]
    return ", ".join(kinds) or "no data"


def _described(output: Any) -> str:
    if hasattr(output, "shape"):
        return f"an array of shape {output.shape} alone"
    if isinstance(output, tuple):
        return f"a tuple of {len(output)}: {', '.join(type(part).__name__ for part in output)}"
    return f"a {type(output).__name__}"
