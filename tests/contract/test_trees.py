"""Any tree of parameters will do, and its form does not matter to what the method computes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optaxaccel import Card, eval_params

from .problem import (
    BATCH,
    SIZE,
    assert_close,
    assert_same,
    build,
    compile_step,
    flatten,
    loss,
    run,
    shared_step,
    start,
    types,
)


def shred(vector: np.ndarray):
    """The standard vector in the same order, cut elsewhere, with leaves that hold nothing in between."""
    return {"a": [vector[:5], None], "b": (np.zeros((0, 2)), vector[5], {}), "c": vector[6:].reshape(1, 3)}


def test_cutting_a_vector_into_leaves_changes_nothing(card: Card):
    """Nor does a leaf without entries, an empty branch or a None between them."""
    with jax.enable_x64(True):
        step = compile_step(build(card))  # one function, compiled for two trees
        whole, cut = (run(step, 6, start(jnp.float64, form)) for form in (lambda vector: vector, shred))
        assert types(cut.params) == types(cut.updates) == types(start(jnp.float64, shred))
        assert jax.tree.structure(cut.params) == jax.tree.structure(start(jnp.float64, shred))
        assert np.all(np.isfinite(flatten(cut.params)))
        assert_close(cut.params, whole.params, 1e-9)
        assert_close(eval_params(cut.state, cut.params), eval_params(whole.state, whole.params), 1e-9)


@pytest.mark.parametrize("tree", [{}, (), {"a": None}, jnp.zeros((0, 3))], ids=str)
def test_trees_that_hold_nothing(card: Card, tree):
    tx = build(card)
    state = tx.init(tree)
    updates, after = jax.eval_shape(
        lambda p, s: tx.update(p, s, p, value=0.0, grad=p, value_fn=loss, batch=BATCH), tree, state
    )
    assert jax.tree.structure(updates) == jax.tree.structure(tree)
    assert types(after) == types(state)
    assert jax.tree.structure(eval_params(state, tree)) == jax.tree.structure(tree)


def test_params_in_the_state_can_be_mapped(card: Card):
    tx, params = build(card), start()
    state = run(shared_step(card), 2).state
    assert_same(optax.tree.map_params(tx, lambda leaf: leaf, state), state)
    marked = optax.tree.map_params(tx, lambda _, name: name, state, {"s": "s", "w": "w"})
    seen = 0
    for leaf, mark in zip(jax.tree.leaves(state), jax.tree.leaves(marked), strict=True):
        if isinstance(mark, str):
            assert leaf.size % params[mark].size == 0, f"a leaf of shape {leaf.shape} is taken for parameters {mark!r}"
            seen += leaf.size / SIZE
    copies = card.state_copies if card.example_copies is None else card.example_copies
    assert abs(seen - copies) < 0.01, f"sharding rules see {seen:.2f} of {copies} copies"
