"""Each note for the compiler is needed: with it the compiled program is what it should be, and without it is not.

A failure of "without" says that the compiler has learnt: then the note can go.
"""

import functools
import re
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilation import SHIPPED

import optaxaccel
from optaxaccel.numerics import columns, compiler

TREE = {name: jnp.ones(1000 + i) for i, name in enumerate("abcd")}
ONE = jnp.float32(1.0)
OLDER = version("jaxlib").startswith("0.10.")


def compiled(function, *arguments, **options):
    return jax.jit(function, **options).lower(*arguments).compile(SHIPPED)


def loops_with(operation, function, *arguments):
    """Return how many loops over a leaf hold an operation on scalars."""
    text = compiled(function, *arguments).as_text()
    fused = [part for part in text.split("\n\n") if re.match(r"%\S*fused\S* \(", part.lstrip())]
    over_leaves = [part for part in fused if re.search(r"ROOT \S+ = \w+\[1\d\d\d\]", part)]
    assert len(over_leaves) == len(TREE), text
    return sum(bool(re.search(rf"= \w+\[\]\S* {operation}\(", part)) for part in over_leaves)


# --- Chains of scalars ------------------------------------------------------------------------------------------------


def guarded(is_finite, value, tree):
    finite = is_finite(0.25 * value)
    return jax.tree.map(lambda u: jnp.where(finite, u, 0.0), tree)


def guarded_by_its_entries(is_finite, tree):
    largest = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)])
    return guarded(is_finite, largest, tree)


def jumping(decide, tree, other, outcome, residual):
    jumps = decide((outcome < -0.1) & (residual < 0.5 * jnp.abs(outcome)))
    return jax.tree.map(lambda a, b: jnp.where(jumps, a, b), tree, other)


def signed(root, tree, other):
    slope = sum(jnp.sum(a * b) for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True))
    return jax.tree.map(lambda leaf: jnp.sign(root(slope)) * leaf, tree)


CHAINS = {  # what ends the chain, the plain formula, an operation of the chain, the program, its arguments
    "is_finite": (compiler.is_finite, jnp.isfinite, "multiply", guarded, (ONE, TREE)),
    "is_finite of all": (compiler.is_finite, jnp.isfinite, "maximum", guarded_by_its_entries, (TREE,)),
    "decided": (lambda c: compiler.decided(c, jnp.float32), lambda c: c, "abs", jumping, (TREE, TREE, ONE, ONE)),
    "signed_root": (compiler.signed_root, lambda x: x, "add", signed, (TREE, TREE)),
}


@pytest.mark.parametrize(("note", "plain", "operation", "program", "arguments"), CHAINS.values(), ids=CHAINS)
def test_a_chain_of_scalars_is_computed_once(note, plain, operation, program, arguments):
    assert loops_with(operation, functools.partial(program, note), *arguments) == 0
    assert loops_with(operation, functools.partial(program, plain), *arguments) == len(TREE), "the note can go"


@pytest.mark.parametrize("x", [0.0, -0.0, 1.0, -1e38, 1e-30, np.inf, -np.inf, np.nan])
def test_the_ends_of_chains_say_what_their_plain_formulas_say(x):
    x = jnp.float32(x)
    assert bool(compiler.is_finite(x)) == bool(jnp.isfinite(x))
    if not jnp.isnan(x):
        assert jnp.sign(compiler.signed_root(x)) == jnp.sign(x)
    assert [bool(compiler.decided(jnp.array(c), jnp.float32)) for c in (True, False)] == [True, False]


# --- Donated buffers --------------------------------------------------------------------------------------------------


def temporary(tx, *, leaf=64 * 1024, value=None):
    """Return the temporary memory of a donated step, in bytes."""
    params = {f"{i}": jnp.ones(leaf + i) for i in range(10)}

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params, value=value)
        return jax.tree.map(jnp.add, params, updates), state

    return compiled(step, params, tx.init(params), params, donate_argnums=(0, 1)).memory_analysis().temp_size_in_bytes


PLAIN = {"after": lambda x, moved: x, "unforeseen": lambda condition, positive: condition}
IN_PLACE = {
    "after": lambda: optaxaccel.indian(2.0),
    "unforeseen": lambda: optaxaccel.nesterov(0.1, prox=lambda x, t: jax.tree.map(lambda leaf: leaf * 0.5, x)),
}


