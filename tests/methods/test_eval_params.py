"""`eval_params` finds the iterate to evaluate wherever a method's state sits, and leaves all else alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel.methods.contract import eval_params

PARAMS = {"a": {"x": jnp.arange(2.0), "y": jnp.full((1, 2), 5.0)}, "b": jnp.array(7.0)}
EVALUATED = jax.tree.map(lambda p: p - 1.0, PARAMS)


class Stored(NamedTuple):
    """Holds the iterate itself."""

    count: jax.Array
    eval_params: Any


class Derived(NamedTuple):
    """Holds what the iterate is derived from."""

    count: jax.Array
    offset: Any

    def eval_params(self, params):
        return jax.tree.map(lambda p, e: p - e, params, self.offset)


class Outer(NamedTuple):
    """Holds a derived iterate behind another method's state, whose masked trees are not shaped like `params`."""

    other: Any
    offset: Any

    def eval_params(self, params):
        return Derived.eval_params(self, params)  # pyright: ignore


def stored(rate=1.0):
    return _method(lambda p: Stored(jnp.zeros([], jnp.int32), jax.tree.map(lambda x: x - rate, p)))


def derived(rate=1.0):
    return _method(lambda p: Derived(jnp.zeros([], jnp.int32), jax.tree.map(lambda x: rate * jnp.ones_like(x), p)))


def outer():
    return _method(lambda p: Outer(optax.sgd(0.1, 0.9).init((p, p)), derived().init(p).offset))


def _method(init):
    return optax.GradientTransformationExtraArgs(init, lambda u, s, p=None, **extra: (u, s))


METHODS = {"stored": stored, "derived": derived, "outer": outer}
WRAPPERS = {
    "bare": lambda m: m(),
    "chain": lambda m: optax.chain(optax.clip(1.0), m(), optax.snapshot("s", lambda u: u)),
    "named_chain": lambda m: optax.named_chain(("clip", optax.clip(1.0)), ("method", m())),
    "masked": lambda m: optax.masked(m(), True),
    "partition": lambda m: optax.partition({"one": m(), "two": m()}, {"a": {"x": "one", "y": "two"}, "b": "one"}),
    "prefix": lambda m: optax.partition({"one": m(), "two": m()}, {"a": "one", "b": "two"}),
    "MultiSteps": lambda m: optax.MultiSteps(m(), 4),
    "apply_if_finite": lambda m: optax.apply_if_finite(m(), 3),
    "conditionally_transform": lambda m: optax.conditionally_transform(m(), lambda step: step < 3),
    "conditionally_mask": lambda m: optax.conditionally_mask(m(), lambda step: step < 3),
    "all": lambda m: optax.MultiSteps(optax.apply_if_finite(optax.chain(optax.masked(m(), True)), 3), 2),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_the_iterate_is_found_inside(wrap, method):
    state = wrap(method).init(PARAMS)
    assert_same(eval_params(state, PARAMS), EVALUATED)
    assert_same(jax.jit(eval_params)(state, PARAMS), EVALUATED)


@pytest.mark.parametrize("method", [stored, derived])
def test_the_iterate_is_found_inside_injected_hyperparameters(method):
    state = optax.inject_hyperparams(method)(rate=1.0).init(PARAMS)
    assert_same(eval_params(state, PARAMS), EVALUATED)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(
    "mask",
    [
        {"a": {"x": True, "y": False}, "b": True},
        {"a": {"x": False, "y": True}, "b": False},
        {"a": False, "b": True},
        {"a": {"x": False, "y": False}, "b": False},
        False,
    ],
    ids=str,
)
def test_what_a_mask_hides_stays(method, mask):
    state = optax.masked(method(), mask).init(PARAMS)
    full = jax.tree.broadcast(mask, PARAMS)
    assert_same(eval_params(state, PARAMS), jax.tree.map(lambda m, e, p: e if m else p, full, EVALUATED, PARAMS))


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_params_may_be_one_array(method, mask):
    params = jnp.arange(3.0)
    state = optax.masked(method(), mask).init(params)
    assert_same(eval_params(state, params), params - 1.0 if mask else params)


@pytest.mark.parametrize("params", [{}, (), {"a": None}, None, {"a": None, "b": jnp.ones(2)}, [(jnp.ones((0, 2)),)]])
@pytest.mark.parametrize("method", [stored, derived])
def test_odd_trees_keep_their_form(method, params):
    assert_same(eval_params(method().init(params), params), jax.tree.map(lambda p: p - 1.0, params))


@pytest.mark.parametrize("tx", [optax.sgd(0.1), optax.adam(0.1), optax.set_to_zero()])
def test_other_states_leave_params_as_they_are(tx):
    assert eval_params(tx.init(PARAMS), PARAMS) is PARAMS
    assert eval_params((), PARAMS) is PARAMS


def test_the_first_of_nested_iterates_counts():
    inner = stored().init(PARAMS)
    state = Outer(other=Stored(jnp.zeros([]), jax.tree.map(jnp.zeros_like, PARAMS)), offset=inner.eval_params)
    assert_same(eval_params(state, PARAMS), jax.tree.map(lambda p: p - (p - 1.0), PARAMS))


@pytest.mark.parametrize("method", [stored, derived])
@pytest.mark.parametrize("other", [PARAMS["a"], {**PARAMS, "c": PARAMS["b"]}, {"a": PARAMS["a"], "b": (1.0, 2.0)}])
def test_params_of_another_model_are_refused(method, other):
    with pytest.raises(ValueError, match=r"Dict|structure|node"):
        eval_params(method().init(PARAMS), other)


def test_the_error_shows_both_structures_and_the_call():
    with pytest.raises(ValueError, match=r"iterate of structure .*'b'.*params has .*eval_params\(opt_state, params\)"):
        eval_params(stored().init(PARAMS), PARAMS["a"])


def test_it_is_public():
    assert optaxaccel.eval_params is eval_params


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize(
    "tx",
    [
        optaxaccel.primal_averaging(optax.sgd(0.1), mu_y=0.98),
        optaxaccel.primal_averaging(optax.sgd(0.1), mu_y=0.99),
        optaxaccel.exponential_mean(optax.sgd(0.1)),
        optaxaccel.latest_weight_average(optax.sgd(0.1), period=1),
        optaxaccel.outer_nesterov(optax.sgd(0.1)),
    ],
    ids=["average kept", "base kept", "exponential", "latest", "outer"],
)
def test_the_iterate_has_the_dtypes_of_the_parameters(tx, dtype):
    params = {"w": jnp.ones(3, dtype), "v": jnp.ones(2)}
    updates, state = tx.update(params, tx.init(params), params)
    own = optaxaccel.eval_params(state, optax.apply_updates(params, updates))
    assert jax.tree.map(jnp.result_type, own) == jax.tree.map(jnp.result_type, params)
