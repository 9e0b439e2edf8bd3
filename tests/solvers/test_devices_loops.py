"""Loops on several devices: one problem on all of them, and a problem of its own on each."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from optaxaccel import fixed_point, lbfgs, minimize, proximal_gradient, scale_by_wolfe_search

ROWS = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
STARTS = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
NEAREST = np.linalg.lstsq(ROWS, np.ones(8), rcond=None)[0]
HAGER_ZHANG = lbfgs(memory_size=2, search="hager_zhang")  # compiles in half the time


def devices(kind):
    return jax.make_mesh((2,), ("d",), axis_types=(kind,))


def residual(w, rows):
    return jnp.mean((rows @ w - 1) ** 2)


def joint(w, rows):
    return jax.lax.pmean(residual(w, rows), "d")


def to_centre(w):
    return jnp.sum(jnp.array([1.0, 5.0, 9.0]) * (w - 1) ** 2)


def test_a_loss_over_all_devices_has_one_minimum_though_jax_does_not_see_that_it_is_one():
    def solve(w, rows):
        return minimize(joint, w, method=HAGER_ZHANG, data={"rows": rows}).params[None]

    specs = {"in_specs": (P(), P("d")), "out_specs": P("d"), "check_vma": False}
    result = jax.jit(jax.shard_map(solve, mesh=devices(AxisType.Auto), **specs))(np.zeros(3, np.float32), ROWS)
    np.testing.assert_array_equal(result[0], result[1])
    np.testing.assert_allclose(result[0], NEAREST, rtol=1e-3)


def test_searches_agree_under_pmap():
    search = scale_by_wolfe_search(search="hager_zhang")

    def move(w, rows):
        loss = functools.partial(joint, rows=rows)
        direction = jnp.array([1.0, -2.0, 1.0])  # along which the shares of the devices differ most
        return search.update(direction, search.init(w), w, value_fn=loss)[0]

    moved = jax.pmap(move, axis_name="d", in_axes=(None, 0))(np.zeros(3, np.float32), ROWS.reshape(2, 4, 3))
    direction = jnp.array([1.0, -2.0, 1.0])
    alone = search.update(
        direction, search.init(direction), jnp.zeros(3), value_fn=functools.partial(residual, rows=ROWS)
    )
    np.testing.assert_array_equal(moved[0], moved[1])
    np.testing.assert_allclose(moved[0], alone[0], rtol=1e-5)


SOLVERS = {
    "minimize": lambda start: minimize(to_centre, start, method=HAGER_ZHANG).params,
    "minimize, bounds": lambda start: minimize(to_centre, start, bounds=(-3.0, 0.5)).params,
    "proximal_gradient": lambda start: proximal_gradient(to_centre, start).params,
    "fixed_point": lambda shift: fixed_point(lambda z: jnp.cos(z + shift), jnp.zeros(3)).value,
    "acx": lambda shift: fixed_point(lambda z, s: jnp.cos(z + s), jnp.zeros(3), shift, method="acx").value,
}


@pytest.mark.parametrize("name", SOLVERS)
def test_each_device_of_shard_map_solves_its_own(name):
    solve, mesh = SOLVERS[name], devices(AxisType.Auto)
    apart = jax.shard_map(lambda s: solve(s[0])[None], mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    np.testing.assert_allclose(jax.jit(apart)(STARTS[:2]), jax.vmap(solve)(STARTS[:2]), rtol=1e-5)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_batch_lies_over_an_explicit_mesh(name):
    mesh = devices(AxisType.Explicit)
    with jax.set_mesh(mesh):
        starts = jax.device_put(STARTS, NamedSharding(mesh, P("d")))
        result = jax.jit(jax.vmap(SOLVERS[name]))(starts)
    assert result.sharding.spec[0] == "d"
    np.testing.assert_allclose(result, jax.vmap(SOLVERS[name])(STARTS), rtol=1e-5)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_derivatives_of_several_leaves_that_lie_over_a_mesh(kind):
    mesh = devices(kind)
    with jax.set_mesh(mesh):
        shift = {"a": jnp.arange(8.0) / 8, "b": jnp.ones((8, 2))}
        cut = {name: jax.device_put(x, NamedSharding(mesh, P("d"))) for name, x in shift.items()}

        def total(p, shift):
            def fun(x):
                return jax.tree.map(lambda x, c: 0.5 * p * jnp.cos(x) + c, x, shift)

            return sum(map(jnp.sum, jax.tree.leaves(fixed_point(fun, jax.tree.map(jnp.zeros_like, shift)).value)))

        for derivative in (jax.grad(total), jax.grad(jax.grad(total))):
            np.testing.assert_allclose(derivative(1.0, cut), derivative(1.0, shift), rtol=1e-5)
