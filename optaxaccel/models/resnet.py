"""Residual networks, versions 1 and 2, for ImageNet and CIFAR."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from optaxaccel.models import layers
from optaxaccel.models.convolution import max_pool
from optaxaccel.models.linen import from_linen
from optaxaccel.models.model import Model
from optaxaccel.numerics.compiler import written_out


@written_out
def _relu_of_sum(y: jax.Array, shortcut: jax.Array) -> jax.Array:
    return nn.relu(y + shortcut)


class Shape(nn.Module):
    """What all blocks of a net have in common: how to convolve, normalise and lead around.

    Attributes:
      features: channels of the 3x3 convolutions.
      stride: step of the block.
      bottleneck: whether the block is 1x1, 3x3, 1x1 to four times the channels, instead of two times 3x3.
      projection: whether a shortcut between different shapes is a 1x1 convolution (B) or zero padding (A).
      train: whether batch statistics are those of the batch.
      style: how to compute and start.
    """

    features: int
    stride: int
    bottleneck: bool
    projection: bool
    train: bool
    style: layers.Style

    def conv(self, x: jax.Array, features: int, size: int, stride: int = 1) -> jax.Array:
        """Convolve, without bias: a normalisation follows or has come before."""
        return layers.Conv(features, size, self.style, stride=stride, padding=size // 2, use_bias=False)(x)

    def norm(self, x: jax.Array) -> jax.Array:
        """Normalise over the batch."""
        return layers.batch_norm(self.style, train=self.train)(x)

    def plan(self) -> list[tuple[int, int, int]]:
        """Return (features, size, stride) of the convolutions on the residual path."""
        if self.bottleneck:
            return [(self.features, 1, 1), (self.features, 3, self.stride), (4 * self.features, 1, 1)]
        return [(self.features, 3, self.stride), (self.features, 3, 1)]

    def shortcut(self, x: jax.Array, *, normalise: bool) -> jax.Array:
        """Return `x` in the shape of the block's output."""
        features = self.plan()[-1][0]
        if self.stride == 1 and x.shape[-1] == features:
            return x
        if self.projection:
            x = self.conv(x, features, 1, self.stride)
            return self.norm(x) if normalise else x
        x = x[:, :: self.stride, :: self.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, features - x.shape[-1])))


class Block1(Shape):
    """Convolve, normalise, ReLU; the last ReLU comes after adding the shortcut (He et al. 2016a, figs. 2 and 5)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block's output."""
        shortcut = self.shortcut(x, normalise=True)
        *inner, last = self.plan()
        for convolution in inner:
            x = nn.relu(self.norm(self.conv(x, *convolution)))
        return _relu_of_sum(self.norm(self.conv(x, *last)), shortcut)


class Block2(Shape):
    """Normalise, ReLU, convolve; nothing comes after adding the shortcut (He et al. 2016b, fig. 1b)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block's output."""
        y = nn.relu(self.norm(x))
        first, *rest = self.plan()
        changes = self.stride != 1 or x.shape[-1] != self.plan()[-1][0]
        shortcut = self.shortcut(y if changes and self.projection else x, normalise=False)
        y = self.conv(y, *first)
        for convolution in rest:
            y = self.conv(nn.relu(self.norm(y)), *convolution)
        return y + shortcut