@pytest.mark.parametrize("note", IN_PLACE)
def test_a_donated_step_needs_the_note_to_be_in_place(note, monkeypatch):
    assert temporary(IN_PLACE[note]()) < 64 * 1024
    monkeypatch.setattr(compiler, note, PLAIN[note])
    assert temporary(IN_PLACE[note]()) >= 64 * 1024 * 4, "the note can go"


def test_after_is_what_it_was():
    x = jnp.array([1.0, -2.0], jnp.bfloat16)
    np.testing.assert_array_equal(compiler.after(x, jnp.array([3.0, 1e30])), x, strict=True)
    assert bool(compiler.unforeseen(True, jnp.array(0.5)))
    assert not bool(compiler.unforeseen(jnp.array(False), jnp.array(0.5)))


# --- What is written out ----------------------------------------------------------------------------------------------


def test_what_is_stored_saves_memory(monkeypatch):
    params = {"a": jnp.ones((300, 1000)), "b": jnp.ones(1000), "c": jnp.ones(2000)}

    def memory():
        tx = optaxaccel.rna_sgd(0.1, history=4, period=2)
        step = compiled(lambda params: tx.update(params, tx.init(params), params), params)
        return step.memory_analysis().temp_size_in_bytes

    with_it = memory()
    monkeypatch.setattr(compiler, "stored", lambda tree: tree)
    assert with_it < memory(), "the note can go on CPU"


# --- Chains of arrays -------------------------------------------------------------------------------------------------


def residual_sums(link, depth):
    """Return how many sums the compiled residual network has, which takes `depth`."""

    def network(x, kernels):
        for kernel in kernels:
            x = link(x @ kernel, x)
        return x

    program = compiled(network, jnp.ones((4, 8)), [jnp.ones((8, 8))] * depth).as_text()
    return len(re.findall(r" add\(", program))


def relu_of_sum(y, shortcut):
    return jnp.maximum(y + shortcut, 0)


def test_a_residual_chain_is_summed_once():
    """Each link would else sum all links before it once more: 1 + 2 + ... + 12; later jaxlibs keep a barrier for it."""
    assert residual_sums(compiler.written_out(relu_of_sum), 12) == 12
    assert residual_sums(relu_of_sum, 12) == 12 * 13 // 2
    behind_a_barrier = residual_sums(lambda y, x: jax.lax.optimization_barrier(relu_of_sum(y, x)), 12)
    assert behind_a_barrier == (12 * 13 // 2 if OLDER else 12)


def products_of_rows(put):
    """Return the operations that put computed rows one below the other, in a loop that multiplies them."""

    def total(rows):
        def add(i, total):
            cut = jax.lax.dynamic_slice(rows, (0, i * 64), (5, 64))
            matrix = put([cut[1:] - cut[:-1], cut[:1] - cut[-1:]])
            return total + matrix @ matrix.T

        return jax.lax.fori_loop(0, 8, add, jnp.zeros((5, 5)))

    text = compiled(total, jnp.ones((5, 512))).as_text()
    return set(re.findall(r" (concatenate|dynamic-update-slice)\(", text))


def test_rows_that_are_written_into_place_are_not_concatenated():
    def plainly(blocks):
        return jax.lax.dynamic_update_slice(jnp.pad(blocks[0], ((0, 1), (0, 0))), blocks[1], (4, 0))

    kept, turned = {"dynamic-update-slice"}, {"concatenate"}
    assert products_of_rows(columns._written) == kept
    assert products_of_rows(plainly) == (kept if OLDER else turned)


def test_what_is_written_out_is_what_it_was():
    """With its derivative, and for a batch."""
    y, x = jnp.array([1.0, -3.0]), jnp.array([0.5, 1.0])
    link = compiler.written_out(relu_of_sum)
    assert link(y, x).tolist() == [1.5, 0.0]
    gradients = jax.grad(lambda y, x: jnp.sum(link(y, x) ** 2), argnums=(0, 1))(y, x)
    assert [g.tolist() for g in gradients] == [[3.0, 0.0]] * 2
    assert jax.vmap(link)(jnp.stack([y, x]), jnp.stack([x, x])).tolist() == [[1.5, 0.0], [1.0, 2.0]]


def test_elsewhere_nothing_is_written_out(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert residual_sums(compiler.written_out(relu_of_sum), 3) == 6
