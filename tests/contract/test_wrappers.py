"""Methods live inside optax's wrappers, or say why they cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optaxaccel import Card, eval_params

from .problem import (
    BATCH,
    MIXED,
    Point,
    assert_close,
    assert_same,
    build,
    compile_step,
    loss,
    reference,
    run,
    shared_step,
    start,
    to_numpy,
    types,
    uses_value_fn,
    value_and_grad,
)
from .test_types import trace_update

PART = {"s": False, "w": True}
pytestmark = pytest.mark.filterwarnings("ignore:.*optax.MultiSteps")  # here every micro-batch is the whole one


def accumulate(tx):
    """Four micro-batches a step. (`MultiSteps.gradient_transformation` would drop the loss.)"""
    steps = optax.MultiSteps(tx, 4)
    return optax.GradientTransformationExtraArgs(steps.init, steps.update)


NEUTRAL = {
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(100.0), optax.add_decayed_weights(0.0), tx),
    "masked": lambda tx: optax.masked(tx, True),
    "partition": lambda tx: optax.partition({"all": tx}, "all"),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 5),
    "conditionally_transform": lambda tx: optax.conditionally_transform(tx, lambda step: step < 1000),
    "conditionally_mask": lambda tx: optax.conditionally_mask(tx, lambda step: step < 1000),
    "MultiSteps": accumulate,
}


@pytest.mark.parametrize("wrapper", NEUTRAL)
def test_types_stay_inside_a_wrapper(card: Card, wrapper):
    tx, params = optax.with_extra_args_support(NEUTRAL[wrapper](build(card))), start(MIXED)
    state = tx.init(params)
    updates, after = trace_update(tx, params, state)
    assert types(updates) == types(params)
    assert types(after) == types(state)


def inside_all(tx):
    for name in ("chain", "masked", "conditionally_transform", "apply_if_finite"):
        tx = NEUTRAL[name](tx)
    return tx


def test_neutral_wrappers_change_nothing(card: Card):
    """Many at once; the iterate to evaluate is found through all of them."""
    step = shared_step(card, inside_all)
    for got, want in zip(run(step, 3, record=True), reference(card, 3), strict=True):
        assert_close(got.updates, want.updates, 1e-6)
        assert_close(eval_params(got.state, got.params), eval_params(want.state, want.params), 1e-6)
    assert step.traces == [1]


def test_apply_if_finite_guards(card: Card):
    step, batch = shared_step(card, inside_all), jnp.asarray(BATCH)
    good = run(step, 2)
    before = to_numpy(good)
    value, grads = value_and_grad(good.params, batch)
    after = to_numpy(step.update(good.params, good.state, {**grads, "s": grads["s"] * jnp.nan}, value, batch))
    assert_same(after[0], before.params)
    assert_same(after[1].inner_state, before.state.inner_state)


def test_accumulation_waits_in_exact_zeros(card: Card):
    """Three of four micro-batches move nothing and leave the method's state alone; the fourth steps."""
    step, params = shared_step(card, accumulate), start(MIXED)
    first = to_numpy(step.tx.init(params).inner_opt_state)
    *waiting, stepped = run(step, 4, params, record=True)
    for point in waiting:
        assert types(jax.tree.map(jnp.asarray, point.updates)) == types(start(MIXED))
        assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(point.updates))
        assert_same(point.state.inner_opt_state, first)
    assert int(stepped.state.gradient_step) == 1
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(stepped.updates))


def test_descends_in_low_precision(card: Card):
    """In leaves of bfloat16 and float32, and while the gradient of four is accumulated: as fast as in float32 alone."""
    params, steps = start(MIXED), 50
    first, last = float(loss(params, BATCH)), run(shared_step(card, accumulate), 4 * steps, params).params
    rate = (float(loss(last, BATCH)) / first) ** (0.5 / steps)
    assert rate <= 1 - 0.3 * 0.1, f"the distance falls by {rate:.4f} a step"


@pytest.mark.parametrize("wrapper", ["masked", "partition"])
def test_a_partial_mask_hides_leaves_or_is_refused(card: Card, wrapper):
    labels = {name: "move" if m else "keep" for name, m in PART.items()}
    tx = {
        "masked": lambda: optax.masked(build(card), PART),
        "partition": lambda: optax.partition({"move": build(card), "keep": optax.set_to_zero()}, labels),
    }[wrapper]()
    if uses_value_fn(card):
        with pytest.raises(TypeError, match=r"a mask hides .*optaxaccel\.partition"):
            run(compile_step(tx, lambda params, batch: loss({**params, "s": 1.0 * params["s"]}, batch)), 1)
        return
    part = compile_step(build(card))
    for got, want in zip(run(compile_step(tx), 2, record=True), _run_part(part, 2), strict=True):
        assert_close({k: got.updates[k] for k in PART if PART[k]}, want.updates, 1e-6)
        evaluated = eval_params(got.state, got.params)
        assert_close({k: evaluated[k] for k in PART if PART[k]}, eval_params(want.state, want.params), 1e-6)
        np.testing.assert_array_equal(evaluated["s"], got.params["s"])
        if wrapper == "partition":
            assert np.all(got.updates["s"] == 0)


def _run_part(step, steps):
    """Run on the leaves that the mask shows, with the gradient of the whole."""
    params, batch, points = start(), jnp.asarray(BATCH), []
    part = {name: params[name] for name in PART if PART[name]}
    state, rest = step.tx.init(part), {name: params[name] for name in PART if not PART[name]}
    for _ in range(steps):
        value, grads = value_and_grad({**part, **rest}, batch)
        part, state, updates = step.update(part, state, {name: grads[name] for name in part}, value, batch)
        points.append(to_numpy(Point(part, state, updates)))
    return points
