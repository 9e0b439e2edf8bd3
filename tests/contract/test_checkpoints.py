"""A run that was saved and restored continues bit by bit."""

import jax
import jax.numpy as jnp

from optaxaccel import Card

from .problem import assert_same, reference, run, shared_step, start, to_numpy, types


def continues_as_if_never_stopped(card: Card, params, state):
    assert_same(to_numpy(run(shared_step(card), 2, params, state)), reference(card, 5)[-1])


def fresh(tree):
    return jax.tree.map(lambda x: jnp.array(x, copy=True), tree)


def test_survives_flax_serialization(card: Card):
    from flax import serialization

    point = run(shared_step(card), 3)
    target = (start(), shared_step(card).tx.init(start()))
    restored = serialization.from_bytes(target, serialization.to_bytes((point.params, point.state)))
    assert types(fresh(restored)) == types((point.params, point.state))
    continues_as_if_never_stopped(card, *fresh(restored))


def test_survives_orbax(card: Card, tmp_path):
    import orbax.checkpoint as ocp

    point = run(shared_step(card), 3)
    saved = (point.params, point.state)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", saved)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "state", jax.eval_shape(lambda: saved))
    assert types(restored) == types(saved)
    continues_as_if_never_stopped(card, *fresh(restored))
