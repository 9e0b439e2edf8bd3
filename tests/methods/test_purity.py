"""`check_purity` tells losses that are not those of `value`; `optax.MultiSteps` around a search warns."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel

X = jnp.array([2.0, -1.0])


def loss(x, key):
    """Its mask is drawn from the key."""
    return jnp.sum(jnp.where(jax.random.bernoulli(key, 0.5, (2,)), 3.0, 1.0) * x**2)


def step(tx, key, other, x=X, state=None):
    """One step: the loss draws with one key, value_fn with another."""
    value, grad = jax.value_and_grad(loss)(x, key)
    state = tx.init(x) if state is None else state
    return tx.update(grad, state, x, value=value, grad=grad, value_fn=lambda p: loss(p, other))


KEY, OTHER = jax.random.key(0), jax.random.key(3)


@pytest.mark.parametrize("compiled", [False, True])
def test_another_mask_is_told_of(compiled, caplog):
    assert float(loss(X, KEY)) != float(loss(X, OTHER))
    one = functools.partial(step, optaxaccel.check_purity(optaxaccel.pal()))
    one = jax.jit(one) if compiled else one
    jax.block_until_ready(one(KEY, KEY))
    with pytest.raises(jax.errors.JaxRuntimeError if compiled else ValueError, match="another dropout mask"):
        jax.block_until_ready(one(KEY, OTHER))


@pytest.mark.parametrize("make", [optaxaccel.pal, lambda: optaxaccel.agd(0.1), lambda: optax.sgd(0.1)])
def test_what_is_pure_moves_as_without_the_check(make):
    got, want = (step(tx, KEY, KEY) for tx in (optaxaccel.check_purity(make()), optax.with_extra_args_support(make())))
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    assert optaxaccel.eval_params(got[1], X + got[0]).shape == X.shape


@pytest.mark.parametrize(
    ("value", "again", "warned"),
    [
        *((1.0, 1.0009, False), (1.0, 1.0011, True), (0.0, 1e-7, False), (0.0, 1e-5, True), (1.0, jnp.nan, True)),
        *((jnp.nan, 1.0, False), (jnp.inf, 1.0, False), (-100.0, -100.05, False), (-100.0, 100.0, True)),
    ],
)
def test_the_tolerance_is_relative(value, again, warned):
    tx = optaxaccel.check_purity(optax.sgd(0.1))

    def update():
        tx.update(X, tx.init(X), X, value=jnp.float32(value), value_fn=lambda p: jnp.float32(again))

    if warned:
        with pytest.raises(ValueError, match="not one function"):
            update()
    else:
        update()


def test_what_the_check_needs_is_asked_for():
    tx = optaxaccel.check_purity(optax.sgd(0.1))
    for missing in ("params", "value", "value_fn"):
        arguments = {"params": X, "value": 1.0, "value_fn": lambda p: jnp.float32(1.0)} | {missing: None}
        with pytest.raises(ValueError, match=f"{missing}=None"):
            tx.update(X, tx.init(X), **arguments)
    with pytest.raises(ValueError, match="tolerance=0"):
        optaxaccel.check_purity(optax.sgd(0.1), tolerance=0)


# --- Accumulation -----------------------------------------------------------------------------------------------------

SEARCHES = {
    "pal": optaxaccel.pal,
    "a chain": lambda: optax.chain(optax.scale_by_adam(), optax.scale(-1.0), optaxaccel.scale_by_parabola()),
    "in a mask": lambda: optax.masked(optaxaccel.pal(), True),
    "gose_agd": lambda: optaxaccel.gose_agd(0.1, finder=optaxaccel.lanczos(2)),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_warns_inside_of_multi_steps(name):
    """Where its state is made, and at its first step, if the state comes from a checkpoint."""
    tx = optax.MultiSteps(SEARCHES[name](), 2)
    message = r"optax\.MultiSteps hands it the mean gradient"
    with pytest.warns(UserWarning, match=message):
        state = tx.init(X)
    with pytest.warns(UserWarning, match=message):
        jax.eval_shape(lambda key: step(tx, key, key, state=state), KEY)


def test_nobody_else_warns():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for tx in (optaxaccel.pal(), optax.MultiSteps(optaxaccel.agd(0.1), 2)):
            jax.eval_shape(lambda key, tx=tx: step(tx, key, key), KEY)
    assert not caught
