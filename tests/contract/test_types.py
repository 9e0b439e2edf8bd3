"""Dtypes, shapes and weak types never change, whatever the parameters' dtypes are."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optaxaccel import Card

from .problem import BATCH, MIXED, build, evaluate, loss, run, shared_step, start, types

DTYPES = {
    "float32": jnp.float32,
    "bfloat16": jnp.bfloat16,
    "float16": jnp.float16,
    "mixed": MIXED,
    "halves": {"s": jnp.float16, "w": jnp.bfloat16},
    "float64": jnp.float64,
    "float32_and_float64": {"s": jnp.float64, "w": jnp.float32},
}
COMPLEX = {"complex64": jnp.complex64, "complex128": jnp.complex128}
VALUES = {
    "float32": lambda v: v.astype(jnp.float32),
    "float16": lambda v: v.astype(jnp.float16),
    "bfloat16": lambda v: v.astype(jnp.bfloat16),
    "float64": lambda v: v.astype(jnp.float64),
    "python": lambda v: 1.5,
    "numpy": lambda v: np.float32(1.5),
}


def precision(name: str) -> contextlib.AbstractContextManager:
    """Turn float64 on where the name asks for it."""
    return jax.enable_x64(True) if "float64" in name or name == "complex128" else contextlib.nullcontext()


def trace_update(tx, params, state, cast=VALUES["float32"]):
    """The types of updates and state after one update that sits in a branch of `lax.cond`."""

    def update(params, state, batch):
        value, grads = evaluate(loss, params, batch)
        value = cast(value)

        def move(params, state, grads):
            return tx.update(grads, state, params, value=value, grad=grads, value_fn=loss, batch=batch)

        def rest(params, state, grads):
            return jax.tree.map(lambda p: jnp.zeros(p.shape, p.dtype), params), state

        bare = move(params, state, grads)  # outside the branch, whose outputs could lose a weak type
        jax.lax.cond(jnp.isfinite(value), move, rest, params, state, grads)
        return bare

    return jax.eval_shape(update, params, state, BATCH)


def assert_types_stay(card: Card, dtype, cast=VALUES["float32"]):
    tx, params = optax.with_extra_args_support(build(card)), start(dtype)
    state = tx.init(params)
    updates, after = trace_update(tx, params, state, cast)
    assert types(updates) == types(params)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert types(after) == types(state)


@pytest.mark.parametrize("dtype", DTYPES)
def test_types_stay(card: Card, dtype):
    with precision(dtype):
        assert_types_stay(card, DTYPES[dtype])


@pytest.mark.parametrize("dtype", COMPLEX)
def test_types_stay_with_complex_parameters(card: Card, dtype):
    with precision(dtype):
        assert_types_stay(card, COMPLEX[dtype])


@pytest.mark.parametrize("value", VALUES)
def test_types_stay_whatever_the_type_of_value(card: Card, value):
    with precision(value):
        assert_types_stay(card, jnp.float32, VALUES[value])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_types_of_the_state_stay_where_gradients_are_wider(card: Card, dtype):
    """They are summed in float64, say: over micro-batches, or by a solver."""
    with precision("float64"):
        tx, params = optax.with_extra_args_support(build(card)), start(DTYPES[dtype])
        state = tx.init(params)

        def update(params, state, batch):
            value, grads = evaluate(loss, params, batch)
            value, grads = jax.tree.map(lambda x: x.astype(jnp.float64), (value, grads))
            return tx.update(grads, state, params, value=value, grad=grads, value_fn=loss, batch=batch)[1]

        assert types(jax.eval_shape(update, params, state, BATCH)) == types(state)


def test_state_is_made_of_plain_strong_arrays(card: Card):
    state = build(card).init(start())
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        name = jax.tree_util.keystr(path)
        assert isinstance(leaf, jax.Array), f"{name} is {leaf!r}"
        assert not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended), f"{name} is a typed PRNG key"
        assert not leaf.weak_type, f"{name} is weakly typed"
        assert leaf.size, f"{name} has no entries: it cannot be saved"


def test_init_takes_shapes_alone(card: Card):
    """Sharding rules and restored checkpoints need the state's form before there are parameters."""
    tx, params = build(card), start(MIXED)
    state, shapes = tx.init(params), jax.eval_shape(lambda p: p, params)
    for form in (jax.eval_shape(tx.init, params), jax.eval_shape(tx.init, shapes), tx.init(shapes)):
        assert jax.tree.structure(form) == jax.tree.structure(state)
        assert types(form) == types(state)


def test_traces_once(card: Card):
    """The second step, the second run and a state made inside jit all find the compiled step."""
    step = shared_step(card)
    run(step, 1)
    compiled = step.update._cache_size()
    run(step, 3)
    run(step, 2, state=jax.jit(step.tx.init)(start()))
    assert step.traces == [1]
    assert step.update._cache_size() == compiled


def test_numbers_of_python_are_parameters(card: Card):
    """As in optax: a scalar problem needs no arrays."""
    tx = optax.with_extra_args_support(build(card))
    extra = {"value": 2.25, "grad": 3.0, "value_fn": lambda w: (w - 0.5) ** 2}
    update, state = tx.update(3.0, tx.init(2.0), 2.0, **extra)
    again, state = tx.update(3.0, state, 2.0, **extra)
    assert np.shape(update) == np.shape(again) == ()
    assert np.isfinite(update)
    assert np.isfinite(again)
