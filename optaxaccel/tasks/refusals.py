"""Refuse a task that cannot be trained before any work is done; every error says what to write instead."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel import registry
from optaxaccel.tasks import batches
from optaxaccel.tasks.task import Task

Tree = Any
_ONE_BATCH = " All of the data come as one argument: def loss(params, batch): x, y = batch."
_RETURNS = "return loss, (net_state, {'accuracy': accuracy})"


def check(task: Task) -> None:
    """Raise ValueError unless a task can be trained: shapes, kinds, and finite numbers at the start.

    Traces `init` and `loss`, and evaluates both once, on one batch.

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
        _check_data(task, name, getattr(task, name))
    with jax.enable_x64(task.precision == "float64"):
        params, net_state = _check_init(task)
        batch, _ = batches.take(task, task.train, batches.first_order(task), jax.random.key(0), jnp.zeros((), int))
        for train in (True, False):
            _check_loss(task, params, net_state, batch, train)
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


def _check_data(task: Task, name: str, data: Tree) -> None:
    if data is None or callable(data):
        return
    shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        where = f"{name}{jax.tree_util.keystr(path)}"
        if not hasattr(leaf, "dtype"):
            whole = f"{name}{jax.tree_util.keystr(path[:1])}"  # of nested lists the outermost
            kind = type(leaf).__name__ if whole == where else "list"
            raise ValueError(f"{task.name}: {whole} is a {kind}. Pass arrays: np.asarray({whole}).")
        if leaf.dtype.kind in "OUS":
            raise ValueError(
                f"{task.name}: {where} is of dtype {leaf.dtype}, which no device computes with. Encode it as numbers "
                "first: integers for classes or letters."
            )
        if leaf.dtype.kind in "fc" and not np.isfinite(np.asarray(leaf)).all():
            bad = int((~np.isfinite(np.asarray(leaf))).sum())
            raise ValueError(
                f"{task.name}: {where} holds {bad:,} numbers that are NaN or infinite, and one of them makes the loss "
                f"NaN. Drop those examples, or fill them in: np.nan_to_num({where})."
            )
        shapes[where] = leaf.shape
    if task.batch_size is not None:
        _check_examples(task, name, shapes)


def _check_examples(task: Task, name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    counts = {where: shape[0] if shape else None for where, shape in shapes.items()}
    if not counts or len(set(counts.values())) > 1 or None in counts.values():
        listed = ", ".join(f"{where} {shape}" for where, shape in shapes.items()) or "no array"
        raise ValueError(
            f"{task.name}: batches are cut along the first axis, the examples, which all arrays share, but there are: "
            f"{listed}. Pass arrays of one length, or batch_size=None to use them whole."
        )
    count = next(iter(counts.values())) or 0
    if name == "train" and count < (task.batch_size or 1):
        raise ValueError(
            f"{task.name}: batch_size={task.batch_size} exceeds the {count:,} training examples. Pass a smaller one."
        )
    if count == 0:
        raise ValueError(f"{task.name}: {name} has no examples. Pass one at least, or {name}=None.")


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
    try:
        output = jax.eval_shape(
            lambda p, s, b, k: task.loss(p, s, b, key=k, train=train), *_shapes(params, net_state, batch)
        )
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
    if not isinstance(metrics, Mapping):
        raise ValueError(f"{task.name}: the metrics are a {type(metrics).__name__}. Write: {returns}.")
    for name, value in metrics.items():
        if not isinstance(name, str) or jnp.shape(value) != ():
            raise ValueError(
                f"{task.name}: the metric {name!r} has shape {jnp.shape(value)}, but a metric is one number with a "
                "name. Return its mean over the batch."
            )
    _check_state(task, net_state, state, call)
    if not train:
        known = {"loss": loss, **metrics}
        if task.finish is not None:
            known |= jax.eval_shape(task.finish, known)
        if task.score not in known:
            raise registry.unknown(f"score of {task.name}: its evaluation has no metric", task.score, known)


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
    kinds = [f"batch{jax.tree_util.keystr(path)} {jnp.result_type(leaf)} {jnp.shape(leaf)}" for path, leaf in leaves]
    listed = ", ".join(kinds) or "no data"
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
    loss, (_, metrics) = jax.jit(lambda p, s, b: task.loss(p, s, b, key=jax.random.key(0), train=True))(
        params, net_state, batch
    )
    scores = {"loss": loss, **metrics}
    bad = [name for name, value in scores.items() if not np.isfinite(np.asarray(value))]
    if bad:
        raise ValueError(
            f"{task.name}: {', '.join(f'{name}={float(scores[name])}' for name in bad)} at the very start, before any "
            "update. Look for log(0), a division by zero or too large a scale in init; jax_debug_nans=True names the "
            "line."
        )


def _shapes(*trees: Tree) -> tuple[Tree, ...]:
    shaped = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), trees)
    return (*shaped, jax.eval_shape(lambda: jax.random.key(0)))


def _described(output: Any) -> str:
    if hasattr(output, "shape"):
        return f"an array of shape {output.shape} alone"
    if isinstance(output, tuple):
        return f"a tuple of {len(output)}: {', '.join(type(part).__name__ for part in output)}"
    return f"a {type(output).__name__}"
