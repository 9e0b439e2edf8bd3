"""Every family trains one step; counts, modes, dtypes and errors of the registry."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.nn.initializers import variance_scaling as scaled_to_fans
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from optaxaccel import models
from optaxaccel.models import convolution, layers

CLASSES = 5
# name: (model, overrides that shrink it, input shape); every family with every kind of block, head and stem
SHRUNK = {
    "mlp": ("mlp", {"hidden": (4,)}, (8, 8, 1)),
    "deep_linear": ("deep_linear", {"hidden": (4,)}, (8, 8, 1)),
    "cnn": ("cnn", {"width": 1 / 8}, (8, 8, 1)),
    "nin": ("nin", {"width": 1 / 32}, (8, 8, 3)),
    "alexnet": ("alexnet", {"width": 1 / 32, "initialiser": "he"}, (63, 63, 3)),
    "vgg": ("vgg11", {"width": 1 / 16}, (32, 32, 3)),
    "vgg_bn": ("vgg16_bn_cifar", {"width": 1 / 32, "blocks": (1, 1, 1, 1, 2)}, (32, 32, 3)),
    "resnet_v2": ("resnet34_v2_cifar", {"width": 1 / 16, "blocks": (1, 1), "remat": True}, (8, 8, 3)),
    "resnet_bottleneck": ("resnet50", {"width": 1 / 16, "blocks": (1, 1)}, (32, 32, 3)),
    "resnet_cifar": ("resnet20_cifar", {"width": 1 / 4, "blocks": (1, 1)}, (8, 8, 3)),
    "densenet": ("densenet121", {"growth": 4, "blocks": (1, 1)}, (32, 32, 3)),
    "densenet40": ("densenet40", {"growth": 4, "blocks": (1, 1), "dropout": 0.2}, (8, 8, 3)),
}
WITH_DROPOUT = {"nin", "alexnet", "vgg", "densenet40"}
WITH_BATCH_NORM = {name for name in SHRUNK if "resnet" in name or "densenet" in name or "bn" in name}


def shrunk(name, **more):
    model, overrides, shape = SHRUNK[name]
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    return models.make(model, classes=CLASSES, input_shape=shape, **{**overrides, **more}), x


def start(model, x):
    """Return parameters and state as `init` would, drawn by NumPy, which has nothing to compile."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        kind = path[-1].key
        if kind == "kernel":
            return rng.normal(size=leaf.shape, scale=(2 / np.prod(leaf.shape[:-1])) ** 0.5).astype(leaf.dtype)
        return np.full(leaf.shape, kind in ("scale", "var"), leaf.dtype)

    params, net_state, _ = shapes(model, x.shape[1:])
    return jax.tree.map_with_path(draw, (params, net_state))


def shapes(model, shape):
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    return *jax.eval_shape(model.init, jax.random.key(0), x), x


def training_step(model):
    def loss(params, net_state, x, key):
        logits, net_state = model.apply(params, net_state, x, key=key, train=True)
        return -jax.nn.log_softmax(logits)[:, 0].mean(), (logits, net_state)

    return jax.value_and_grad(loss, has_aux=True)


def largest(tree):
    return [float(np.abs(leaf).max()) for leaf in jax.tree.leaves(jax.device_get(tree))]


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
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name == primitive:
            found |= {v.aval.dtype for v in equation.invars}
        for leaf in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            if hasattr(leaf, "eqns"):
                found |= operands(leaf, primitive)
    return found


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


# --- Registry ---------------------------------------------------------------------------------------------------------

PUBLISHED = {  # torchvision's models, and the sizes that follow from the papers' tables
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "densenet121": 7_978_856,
    "cnn": 62_026,
    "mlp": 784 * 128 + 128 + 128 * 10 + 10,
}
FIRST = {"alexnet", "cnn", "mlp", "nin", "resnet18", "resnet18_cifar", "resnet20_v2_cifar", "vgg16", "vgg16_bn_cifar"}


@pytest.mark.parametrize("name", [n if n in FIRST else pytest.param(n, marks=pytest.mark.slow) for n in models.MODELS])
def test_full_size_net_has_the_parameter_count_and_can_be_trained(name):
    card = models.MODELS[name]
    model = models.make(name, classes=card.classes, input_shape=card.input_shape)
    params, net_state, x = shapes(model, card.input_shape)
    assert sum(p.size for p in jax.tree.leaves(params)) == card.parameters
    assert PUBLISHED.get(name, card.parameters) == card.parameters
    (_, (logits, new_state)), gradient = jax.eval_shape(training_step(model), params, net_state, x, jax.random.key(0))
    assert logits.shape == (2, card.classes)
    assert (new_state, gradient) == (net_state, params)


@pytest.mark.parametrize("layers_", [20, 32, 56, 98, 110, 200])
def test_counts_of_cifar_resnets_follow_the_papers_formula(layers_):
    n = (layers_ - 2) // 6
    assert layers_ == 6 * n + 2
    kernels = 9 * (3 * 16 + 2 * n * 16**2 + 16 * 32 + (2 * n - 1) * 32**2 + 32 * 64 + (2 * n - 1) * 64**2)
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))  # shortcuts A have no parameters
    assert models.MODELS[f"resnet{layers_}_cifar"].parameters == kernels + norms + 64 * 10 + 10


