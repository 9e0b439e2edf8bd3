"""The same run on one device, on four, and over a batch of starts."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from optaxaccel import Card

from .problem import (
    assert_close,
    build,
    compile_step,
    loss,
    run,
    shared_step,
    start,
    to_numpy,
    types,
    whole_step,
)

SPECS = {"s": P(), "w": P("data", None)}
NOISY = np.linspace(-1.0, 2.0, 8, dtype=np.float32)
STEPS = 3


def make_mesh(kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh((4,), ("data",), axis_types=(kind,))


def place(mesh, tree, specs):
    return jax.tree.map(lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec)), tree, specs)


def test_four_devices_equal_one(card: Card):
    """Parameters, state and batch are sharded by `jit` on its own."""
    mesh = make_mesh(AxisType.Auto)
    params = place(mesh, start(), SPECS)
    batch = jax.device_put(NOISY, NamedSharding(mesh, P("data")))
    got = run(compile_step(build(card)), STEPS, params, batch=batch)
    assert got.params["w"].sharding.is_equivalent_to(NamedSharding(mesh, P("data")), 2)
    assert_close(got.params, run(shared_step(card), STEPS, batch=NOISY).params, 1e-5)


def mean_loss(params, batch):
    """The loss as each device must see it: the mean over all of them."""
    return jax.lax.pmean(loss(params, batch), "data")


def test_pmap_equals_one_device(card: Card):
    """Each device sees its part of the batch; loss, gradient and `value_fn` are means over all of them."""
    tx = build(card)
    update = whole_step(tx, mean_loss, share=lambda grads: jax.lax.pmean(grads, "data"))
    params, state = jax.tree.map(lambda x: np.stack([x] * 4), (start(), tx.init(start())))
    batch = NOISY.reshape(4, 2)
    step = jax.pmap(update, axis_name="data").lower(params, state, batch).compile()
    for _ in range(STEPS):
        params, state, _ = step(params, state, batch)
    params, want = to_numpy(params), run(shared_step(card), STEPS, batch=NOISY).params
    for device in range(4):
        assert_close(jax.tree.map(lambda x: x[device], params), want, 1e-5)  # noqa: B023


def test_shard_map_sees_what_is_replicated(card: Card):
    """Parameters and state are the same on all devices, and the types of `jax.shard_map` can prove it."""
    tx, params = build(card), start()
    step = jax.shard_map(
        whole_step(tx, mean_loss),
        mesh=make_mesh(AxisType.Auto),
        in_specs=(P(), P(), P("data")),
        out_specs=P(),
        check_vma=True,
    )
    after, state, _ = jax.eval_shape(step, params, tx.init(params), NOISY)
    assert types(after) == types(params)
    assert types(state) == types(tx.init(params))


def test_explicit_mesh_keeps_types(card: Card):
    """Sharding is part of the type here: it must be the same in a fresh state and after each update."""
    tx, mesh = build(card), make_mesh(AxisType.Explicit)
    with jax.set_mesh(mesh):
        params = place(mesh, start(), SPECS)
        batch = jax.device_put(NOISY, NamedSharding(mesh, P("data")))
        want_state, want_params = types(tx.init(params)), types(params)
        assert "4@data" in " ".join(want_params)
        state = jax.jit(tx.init)(params)
        assert types(state) == want_state
        step = jax.jit(whole_step(tx))
        for _ in range(STEPS):
            params, state, updates = step(params, state, batch)
            assert types(state) == want_state
            assert types(updates) == types(params) == want_params
        assert step._cache_size() == 1
        params = to_numpy(params)
    assert_close(params, run(shared_step(card), STEPS, batch=NOISY).params, 1e-5)


def test_vmap_equals_a_loop_over_starts(card: Card):
    tx, scales = build(card), [1.0, -0.5, 2.0]
    starts = [jax.tree.map(lambda x: np.asarray(x) * s, start()) for s in scales]  # noqa: B023
    params = jax.tree.map(lambda *xs: jnp.stack(xs), *starts)
    state = jax.vmap(tx.init)(params)
    step = jax.jit(jax.vmap(whole_step(tx), in_axes=(0, 0, None)))
    for _ in range(STEPS):
        params, state, _ = step(params, state, NOISY)
    params = to_numpy(params)
    for i, origin in enumerate(starts):
        want = run(shared_step(card), STEPS, jax.tree.map(jnp.array, origin), batch=NOISY)
        assert_close(jax.tree.map(lambda x: x[i], params), want.params, 1e-5)  # noqa: B023
