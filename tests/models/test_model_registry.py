"""The registry of models: parameter counts, the smallest images, errors that explain."""

import subprocess
import sys

import jax
import pytest
from nets import CLASSES, shapes, training_step

from optaxaccel import models

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


def shallowest():
    """The nets whose makers do not make shallower ones: what differs from them in depth alone is trained likewise."""
    nets = {}
    for card in sorted(models.MODELS.values(), key=lambda card: sum(card.defaults.get("blocks", ()))):
        like = {**card.defaults, "blocks": len(card.defaults.get("blocks", ()))}
        nets.setdefault((card.maker, *sorted(like.items())), card.name)
    return sorted(nets.values())


@pytest.mark.parametrize("name", [n if n in FIRST else pytest.param(n, marks=pytest.mark.slow) for n in models.MODELS])
def test_full_size_net_has_the_parameter_count(name):
    card = models.MODELS[name]
    params, _, _ = shapes(models.make(name, classes=card.classes, input_shape=card.input_shape), card.input_shape)
    assert sum(p.size for p in jax.tree.leaves(params)) == card.parameters
    assert PUBLISHED.get(name, card.parameters) == card.parameters


@pytest.mark.parametrize("name", shallowest())
def test_full_size_net_can_be_trained(name):
    card = models.MODELS[name]
    model = models.make(name, classes=card.classes, input_shape=card.input_shape)
    params, net_state, x = shapes(model, card.input_shape)
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