def test_count_of_densenet_40_follows_the_papers_formula():
    channels, kernels, norms = 16, 27 * 16, 0
    for block in range(3):
        for _ in range(12):
            kernels, norms, channels = kernels + 9 * channels * 12, norms + 2 * channels, channels + 12
        if block < 2:
            kernels, norms = kernels + channels**2, norms + 2 * channels
    assert models.MODELS["densenet40"].parameters == kernels + norms + 2 * channels + channels * 10 + 10


def test_cnn_and_nin_counts_on_other_data():
    for name, classes, shape, count in (("cnn", 10, (32, 32, 3), 68_106), ("nin", 10, (32, 32, 3), 966_986)):
        params, _, _ = shapes(models.make(name, classes=classes, input_shape=shape), shape)
        assert sum(p.size for p in jax.tree.leaves(params)) == count


@pytest.mark.parametrize("name", ["cnn", "nin", "alexnet", "vgg11", "vgg11_cifar", "resnet18", "densenet40"])
def test_smallest_image_is_accepted_and_a_smaller_one_refused(name):
    size = models.MODELS[name].min_size
    model = models.make(name, classes=CLASSES)
    params, net_state, x = shapes(model, (size, size, 3))
    assert jax.eval_shape(model.apply, params, net_state, x)[0].shape == (2, CLASSES)
    refused = rf"images of {size}x{size} pixels at least, got {size}x{size - 1}.*'mlp'"
    with pytest.raises(ValueError, match=refused):
        models.make(name, classes=CLASSES, input_shape=(size, size - 1, 3))
    with pytest.raises(ValueError, match=refused):
        shapes(model, (size, size - 1, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet18cifar"}, r"Unknown model 'resnet18cifar'\. Did you mean 'resnet18_cifar'\?"),
        (
            {"name": "cnn", "widht": 2},
            r"'widht'\. Did you mean 'width'\? Known: dtype, initialiser, param_dtype, width",
        ),
        ({"name": "cnn", "width": 0}, r"width=0 leaves no channels"),
        ({"name": "cnn", "classes": 0}, r"classes=0"),
        ({"name": "cnn", "input_shape": (28, 28)}, r"\(height, width, channels\).*got \(28, 28\)"),
        ({"name": "cnn", "dtype": "int32"}, r"dtype='int32'.*'float32' or 'bfloat16'"),
        ({"name": "cnn", "initialiser": "hee"}, r"Unknown initialiser 'hee'\. Did you mean 'he'\?"),
        ({"name": "nin", "dropout": 1.0}, r"dropout=1\.0.*\[0, 1\)"),
        ({"name": "mlp", "hidden": (3, 0)}, r"hidden=\(3, 0\)"),
        ({"name": "resnet18", "version": 3}, r"version=3.*1, 2"),
        ({"name": "resnet18", "stem": "mnist"}, r"stem='mnist'"),
        ({"name": "densenet121", "compression": 2.0}, r"compression=2\.0"),
        ({"name": "mlp", "hidden": 8}, r"hidden=8 .* is not a tuple of integers >= 1\. Pass hidden=\(128,\)"),
        ({"name": "mlp", "hidden": (8.5,)}, r"hidden=\(8\.5,\).*a tuple of integers"),
        ({"name": "mlp", "initialiser": 3}, r"initialiser=3 .* a word\. Pass initialiser='he'"),
        ({"name": "mlp", "dtype": "bf16"}, r"dtype='bf16'.*'float32' or 'bfloat16'"),
        ({"name": "mlp", "classes": 2.5}, r"classes=2\.5"),
        ({"name": "cnn", "width": "a"}, r"width='a' .* a finite number\. Pass width=1\.0"),
        ({"name": "cnn", "width": float("nan")}, r"width=nan"),
        ({"name": "resnet20_cifar", "blocks": 3}, r"blocks=3 .* Pass blocks=\(3, 3, 3\)"),
        ({"name": "resnet20_cifar", "blocks": ()}, r"blocks=\(\) leaves no stage"),
        ({"name": "resnet20_cifar", "channels": 0}, r"channels=0 .* an integer >= 1\. Pass channels=16"),
        ({"name": "resnet20_cifar", "remat": 1}, r"remat=1 .* True or False"),
        ({"name": "densenet40", "blocks": ()}, r"blocks=\(\) leaves no block"),
        ({"name": "vgg11", "blocks": (1, 1)}, r"blocks=\(1, 1\) are not five"),
    ],
    ids=str,
)
def test_bad_arguments_are_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.make(**{"classes": CLASSES, **arguments})


def test_the_number_of_classes_is_no_override():
    with pytest.raises(ValueError, match="Unknown override of model 'nin': 'classes'"):
        models.check("nin", {"classes": 3})


def test_defaults_pass_their_own_check():
    """So that no annotation and no default contradict each other."""
    for name in models.MODELS:
        models.check(name, models.overrides_of(name))


def test_overrides_are_listed_with_the_models_own_defaults():
    assert models.overrides_of("resnet20_v2_cifar")["blocks"] == (3, 3, 3)
    assert models.overrides_of("resnet20_v2_cifar")["version"] == 2
    assert models.overrides_of("vgg16_cifar")["dropout"] == 0.0
    assert "classes" not in models.overrides_of("mlp")


def test_reading_the_registry_loads_neither_jax_nor_flax():
    code = "import sys, optaxaccel.models as m; m.MODELS['cnn']; assert not {'jax', 'flax', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
