"""The cards of all models: name, factory, paper, shapes, parameter count. Plain data; loads neither JAX nor Flax."""

from typing import Any

from optaxaccel.models.model import ModelCard

_MNIST, _CIFAR, _IMAGENET = (28, 28, 1), (32, 32, 3), (224, 224, 3)

_SMALL = (
    ModelCard(
        name="mlp",
        maker="optaxaccel.models.mlp:make",
        paper="Rumelhart, Hinton and Williams 1986",
        input_shape=_MNIST,
        classes=10,
        parameters=101_770,
        note="One hidden layer of 128 units; `hidden` takes any tuple of widths.",
    ),
    ModelCard(
        name="deep_linear",
        maker="optaxaccel.models.deep_linear:make",
        paper="Saxe, McClelland and Ganguli 2014",
        input_shape=_MNIST,
        classes=10,
        parameters=54_912,
        note="Three matrices; `scale=0` starts on the saddle point, `hidden` takes any tuple of widths.",
    ),
    ModelCard(
        name="cnn",
        maker="optaxaccel.models.cnn:make",
        paper="Xiao 2019",
        input_shape=_MNIST,
        classes=10,
        parameters=62_026,
        min_size=8,
        note="Three convolutions; 68,106 parameters on 32x32x3. On 8x8 digits one pixel is left in the end.",
    ),
    ModelCard(
        name="nin",
        maker="optaxaccel.models.nin:make",
        paper="Lin, Chen and Yan 2014",
        input_shape=_CIFAR,
        classes=100,
        parameters=984_356,
        min_size=4,
        note="Channels of the authors' CIFAR-10 configuration; 966,986 parameters with 10 classes. Dropout 0.5.",
    ),
    ModelCard(
        name="alexnet",
        maker="optaxaccel.models.alexnet:make",
        paper="Krizhevsky, Sutskever and Hinton 2012",
        input_shape=_IMAGENET,
        classes=1000,
        parameters=61_100_840,
        min_size=63,
        note="One tower, without local response normalisation, as in torchvision. Dropout 0.5.",
    ),
)


def _vgg(
    layers: int, variant: str, blocks: tuple[int, ...], counts: tuple[int, int, int, int]
) -> tuple[ModelCard, ...]:
    """Return the four nets of one depth: for ImageNet and CIFAR, without and with batch normalisation."""

    def card(suffix: str, parameters: int, **defaults: Any) -> ModelCard:
        cifar = suffix.endswith("_cifar")
        return ModelCard(
            name=f"vgg{layers}{suffix}",
            maker="optaxaccel.models.vgg:make",
            paper="Simonyan and Zisserman 2015",
            input_shape=_CIFAR if cifar else _IMAGENET,
            classes=10 if cifar else 1000,
            parameters=parameters,
            min_size=32,
            note=f"Variant {variant}. " + ("One dense layer, no dropout." if cifar else "Dropout 0.5."),
            defaults={"blocks": blocks, **defaults, **({"hidden": (), "dropout": 0.0} if cifar else {})},
        )

    return (
        card("", counts[0]),
        card("_bn", counts[1], batch_norm=True),
        card("_cifar", counts[2]),
        card("_bn_cifar", counts[3], batch_norm=True),
    )


_VGG = (
    *_vgg(11, "A", (1, 1, 2, 2, 2), (132_863_336, 132_868_840, 9_225_610, 9_231_114)),
    *_vgg(13, "B", (2, 2, 2, 2, 2), (133_047_848, 133_053_736, 9_410_122, 9_416_010)),
    *_vgg(16, "D", (2, 2, 3, 3, 3), (138_357_544, 138_365_992, 14_719_818, 14_728_266)),
    *_vgg(19, "E", (2, 2, 4, 4, 4), (143_667_240, 143_678_248, 20_029_514, 20_040_522)),
)


def _resnet(name: str, version: int, parameters: int, note: str, **defaults: Any) -> ModelCard:
    cifar = "stem" in defaults
    return ModelCard(
        name=name,
        maker="optaxaccel.models.resnet:make",
        paper="He et al. 2016a" if version == 1 else "He et al. 2016b",
        input_shape=_CIFAR if cifar else _IMAGENET,
        classes=10 if cifar else 1000,
        parameters=parameters,
        min_size=8 if cifar else 32,
        note=note,
        defaults={"version": version, **defaults},
    )


