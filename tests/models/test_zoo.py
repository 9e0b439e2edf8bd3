"""Every family trains one step; modes, dtypes, devices, initial weights."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.nn.initializers import variance_scaling as scaled_to_fans
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from nets import CLASSES, SHRUNK, WITH_BATCH_NORM, WITH_DROPOUT, largest, shapes, shrunk, start, training_step

from optaxaccel.models import convolution, layers

# --- One training step ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHRUNK)
def test_family_trains_a_step(name):
    model, x = shrunk(name)
    params, net_state = start(model, x)
    step, evaluate = jax.jit(training_step(model)), jax.jit(model.apply)
    (loss, (logits, new_state)), gradient = step(params, net_state, x, jax.random.key(2))

    assert type(params) is dict
    assert type(net_state) is dict
    assert logits.shape == (4, CLASSES)
    assert logits.dtype == jnp.float32
    assert np.isfinite(largest(gradient)).all()
    if name != "vgg_bn":  # whose convolutions have biases that the normalisation takes out
        assert min(largest(gradient)) > 0
    loss, params, gradient = jax.device_get((loss, params, gradient))  # NumPy has nothing to compile
    square = sum(np.sum(g**2) for g in jax.tree.leaves(gradient))
    moved = jax.tree.map(lambda p, g: p - np.float32(0.01 * loss / square) * g, params, gradient)
    (lower, _), _ = step(moved, net_state, x, jax.random.key(2))
    assert 0.98 * loss < lower < 0.995 * loss

    logits = jax.device_get(logits)
    in_training = step(params, net_state, x, jax.random.key(3))[0][1][0]
    assert (np.abs(in_training - logits).max() > 1e-4) == (name in WITH_DROPOUT)
    assert_statistics_move(name, net_state, new_state, step(params, new_state, x, jax.random.key(2))[0][1][1])
    outside, same_state = evaluate(params, new_state, x)
    jax.tree.map(np.testing.assert_array_equal, same_state, new_state)
    assert (np.abs(outside - logits).max() > 1e-4) == (name in WITH_DROPOUT | WITH_BATCH_NORM)


def assert_statistics_move(name, first, second, third):
    assert (first != {}) == (name in WITH_BATCH_NORM)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b, c in zip(*map(jax.tree.leaves, jax.device_get((first, second, third))), strict=True):
        assert np.abs(b - a).max() > 0
        np.testing.assert_allclose(
            c - b, 0.9 * (b - a), atol=1e-5
        )  # the same batch: once a step, by a tenth of what is left


@pytest.mark.parametrize("name", ["alexnet", "densenet40"])
def test_same_key_gives_the_same_dropout_mask(name):
    model, x = shrunk(name)
    params, net_state = start(model, x)
    train = jax.jit(lambda key: model.apply(params, net_state, x, key=key, train=True)[0])
    np.testing.assert_array_equal(train(jax.random.key(5)), train(jax.random.key(5)))
    assert np.abs(train(jax.random.key(5)) - train(jax.random.key(6))).max() > 1e-4


def test_dropout_without_key_is_explained():
    model, x = shrunk("nin")
    params, net_state, _ = shapes(model, x.shape[1:])
    with pytest.raises(ValueError, match=r"key=jax\.random\.key\(seed\)"):
        jax.eval_shape(lambda p: model.apply(p, net_state, x, train=True), params)
    jax.eval_shape(lambda p: model.apply(p, net_state, x), params)
    no_dropout, _ = shrunk("nin", dropout=0.0)
    jax.eval_shape(lambda p: no_dropout.apply(p, net_state, x, train=True), params)


def test_cnn_computes_what_the_report_describes():
    class Naive(nn.Module):
        @nn.compact
        def __call__(self, x):
            for features, size in ((4, 5), (8, 3), (8, 3)):
                x = nn.max_pool(nn.relu(nn.Conv(features, (size, size))(x)), (2, 2), (2, 2))
            return nn.Dense(CLASSES)(x.reshape(x.shape[0], -1))

    model, x = shrunk("cnn")
    params, net_state = start(model, x)
    ours, theirs = jax.jit(lambda p: (model.apply(p, net_state, x)[0], Naive().apply({"params": p}, x)))(params)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


# --- Devices, dtypes, memory ------------------------------------------------------------------------------------------


def test_batch_norm_averages_over_the_named_axis():
    model, x = shrunk("resnet_cifar")
    params, net_state = start(model, x)
    whole = jax.jit(training_step(model))(params, net_state, x, None)
    split, _ = shrunk("resnet_cifar", axis_name="device")

    def on_one(x):
        return jax.lax.pmean(training_step(split)(params, net_state, x, None), "device")

    halves = jax.jit(jax.vmap(on_one, axis_name="device"))(x.reshape(2, 2, *x.shape[1:]))
    np.testing.assert_allclose(halves[0][0][0], whole[0][0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-5), halves[0][1][1], whole[0][1][1])


def test_sharded_batch_gives_the_same_gradient(monkeypatch):
    monkeypatch.setattr(convolution, "PART_SIZE", 64)
    model, _ = shrunk("cnn")
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)
    assert convolution._parts(x.shape) > 1
    params, net_state = start(model, x)
    step = jax.jit(training_step(model))
    (loss, _), gradient = step(params, net_state, x, None)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    (other_loss, _), other = step(params, net_state, jax.device_put(x, NamedSharding(mesh, P("data"))), None)
    np.testing.assert_allclose(loss, other_loss, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradient, other)


def operands(jaxpr, primitive):
    """Return the dtypes of all operands of a primitive, also inside calls and control flow."""
    dtypes = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name == primitive:
            dtypes |= {v.aval.dtype for v in equation.invars}
        for leaf in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            if hasattr(leaf, "eqns"):
                dtypes |= operands(leaf, primitive)
    return dtypes


@pytest.mark.parametrize(
    ("name", "param_dtype"),
    [
        ("alexnet", "float32"),
        ("vgg_bn", "float32"),
        ("resnet_bottleneck", "float32"),
        ("densenet", "float32"),
        ("nin", "bfloat16"),
        ("resnet_cifar", "bfloat16"),
    ],
)
def test_computation_and_parameters_have_their_own_dtypes(name, param_dtype):
    model, x = shrunk(name, dtype="bfloat16", param_dtype=param_dtype)
    params, net_state, _ = shapes(model, x.shape[1:])
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype(param_dtype)}
    assert {s.dtype for s in jax.tree.leaves(net_state)} <= {jnp.dtype("float32")}
    args = params, net_state, x, jax.random.key(0)
    traced, ((_, (logits, new_state)), gradient) = jax.make_jaxpr(training_step(model), return_shape=True)(*args)
    for primitive in ("conv_general_dilated", "dot_general"):
        assert operands(traced.jaxpr, primitive) <= {jnp.dtype("bfloat16")}
    assert logits.dtype == jnp.float32
    assert jax.tree.map(lambda s: s.dtype, new_state) == jax.tree.map(lambda s: s.dtype, net_state)
    assert jax.tree.map(lambda g: g.dtype, gradient) == jax.tree.map(lambda p: p.dtype, params)


@pytest.mark.parametrize("name", ["vgg_bn", "resnet_cifar", "densenet"])
def test_remat_changes_neither_parameters_nor_gradients(name):
    kept, x = shrunk(name)
    remat, _ = shrunk(name, remat=True)
    assert shapes(kept, x.shape[1:])[:2] == shapes(remat, x.shape[1:])[:2]
    params, net_state = start(kept, x)
    assert "remat" in str(jax.make_jaxpr(lambda p: remat.apply(p, net_state, x)[0])(params))
    if name == "resnet_cifar":
        first, second = jax.jit(lambda *a: [training_step(m)(*a)[1] for m in (kept, remat)])(params, net_state, x, None)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), first, second)


# --- Initial weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("initialiser", "deviation", "jax_draws"),
    [
        ("he", (2 / (9 * 15)) ** 0.5, scaled_to_fans(2.0, "fan_in", "truncated_normal")),
        ("he_fan_out", (2 / (9 * 60)) ** 0.5, scaled_to_fans(2.0, "fan_out", "truncated_normal")),
        ("glorot", (2 / (9 * 15 + 9 * 60)) ** 0.5, scaled_to_fans(1.0, "fan_avg", "uniform")),
        ("torch", (1 / (3 * 9 * 15)) ** 0.5, scaled_to_fans(1 / 3, "fan_in", "uniform")),
        ("normal", 0.01, jax.nn.initializers.normal(0.01)),
    ],
)
def test_initial_kernels_have_the_papers_deviation_and_jaxs_numbers(initialiser, deviation, jax_draws):
    def both(key):
        return [draw(key, (3, 3, 15, 60), jnp.float32) for draw in (layers.INITIALISERS[initialiser], jax_draws)]

    kernel, reference = jax.device_get(jax.jit(both)(jax.random.key(0)))
    np.testing.assert_allclose(kernel.std(), deviation, rtol=0.03)
    assert abs(kernel.mean()) < 0.05 * deviation
    np.testing.assert_allclose(kernel, reference, rtol=1e-6)


def test_kernels_are_drawn_in_one_dimension():
    """XLA's CPU compiler takes seconds for every shape otherwise."""
    model, x = shrunk("densenet40")
    program = str(jax.make_jaxpr(model.init)(jax.random.key(0), x))
    drawn = [len(shape.split(",")) for shape in re.findall(r"random_bits\[[^]]*shape=\(([^)]*?),?\)", program)]
    assert drawn, "no draw was found"
    assert set(drawn) == {1}


def test_biases_start_as_described():
    alexnet, x = shrunk("alexnet", initialiser="normal")
    params, _ = jax.jit(alexnet.init)(jax.random.key(0), x)
    starts = {name: float(layer["bias"].mean()) for name, layer in params.items()}
    assert [starts[f"Conv_{i}"] for i in range(5)] == [0, 1, 0, 1, 1]
    assert [starts[f"Dense_{i}"] for i in range(3)] == [1, 1, 0]
    cnn, x = shrunk("cnn")
    bias = jax.jit(cnn.init)(jax.random.key(0), x)[0]["Conv_1"]["bias"]
    assert 0 < np.abs(bias).max() <= (9 * 4) ** -0.5


def test_deep_linear_net_starts_at_its_saddle():
    model, x = shrunk("deep_linear", scale=0.0)
    params, net_state = jax.jit(model.init)(jax.random.key(0), x)
    assert largest(params) == [0.0, 0.0]
    assert largest(jax.jit(training_step(model))(params, net_state, x, None)[1]) == [0.0, 0.0]
