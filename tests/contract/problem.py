"""The problem that the items run on, and one compiled step for each method that they share."""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel import Card
from optaxaccel.numerics import trees

Tree = Any
SIZE = 9
BATCH = np.zeros(8, np.float32)
MIXED = {"s": jnp.float32, "w": jnp.bfloat16}


def build(card: Card) -> optax.GradientTransformationExtraArgs:
    return card.make(**card.example)


def covers(key: str, test: str) -> bool:
    """Whether a key of `reservations` names this test, or the words that several tests begin with."""
    return f"{test}_".startswith(f"test_{key}_")


def reservation(card: Card, test: str) -> str | None:
    """The reason why this item does not apply to the method, if its card gives one."""
    return next((reason for key, reason in card.reservations.items() if covers(key, test)), None)


def split(vector: np.ndarray) -> Tree:
    """The standard tree: a scalar, and a leading axis of 4 for the devices; in the order of `jax.tree.leaves`."""
    return {"s": vector[0], "w": vector[1:].reshape(4, 2)}


def start(dtype: Any = jnp.float32, cut: Callable[[np.ndarray], Tree] = split) -> Tree:
    """Fresh parameters in buffers of their own; `dtype` is one for all leaves or a dictionary like the tree."""
    tree = cut(np.cos(np.arange(SIZE) + 0.5))
    dtypes = dtype if isinstance(dtype, dict) else jax.tree.map(lambda leaf: dtype, tree)
    return jax.tree.map(lambda leaf, d: jnp.array(leaf, d), tree, dtypes)


def loss(params: Tree, batch: jax.Array) -> jax.Array:
    """Mean over the batch of sum_i h_i |x_i - target|^2 / 2 with curvatures h from 0.1 to 1, in float32 at least."""
    dtype, target, seen = trees.accumulation_dtype(), jnp.mean(batch), 0
    total = jnp.mean(jnp.square(batch - target)).astype(dtype)  # what the spread of the targets adds, up to a factor
    for leaf in jax.tree.leaves(params):
        half = 0.5 * jnp.asarray(0.1 + 0.9 * (seen + np.arange(leaf.size).reshape(leaf.shape)) / (SIZE - 1), dtype)
        off = leaf.astype(jnp.promote_types(leaf.dtype, dtype)) - target
        total += jnp.sum(half * (jnp.real(off * jnp.conj(off)) if jnp.iscomplexobj(off) else off * off))
        seen += leaf.size
    return total


def evaluate(loss: Callable, params: Tree, *data: Any) -> tuple[jax.Array, Tree]:
    """The loss and the gradient that optax expects, conjugated where it is complex."""
    value, grads = jax.value_and_grad(loss)(params, *data)
    return value, jax.tree.map(lambda g: jnp.conj(g) if jnp.iscomplexobj(g) else g, grads)


value_and_grad = jax.jit(functools.partial(evaluate, loss))

# --- Steps ------------------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """A compiled step `update(params, state, grads, value, batch) -> (params, state, updates)` that donates."""

    tx: optax.GradientTransformationExtraArgs
    update: Callable
    traces: list[int]


def compile_step(tx: optax.GradientTransformation, loss: Callable = loss) -> Step:
    tx, traces = optax.with_extra_args_support(tx), [0]

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params, state, grads, value, batch):
        traces[0] += 1
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss, batch=batch)
        return optax.apply_updates(params, updates), state, updates

    return Step(tx, update, traces)


def whole_step(
    tx: optax.GradientTransformation,
    loss: Callable = loss,
    *,
    share: Callable = lambda grads: grads,
    value_fn: Callable | None = None,
):
    """A step that evaluates too, `step(params, state, batch) -> (params, state, updates)`, not compiled."""
    tx, value_fn = optax.with_extra_args_support(tx), value_fn or loss

    def step(params, state, batch):
        value, grads = evaluate(loss, params, batch)
        grads = share(grads)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=value_fn, batch=batch)
        return optax.apply_updates(params, updates), state, updates

    return step


_compiled: dict[Any, Step] = {}


def shared_step(card: Card, wrap: Callable = lambda tx: tx) -> Step:
    """The method's step, compiled once for all items that run it on the standard float32 tree."""
    key = (card.make, repr(card.example), getattr(wrap, "__qualname__", ""))
    if key not in _compiled:
        _compiled[key] = compile_step(wrap(build(card)))
    return _compiled[key]


class Point(NamedTuple):
    """Where a run stands."""

    params: Tree
    state: Any
    updates: Tree


def run(
    step: Step, steps: int, params: Tree = None, state: Any = None, batch: Any = BATCH, record: bool = False
) -> Any:
    """Take some steps; returns the last point, or with `record` a list of all of them in NumPy."""
    params = start() if params is None else params
    point = Point(params, step.tx.init(params) if state is None else state, None)
    batch, points = jnp.asarray(batch), []
    for _ in range(steps):
        value, grads = value_and_grad(point.params, batch)
        point = Point(*step.update(*point[:2], grads, value, batch))
        if record:
            points.append(to_numpy(point))
    return points if record else point


@functools.cache
def _reference(step: Callable, tx: Any, steps: int) -> list[Point]:
    return run(Step(tx, step, []), steps, record=True)


def reference(card: Card, steps: int) -> list[Point]:
    """The first points of the method's shared step, computed once."""
    step = shared_step(card)
    return _reference(step.update, step.tx, steps)


# --- Comparisons ------------------------------------------------------------------------------------------------------


def to_numpy(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: np.array(x), tree)


def types(tree: Tree) -> list[str]:
    """Every leaf's path, dtype, shape and weak type, and its sharding where that is explicit."""
    return [f"{jax.tree_util.keystr(k)}: {_type(x)}" for k, x in jax.tree_util.tree_leaves_with_path(tree)]


def _type(leaf: Any) -> str:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return str(jax.core.ShapedArray(leaf.shape, leaf.dtype, weak_type=leaf.weak_type))
    return str(jax.typeof(leaf)) if isinstance(leaf, jax.Array) else f"not an array: {leaf!r}"


def assert_same(got: Tree, want: Tree) -> None:
    """Assert that two trees are equal, bit by bit, dtypes included."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=jax.tree_util.keystr(path), strict=True)


def assert_close(got: Tree, want: Tree, tolerance: float) -> None:
    """Assert that all entries agree to `tolerance`, relative to the start, whose entries are about one."""
    a, b = flatten(got), flatten(want)
    assert a.shape == b.shape, (a.shape, b.shape)
    largest = np.max(np.abs(b), initial=1.0, where=np.isfinite(b))  # a state may hold inf for "not known yet"
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest)


def flatten(tree: Tree) -> np.ndarray:
    leaves = [np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.astype(np.result_type(leaf, np.float64)) for leaf in leaves])


def program(function: Callable, *args: Any) -> str:
    """The text of the traced program: equal texts do equal things."""
    return re.sub(r"0x[0-9a-f]+", "0x", str(jax.make_jaxpr(function)(*args)))


def uses_value_fn(card: Card) -> bool:
    """Whether the method evaluates the loss, seen by tracing it."""
    seen, params, tx = [], start(), build(card)

    def spy(params, batch):
        seen.append(1)
        return loss(params, batch)

    def update(params, batch):
        return tx.update(params, tx.init(params), params, value=1.0, grad=params, value_fn=spy, batch=batch)

    jax.eval_shape(update, params, BATCH)
    return bool(seen)