class ResNet(nn.Module):
    """Stem, stages of residual blocks with twice the channels and half the size each, mean over pixels, dense layer."""

    classes: int
    blocks: tuple[int, ...]
    bottleneck: bool
    version: int
    stem: str
    channels: int
    projection: bool
    remat: bool
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits."""
        large = self.stem == "imagenet"
        size, stride = (7, 2) if large else (3, 1)
        x = layers.Conv(self.channels, size, self.style, stride=stride, padding=size // 2, use_bias=False, name="stem")(
            x
        )
        if self.version == 1:
            x = nn.relu(layers.batch_norm(self.style, train=train, name="stem_norm")(x))
        if large:
            x = max_pool(x, 3, 2, ((1, 1), (1, 1)))
        block = Block1 if self.version == 1 else Block2
        block = nn.remat(block) if self.remat else block
        for stage, count in enumerate(self.blocks):
            for i in range(count):
                step = 2 if stage > 0 and i == 0 else 1
                common = self.bottleneck, self.projection, train, self.style
                x = block(self.channels * 2**stage, step, *common, name=f"stage{stage}_block{i}")(x)
        if self.version == 2:
            x = nn.relu(layers.batch_norm(self.style, train=train, name="last_norm")(x))
        return layers.Dense(self.classes, self.style, name="head")(x.mean((1, 2)))


def make(
    *,
    classes: int,
    blocks: Sequence[int] = (2, 2, 2, 2),
    bottleneck: bool = False,
    version: int = 1,
    stem: str = "imagenet",
    channels: int = 64,
    shortcut: str = "B",
    width: float = 1.0,
    dtype: Any = "float32",
    param_dtype: Any = "float32",
    initialiser: str = "he",
    axis_name: str | None = None,
    remat: bool = False,
) -> Model:
    """Build a residual network.

    ImageNet-style nets have four stages from 64 channels on: 18 and 34 layers of two 3x3 convolutions a block
    (`blocks` (2, 2, 2, 2) and (3, 4, 6, 3)), 50, 101 and 200 layers of bottlenecks ((3, 4, 6, 3), (3, 4, 23, 3) and
    (3, 24, 36, 3)). CIFAR-style nets have 6 n + 2 layers in three stages of n blocks, from 16 channels on, with
    shortcuts A: n = 3, 5, 9, 16, 18, 33 give 20, 32, 56, 98, 110 and 200 layers.

    Args:
      classes: number of classes.
      blocks: number of blocks in each stage.
      bottleneck: whether blocks are 1x1, 3x3, 1x1 to four times the channels, instead of two times 3x3.
      version: 1 for He et al. 2016a, 2 for the pre-activated blocks of He et al. 2016b.
      stem: "imagenet" for a 7x7 convolution of stride 2 and a 3x3 pool of stride 2, "cifar" for one 3x3 convolution.
      channels: channels of the stem and of the first stage.
      shortcut: how to lead around a block that changes the shape: "A" drops pixels and adds channels of zeros, "B"
        projects by a 1x1 convolution (He et al. 2016a, section 3.3).
      width: multiplies the number of channels.
      dtype: dtype of the computation; the logits are float32.
      param_dtype: dtype of the parameters.
      initialiser: a key of `layers.INITIALISERS`; the default is He et al. 2015, eq. 10, as in both papers.
      axis_name: mapped axis over which batch statistics are averaged.
      remat: compute each block again in the backward pass instead of storing it.

    Example:
      >>> images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
      >>> params, net_state = jax.eval_shape(make(classes=1000).init, jax.random.key(0), images)
      >>> sum(p.size for p in jax.tree.leaves(params))  # ResNet-18
      11689512

    References:
      He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016 (a), table 1, section 4.2.
      He, Zhang, Ren and Sun, "Identity mappings in deep residual networks", ECCV 2016 (b).

    Choices where the papers that use these nets leave one open:
      Interpolatron's ResNet-98 and ResNet-200 on CIFAR-10 are taken as 6 n + 2 layers with n = 16 and 33, two 3x3
      convolutions a block; version 1 or 2 is not said. PAL's ResNet-32 v2 is `resnet32_v2_cifar` (n = 5), and its
      ResNet-34 v2 on CIFAR-10 `resnet34_v2_cifar`: the net for ImageNet with one 3x3 convolution as its stem, since 34
      is no 6 n + 2.

    Deviations:
      A bottleneck takes its step in the 3x3 convolution, as torchvision does, not in the first 1x1.
      Version 2 has no normalisation and no ReLU between stem and first block, which begins with both.
    """
    for name, value, known in (("version", version, (1, 2)), ("stem", stem, ("imagenet", "cifar")),
                               ("shortcut", shortcut, ("A", "B"))):  # fmt: skip
        if value not in known:
            raise ValueError(f"{name}={value!r} is not known; choose one of {', '.join(map(repr, known))}.")
    if not blocks:
        raise ValueError("blocks=() leaves no stage; blocks=(2, 2, 2, 2) is ResNet-18, blocks=(3, 3, 3) ResNet-20.")
    style = layers.style(dtype, param_dtype, initialiser, axis_name)
    features, projection = layers.scaled(channels, width), shortcut == "B"
    return from_linen(ResNet(classes, tuple(blocks), bottleneck, version, stem, features, projection, remat, style))
