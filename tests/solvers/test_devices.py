"""Sharded unknowns, donated buffers, and what a compiled turn holds in memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilation import SHIPPED
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from optaxaccel import FixedPoint, anderson_init, anderson_update, fixed_point

RATES = np.linspace(0.1, 0.9, 64, dtype=np.float32)


def solve(x0, rates, **options):
    return fixed_point(lambda x, a: a * x + 1, x0, rates, rtol=1e-5, **options)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("method", ["anderson", "acx"])
def test_unknowns_split_over_a_mesh_stay_split(kind, method):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        x0, rates = (jax.device_put(x, NamedSharding(mesh, P("data"))) for x in (np.zeros_like(RATES), RATES))
        result = jax.jit(functools.partial(solve, method=method))(x0, rates)
        gradient = jax.jit(jax.grad(lambda a: jnp.sum(solve(x0, a, method=method).value)))(rates)
    assert result.value.sharding.spec == P("data")
    alone = solve(jnp.zeros(64), RATES, method=method)
    assert abs(int(result.maps) - int(alone.maps)) <= 2  # sums over four devices are rounded otherwise
    np.testing.assert_allclose(result.value, 1 / (1 - RATES), rtol=1e-3)
    np.testing.assert_allclose(gradient, 1 / (1 - RATES) ** 2, rtol=1e-2)


@pytest.mark.parametrize("method", ["anderson", "acx", "plain"])
def test_unknowns_split_inside_shard_map_share_their_products(method):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    spec = FixedPoint(P("data"), None, P(), P(), P(), P(), P())
    local = functools.partial(solve, method=method, axis_name="data")
    together = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P("data"), P("data")), out_specs=spec))
    result, alone = together(jnp.zeros(64), RATES), solve(jnp.zeros(64), RATES, method=method)
    assert abs(int(result.maps) - int(alone.maps)) <= 2
    np.testing.assert_allclose(result.value, alone.value, rtol=1e-4)


@pytest.mark.parametrize("method", ["anderson", "acx"])
@pytest.mark.parametrize("closed", [False, True])
def test_derivatives_of_unknowns_split_inside_shard_map(method, closed):
    """What F closes over, or has as an argument, may be the same on all devices; so is what is gathered."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    matrix = np.random.default_rng(0).uniform(0.0, 0.2, (4, 4)).astype(np.float32)
    side = jnp.arange(1.0, 5.0)

    def local(scale, rows, b):
        def image(x, rows, b, *given):
            (by,) = given or (scale,)
            return by * rows @ jax.lax.all_gather(x, "data", tiled=True) + b

        given = () if closed else (scale,)
        return fixed_point(image, jnp.zeros(1), rows, b, *given, rtol=1e-6, method=method, axis_name="data").value

    def loss(scale, b):
        split = jax.shard_map(local, mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P("data"))
        return jnp.sum(split(scale, matrix, b) ** 2)

    def exact(scale, b):
        return jnp.sum(jnp.linalg.solve(jnp.eye(4) - scale * matrix, b) ** 2)

    for derivative in (jax.grad(loss, (0, 1)), jax.jit(jax.grad(loss, (0, 1)))):
        ours, theirs = derivative(0.9, side), jax.grad(exact, (0, 1))(0.9, side)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), ours, theirs)
    bent, want = (jax.jvp(lambda s, f=f: jax.grad(f)(s, side), (0.9,), (1.0,))[1] for f in (loss, exact))
    np.testing.assert_allclose(bent, want, rtol=1e-2)


def test_a_step_takes_over_the_buffers_of_its_state():
    size, history = 10_000, 5
    shape = jax.ShapeDtypeStruct((size,), jnp.float32)
    state = jax.eval_shape(lambda: anderson_init(jnp.zeros(size), history=history))
    update = jax.jit(anderson_update, donate_argnums=2)
    with jax.default_device(jax.devices("cpu")[0]):
        memory = update.lower(shape, shape, state).compile(SHIPPED).memory_analysis()
    x, fresh = update(jnp.ones(size), jnp.zeros(size), anderson_init(jnp.zeros(size), history=history))
    update(0.5 * x, x, fresh)
    copy = 4 * size
    assert memory.alias_size_in_bytes >= (2 * history + 2) * copy
    assert memory.temp_size_in_bytes <= 4.1 * copy


def test_the_loop_keeps_its_rings_in_place():
    size, history = 10_000, 10

    def run(x0):
        return fixed_point(lambda x: 0.5 * x + 1, x0, history=history).value

    lowered = jax.jit(run, donate_argnums=0).lower(jax.ShapeDtypeStruct((size,), jnp.float32))
    memory = lowered.compile(SHIPPED).memory_analysis()
    assert memory.alias_size_in_bytes == 4 * size
    assert memory.temp_size_in_bytes <= 4.1 * size * (2 * history + 8)
