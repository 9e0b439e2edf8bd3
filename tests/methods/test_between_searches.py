"""A step in which nothing is searched costs little more than the base's: no array of the parameters' size is copied."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilation import SHIPPED

import optaxaccel
from optaxaccel.numerics.settling import from_settled

SHAPE = (96, 128)
FINDER = optaxaccel.lanczos(2)
METHODS = {
    "gose around sgd": (optaxaccel.gose_sgd(0.1, finder=FINDER, gradient_threshold=1e-9), 2),
    "gose around agd": (optaxaccel.gose_agd(0.1, finder=FINDER, gradient_threshold=1e-9), 2),
    "ancm": (optaxaccel.ancm(0.1, finder=FINDER, gradient_threshold=1e-9), 1),
}


def entry_of(function, *arguments) -> str:
    """Return the part of the optimised program that every step runs, without branches and loops."""
    text = jax.jit(function, donate_argnums=0).lower(*arguments).compile(SHIPPED).as_text()
    return next(part for part in text.split("\n\n") if part.lstrip().startswith("ENTRY"))


def written(entry: str, operations: str) -> int:
    """Return how many arrays of the parameters' size these operations write."""
    rows, columns = SHAPE
    return len(re.findall(rf"= f32\[{rows},{columns}\]\S* (?:{operations})\(", entry))


@pytest.mark.parametrize(("tx", "states"), METHODS.values(), ids=METHODS)
def test_a_step_without_a_search_copies_nothing(tx, states):
    params = jnp.ones(SHAPE)

    def step(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params, value=jnp.sum(params**2), value_fn=lambda p: jnp.sum(p**2))
        return optax.apply_updates(params, updates), state

    entry = entry_of(step, (params, tx.init(params)), params)
    assert written(entry, "copy") == 0
    assert written(entry, "fusion") <= states + 1  # each state that changes, and the parameters


def settled_step(grads, trace, count, good, settling):
    """A momentum step that may not count."""

    def step():
        new = 0.9 * trace + grads
        return {"move": -0.1 * new + 0.01 * grads, "seen": jnp.sum(grads)}, (new, count + 1)

    def settle(state):
        return jax.tree.map(lambda new, old: jnp.where(good, new, old), state, (trace, count))

    if settling:
        return from_settled(step, settle)
    made, state = step()
    return made, settle(state)


@pytest.mark.parametrize("good", [True, False])
def test_a_settled_step_is_the_step_and_a_held_one_holds_its_state(good):
    with jax.enable_x64(True):
        grads, trace = np.array([1.0, -2.0]), np.array([0.5, 4.0])
        for call in (settled_step, jax.jit(settled_step, static_argnums=4)):
            made, (new, count) = call(jnp.array(grads), jnp.array(trace), jnp.array(3), jnp.array(good), True)
            assert int(count) == (4 if good else 3)
            np.testing.assert_allclose(new, 0.9 * trace + grads if good else trace, rtol=1e-15)
            assert float(made["seen"]) == -1.0
            if good:
                np.testing.assert_allclose(made["move"], -0.1 * (0.9 * trace + grads) + 0.01 * grads, rtol=1e-15)


def test_without_settling_the_old_state_is_copied():
    def step(carry, grads, good, settling):
        params, trace, count = carry
        made, (trace, count) = settled_step(grads, trace, count, good, settling)
        return params + jnp.where(good, made["move"], 0.0), trace, count

    start, one = (jnp.ones(SHAPE), jnp.ones(SHAPE), jnp.array(0)), jnp.array(True)
    copies = {s: written(entry_of(lambda *x, s=s: step(*x, s), start, start[0], one), "copy") for s in (True, False)}
    assert copies == {True: 0, False: 1}, "it can go where the compiler has learnt to copy nothing"


def test_an_effect_happens_once():
    seen = []

    def run(x, old):
        def step():
            new = x + old
            jax.debug.callback(lambda v: seen.append(float(v)), jnp.sum(new))
            return 2.0 * new, new

        return from_settled(step, lambda new: jnp.where(x > 0, new, old))

    made, new = jax.jit(run)(jnp.array(1.0), jnp.array(2.0))
    jax.effects_barrier()
    assert (float(made), float(new), seen) == (6.0, 3.0, [3.0])
