"""The registry of data sets: what everyone but the reader knows about each of them. Standard library only."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class DataCard(NamedTuple):
    """What everyone but its reader knows about a data set.

    Attributes:
      name: the key in DATASETS and on the command line.
      source: who made it, as a short citation.
      licence: the terms its makers give, as far as they give any.
      kind: who reads it: "embedded" in the package, "tfds" from a prepared folder, "synthetic" from a seed.
      shape: (height, width, channels); a size that varies from image to image is -1.
      classes: the number of classes.
      splits: images in each split.
      test_split: the split that measures accuracy ("" where there is none).
      mean: per channel, of the training images scaled to [0, 1].
      std: the standard deviation per channel, likewise.
      encoding: how TFDS stores the images: "png" keeps pixels as they are, "jpeg" does not ("" without TFDS).
      version: the TFDS version these numbers belong to.
      balanced: whether every class has as many images as any other, in each split.
      checksums: `catalogue.digest` of the original images of a split, where known.
      note: what a reader of results should know.
      levels: how floating images became bytes, a `data.floating.Levels`; None where they were bytes.
      maker: "module:function" of `split(name) -> (image, label)` for a set that is "embedded"; imported when used.
    """

    name: str
    source: str
    licence: str
    kind: str
    shape: tuple[int, int, int]
    classes: int
    splits: Mapping[str, int]
    test_split: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    encoding: str = ""
    version: str = ""
    balanced: bool = False
    checksums: Mapping[str, str] = MappingProxyType({})
    note: str = ""
    levels: tuple[float, float, str] | None = None
    maker: str = ""

    @property
    def streamed(self) -> bool:
        """Whether images vary in size, so that they are read from disk while training and never held as one array."""
        return -1 in self.shape


_IMAGENET = {
    "kind": "tfds",
    "shape": (-1, -1, 3),
    "classes": 1000,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "encoding": "jpeg",
}

_CARDS = (
    DataCard(
        name="digits",
        source="Alpaydin & Kaynak 1998, UCI Optical Recognition of Handwritten Digits (test part), doi:10.24432/C50P49",
        licence="CC BY 4.0",
        kind="embedded",
        maker="optaxaccel.data.digits:split",
        shape=(8, 8, 1),
        classes=10,
        splits={"train": 1437, "test": 360},
        test_split="test",
        mean=(0.3046,),
        std=(0.3754,),
        checksums={
            "train": "88d1222b90d64825b60b3e2563607097aa3e3e73ea6d296f89ae591fb4594e59",
            "test": "071cbf569f2c76ab8da1d6130cb76f270b58e1b368f81fcfe8fc3c5fdaea19af",
        },
        note="the first 1,437 images train, the last 360 test",
    ),
    DataCard(
        name="mnist",
        source="LeCun, Cortes & Burges 1998, The MNIST database of handwritten digits",
        licence="CC BY-SA 3.0",
        kind="tfds",
        shape=(28, 28, 1),
        classes=10,
        splits={"train": 60_000, "test": 10_000},
        test_split="test",
        mean=(0.1307,),
        std=(0.3081,),
        encoding="png",
        version="3.0.1",
        checksums={
            "train": "7192a11e1793755533a460c6ec307b31d9f1ea6db7af03a8622b827f4085c3ca",
            "test": "4f285e70b70d069697eb2c6678c3e88165647045c49ca15f0aaf677fc9223b60",
        },
    ),
    DataCard(
        name="fashion_mnist",
        source="Xiao, Rasul & Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
        licence="MIT",
        kind="tfds",
        shape=(28, 28, 1),
        classes=10,
        splits={"train": 60_000, "test": 10_000},
        test_split="test",
        mean=(0.2860,),
        std=(0.3530,),
        encoding="png",
        balanced=True,
        version="3.0.1",
    ),
    DataCard(
        name="cifar10",
        source="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        licence="none given; its page asks for citation",
        kind="tfds",
        shape=(32, 32, 3),
        classes=10,
        splits={"train": 50_000, "test": 10_000},
        test_split="test",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        encoding="png",
        balanced=True,
        version="3.0.2",
    ),
    DataCard(
        name="cifar100",
        source="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        licence="none given; its page asks for citation",
        kind="tfds",
        shape=(32, 32, 3),
        classes=100,
        splits={"train": 50_000, "test": 10_000},
        test_split="test",
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        encoding="png",
        balanced=True,
        version="3.0.2",
    ),
    DataCard(
        name="imagenet2012",
        source="Deng et al. 2009; Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge",
        licence="non-commercial research and education, by agreement with image-net.org",
        splits={"train": 1_281_167, "validation": 50_000, "test": 100_000},
        test_split="validation",
        version="5.1.0",
        note="the labels of the test split are not public; accuracy is measured on validation",
        **_IMAGENET,
    ),
    DataCard(
        name="imagenet_sample",
        source="1,000 images of ImageNet's training set, one a class: github.com/EliSchwartz/imagenet-sample-images",
        licence="as ImageNet",
        splits={"train": 1_000},
        test_split="",
        version="1.0.0",
        note="not in TFDS's catalogue; shapes a pipeline, says nothing about accuracy",
        **_IMAGENET,
    ),
    DataCard(
        name="synthetic",
        source="made from a fixed seed: one smooth random image a class, and noise",
        licence="none needed",
        kind="synthetic",
        shape=(32, 32, 3),
        classes=10,
        splits={"train": 1024, "test": 256},
        test_split="test",
        mean=(0.5,),
        std=(0.25,),
        note="for tests; `synthetic/HxWxC/CLASSES` gives other shapes, such as synthetic/28x28x1/10",
    ),
)

DATASETS: Mapping[str, DataCard] = MappingProxyType({card.name: card for card in _CARDS})
