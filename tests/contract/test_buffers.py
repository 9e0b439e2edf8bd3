"""A state owns its buffers, survives donation, and an update never waits for the host."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel import Card

from .problem import (
    BATCH,
    assert_same,
    build,
    program,
    reference,
    run,
    shared_step,
    start,
    to_numpy,
    value_and_grad,
    whole_step,
)


def pointers(tree) -> list[int]:
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)]


def test_fresh_state_shares_no_buffer(card: Card):
    tx, params = build(card), start()
    for init in (tx.init, jax.jit(tx.init)):
        addresses = pointers((params, init(params)))
        assert len(set(addresses)) == len(addresses), "a buffer appears twice: donation would fail"


def test_fresh_state_can_be_donated(card: Card):
    step, params = shared_step(card), start()
    state = step.tx.init(params)
    want, leaves = reference(card, 2), jax.tree.leaves((params, state))
    point = run(step, 2, params, state)
    assert all(leaf.is_deleted() for leaf in leaves)
    assert_same(to_numpy(point), want[-1])


def test_update_never_waits_for_the_host(card: Card):
    step, params = shared_step(card), start()
    assert "callback" not in program(whole_step(step.tx), params, step.tx.init(params), BATCH)
    state, batch = step.tx.init(params), jnp.asarray(BATCH)
    for guard in ("allow", "disallow"):  # the first step compiles
        value, grads = value_and_grad(params, batch)
        with jax.transfer_guard(guard):
            params, state, _ = step.update(params, state, grads, value, batch)
            jax.block_until_ready(params)


def test_update_leaks_no_tracer(card: Card):
    tx = build(card)
    gc.freeze()  # or JAX searches the whole heap for whoever holds the tracer
    try:
        with jax.checking_leaks():
            jax.eval_shape(lambda params, batch: whole_step(tx)(params, tx.init(params), batch), start(), BATCH)
    except IndexError as error:  # raised while JAX looks for the holder
        raise AssertionError("Leaked a tracer; without gc.freeze() JAX says who holds it") from error
    finally:
        gc.unfreeze()


def test_stored_loss_is_that_of_the_accepted_point(card: Card):
    """`optax.value_and_grad_from_state` trusts any field called `value` or `grad`."""
    point = run(shared_step(card), 3)
    values = optax.tree.get_all_with_path(point.state, "value")
    grads = optax.tree.get_all_with_path(point.state, "grad")
    assert len(values) <= 1
    assert len(grads) == len(values)
    if values:
        value, gradient = value_and_grad(point.params, BATCH)
        np.testing.assert_allclose(values[0][1], value, rtol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads[0][1], gradient)