def _large(layers: int, blocks: tuple[int, ...], counts: tuple[int, int], **bottleneck: bool) -> tuple[ModelCard, ...]:
    """Return versions 1 and 2 of a net in the style for ImageNet."""
    note = "Shortcuts B (projections)."
    return (
        _resnet(f"resnet{layers}", 1, counts[0], note, blocks=blocks, **bottleneck),
        _resnet(f"resnet{layers}_v2", 2, counts[1], note, blocks=blocks, **bottleneck),
    )


def _large_on_cifar(layers: int, blocks: tuple[int, ...], counts: tuple[int, int]) -> tuple[ModelCard, ...]:
    """Return versions 1 and 2 of a net in the style for ImageNet with a stem for CIFAR."""
    note = "The net for ImageNet (four stages from 64 channels on, shortcuts B) with one 3x3 convolution as its stem."
    return (
        _resnet(f"resnet{layers}_cifar", 1, counts[0], note, blocks=blocks, stem="cifar"),
        _resnet(f"resnet{layers}_v2_cifar", 2, counts[1], note, blocks=blocks, stem="cifar"),
    )


def _small(n: int, parameters: int) -> tuple[ModelCard, ...]:
    """Return versions 1 and 2 of the net of 6 n + 2 layers in the style for CIFAR."""
    layers = 6 * n + 2
    note = f"6 n + 2 layers with n = {n}, two 3x3 convolutions a block, shortcuts A (zero padding)."
    if layers in (98, 200):
        note += f" Interpolatron's paper does not say which ResNet-{layers} it has; this one is assumed."
    defaults = {"blocks": (n, n, n), "stem": "cifar", "channels": 16, "shortcut": "A"}
    return (
        _resnet(f"resnet{layers}_cifar", 1, parameters, note, **defaults),
        _resnet(f"resnet{layers}_v2_cifar", 2, parameters, note, **defaults),
    )


_RESNET = (
    *_large(18, (2, 2, 2, 2), (11_689_512, 11_687_720)),
    *_large(34, (3, 4, 6, 3), (21_797_672, 21_795_880)),
    *_large(50, (3, 4, 6, 3), (25_557_032, 25_549_352), bottleneck=True),
    *_large(101, (3, 4, 23, 3), (44_549_160, 44_541_480), bottleneck=True),
    *_large(200, (3, 24, 36, 3), (64_673_832, 64_666_152), bottleneck=True),
    *_large_on_cifar(18, (2, 2, 2, 2), (11_173_962, 11_172_170)),
    *_large_on_cifar(34, (3, 4, 6, 3), (21_282_122, 21_280_330)),
    *_small(3, 269_722),
    *_small(5, 464_154),
    *_small(9, 853_018),
    *_small(16, 1_533_530),
    *_small(18, 1_727_962),
    *_small(33, 3_186_202),
)


def _densenet(name: str, parameters: int, note: str, *, cifar: bool, **defaults: Any) -> ModelCard:
    return ModelCard(
        name=name,
        maker="optaxaccel.models.densenet:make",
        paper="Huang et al. 2017",
        input_shape=_CIFAR if cifar else _IMAGENET,
        classes=10 if cifar else 1000,
        parameters=parameters,
        min_size=8 if cifar else 32,
        note=note,
        defaults={**defaults, **({"stem": "cifar"} if cifar else {})},
    )


_PLAIN = {"blocks": (12, 12, 12), "growth": 12, "bottleneck": False, "compression": 1.0}
_DENSENET = (
    _densenet("densenet121", 7_978_856, "DenseNet-BC, k = 32.", cifar=False),
    _densenet("densenet121_cifar", 6_956_298, "The net for ImageNet with one 3x3 convolution as its stem.", cifar=True),
    _densenet("densenet40", 1_019_722, "k = 12, no bottlenecks, no compression, no dropout.", cifar=True, **_PLAIN),
)

CARDS = (*_SMALL, *_VGG, *_RESNET, *_DENSENET)
