"""Stacks and rings against plain NumPy, on one device and on four, and in place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilation import SHIPPED
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from optaxaccel.methods._interpolatron import mixed_step
from optaxaccel.numerics import ring, sums

DTYPES = {"a": jnp.float32, "b": jnp.bfloat16, "c": jnp.complex64, "d": jnp.float16}
SHAPES = {"a": (4, 3), "b": (8,), "c": (), "d": (2, 0)}


def tree(seed):
    rng = np.random.default_rng(seed)
    wide = {name: rng.normal(size=shape) + 1j * rng.normal(size=shape) for name, shape in SHAPES.items()}
    narrow = {
        n: jnp.asarray(x if jnp.issubdtype(DTYPES[n], jnp.complexfloating) else x.real, DTYPES[n])
        for n, x in wide.items()
    }
    return {**narrow, "none": None}


def stacked(*given):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *given)


def assert_same(got, want):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def wide(x):
    return np.asarray(x).astype(np.complex128)


def test_stacks_hold_copies_or_zeros_in_buffers_of_their_own():
    one = tree(0)
    copies, zeros = ring.stack_copies(one, 3), ring.stack_zeros(one, 3)
    assert_same(copies, stacked(one, one, one))
    assert_same(zeros, jax.tree.map(jnp.zeros_like, copies))
    leaves = jax.tree.leaves((copies, zeros))
    assert not any(leaf.weak_type for leaf in leaves)
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves if leaf.size}) == sum(leaf.size > 0 for leaf in leaves)
    shapes = jax.eval_shape(lambda: one)
    assert_same(ring.stack_copies(shapes, 2), ring.stack_zeros(one, 2))


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_a_ring_finds_what_it_was_told(length):
    slots = ring.stack_zeros(jnp.zeros(()), length)
    for count in range(12):
        slots = ring.write(slots, ring.slot_of(count, 0, length), jnp.asarray(float(count)))
        ages = range(min(count + 1, length))
        values = [float(ring.read(slots, ring.slot_of(count, age, length))) for age in ages]
        assert values == [count - age for age in ages]
    assert [int(ring.slot_of(0, age, 3)) for age in (1, 2)] == [2, 1]


@pytest.mark.parametrize("jit", [False, True])
def test_write_can_be_called_off(jit):
    slots, new = stacked(tree(0), tree(1), tree(2)), tree(3)
    write = jax.jit(ring.write) if jit else ring.write
    assert_same(write(slots, jnp.int32(1), new), stacked(tree(0), new, tree(2)))
    assert_same(write(slots, jnp.int32(1), new, when=jnp.array(True)), stacked(tree(0), new, tree(2)))
    assert_same(write(slots, jnp.int32(1), new, when=jnp.array(False)), slots)


def test_vmapped_writes_choose_one_by_one():
    slots, new = jnp.zeros((2, 3, 4)), jnp.ones((2, 4))
    got = jax.vmap(lambda r, s, x, w: ring.write(r, s, x, when=w))(
        slots, jnp.array([0, 2]), new, jnp.array([True, False])
    )
    np.testing.assert_array_equal(got, slots.at[0, 0].set(1.0))


def test_combine_is_a_weighted_sum():
    given, weights = [tree(i) for i in range(3)], jnp.array([0.5, -1.0, 2.0])
    got = sums.combine(stacked(*given), weights, 3)
    for name, dtype in DTYPES.items():
        want = 0.5 * wide(given[0][name]) - wide(given[1][name]) + 2.0 * wide(given[2][name])
        assert got[name].dtype == dtype
        np.testing.assert_allclose(wide(got[name]), want, rtol=2 * float(jnp.finfo(dtype).eps), atol=1e-2)


def test_square_distances_are_global_and_wide():
    given, new = [tree(i) for i in range(3)], tree(9)
    want = [sum(np.sum(np.abs(wide(one[n]) - wide(new[n])) ** 2) for n in DTYPES) for one in given]
    got = sums.square_distances(stacked(*given), new, 3)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_array_equal(sums.square_distances({}, {}, 3), np.zeros(3, np.float32))


def test_square_distances_do_not_lose_digits_in_long_sums():
    """A million terms one after the other would lose three of seven digits."""
    leaf = jnp.ones((2, 1000, 1000)) * jnp.array([1.1, 3.0])[:, None, None]
    got = sums.square_distances(leaf, jnp.zeros((1000, 1000)), 2)
    np.testing.assert_allclose(got, np.array([np.float32(1.1), 3.0], np.float64) ** 2 * 1e6, rtol=2e-6)


@pytest.mark.parametrize("weights", [(0.25, 0.5, 0.25), jnp.array([2.0, -3.0, 2.0])], ids=["numbers", "array"])
def test_a_mixed_step_leads_to_the_mixture(weights):
    xs, gs = [tree(i) for i in range(3)], [tree(10 + i) for i in range(3)]
    iterates, gradients = stacked(xs[2], xs[1], xs[0]), stacked(gs[1], gs[0], gs[2])
    older = [(jnp.int32(1), jnp.int32(0)), (jnp.int32(0), jnp.int32(2))]
    got = mixed_step(xs[0], gs[0], iterates, gradients, weights, older, 0.1)
    for name, dtype in DTYPES.items():
        mixture = sum(
            w * (wide(x[name]) - 0.1 * wide(g[name])) for w, x, g in zip(np.asarray(weights), xs, gs, strict=True)
        )
        want = mixture - wide(xs[0][name])
        assert got[name].dtype == dtype
        eps = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(wide(got[name]), want, rtol=eps, atol=1e-6)


def test_explicitly_sharded_leaves_keep_their_sharding():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    rng = np.random.default_rng(0)
    x, g, older = rng.normal(size=(3, 8, 2)).astype(np.float32)
    with jax.set_mesh(mesh):
        place = NamedSharding(mesh, P("data", None))
        xs, gs, old = (jax.device_put(leaf, place) for leaf in (x, g, older))
        fresh = ring.stack_zeros(xs, 3)

        @jax.jit
        def step(slots, x, g, old):
            distances = sums.square_distances(slots, g, 3)
            slots = ring.write(slots, jnp.int32(2), old, when=jnp.all(jnp.isfinite(distances)))
            slot = jnp.int32(2)
            return distances, slots, mixed_step(x, g, slots, slots, (0.5, 0.5), [(slot, slot)], 0.1)

        distances, slots, moved = step(fresh, xs, gs, old)
        assert jax.typeof(slots) == jax.typeof(fresh)
        assert jax.typeof(fresh).sharding.spec == P(None, "data", None)
        assert jax.typeof(moved) == jax.typeof(xs)
    np.testing.assert_allclose(distances, np.sum(g**2), rtol=1e-6)
    np.testing.assert_allclose(moved, 0.5 * (older - x) - 0.05 * (older + g), rtol=1e-5, atol=1e-6)


def test_reading_then_writing_a_donated_ring_is_in_place():
    """Distances from the old slots, a write that depends on them, a read of the new slots; two leaves of one shape."""
    leaf = 64 * 1024
    params = {"a": jnp.ones((64, 1024)), "b": jnp.ones((64, 1024)), "c": jnp.ones(leaf)}
    slots = ring.stack_zeros(params, 3)

    def step(params, slots, slot):
        finite = jnp.all(jnp.isfinite(sums.square_distances(slots, params, 3)))
        slots = ring.write(slots, slot, params, when=finite)
        moves = mixed_step(params, params, slots, slots, (0.5, 0.5), [(slot, slot)], 0.1)
        return jax.tree.map(jnp.add, params, moves), slots

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, slots, jnp.int32(1)).compile(SHIPPED)
    assert compiled.memory_analysis().temp_size_in_bytes < leaf
