"""Densely connected networks."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from optaxaccel.models import layers
from optaxaccel.models.convolution import avg_pool, max_pool
from optaxaccel.models.linen import from_linen
from optaxaccel.models.model import Model
from optaxaccel.numerics.compiler import written_out


@written_out
def _appended(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.concatenate([x, y], -1)


class Layer(nn.Module):
    """Normalise, ReLU, convolve (with a 1x1 bottleneck before, or without); append the result to the input."""

    growth: int
    bottleneck: bool
    dropout: float
    train: bool
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the input with `growth` more channels."""
        y = x
        for features, size in ([(4 * self.growth, 1)] if self.bottleneck else []) + [(self.growth, 3)]:
            y = nn.relu(layers.batch_norm(self.style, train=self.train)(y))
            y = layers.Conv(features, size, self.style, use_bias=False)(y)
            y = nn.Dropout(self.dropout, deterministic=not self.train)(y)
        return _appended(x, y)


class DenseNet(nn.Module):
    """Stem, blocks of dense layers with transitions between them, mean over pixels, dense layer."""

    classes: int
    blocks: tuple[int, ...]
    growth: int
    bottleneck: bool
    compression: float
    stem: str
    dropout: float
    remat: bool
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits."""

        def norm_relu(x, name):
            return nn.relu(layers.batch_norm(self.style, train=train, name=name)(x))

        large = self.stem == "imagenet"
        size, stride = (7, 2) if large else (3, 1)
        channels = 2 * self.growth if self.bottleneck else 16
        x = layers.Conv(channels, size, self.style, stride=stride, padding=size // 2, use_bias=False, name="stem")(x)
        if large:
            x = max_pool(norm_relu(x, "stem_norm"), 3, 2, ((1, 1), (1, 1)))
        layer = nn.remat(Layer) if self.remat else Layer
        for block, count in enumerate(self.blocks):
            for i in range(count):
                common = self.bottleneck, self.dropout, train, self.style
                x = layer(self.growth, *common, name=f"block{block}_layer{i}")(x)
            if block < len(self.blocks) - 1:
                x = norm_relu(x, f"transition{block}_norm")
                features = int(x.shape[-1] * self.compression)
                x = layers.Conv(features, 1, self.style, use_bias=False, name=f"transition{block}")(x)
                x = avg_pool(nn.Dropout(self.dropout, deterministic=not train)(x), 2)
        x = norm_relu(x, "last_norm").mean((1, 2))
        return layers.Dense(self.classes, self.style, name="head")(x)


def make(
    *,
    classes: int,
    blocks: Sequence[int] = (6, 12, 24, 16),
    growth: int = 32,
    bottleneck: bool = True,
    compression: float = 0.5,
    stem: str = "imagenet",
    dropout: float = 0.0,
    dtype: Any = "float32",
    param_dtype: Any = "float32",
    initialiser: str = "he",
    axis_name: str | None = None,
    remat: bool = False,
) -> Model:
    """Build a densely connected network.

    The defaults are DenseNet-121 for ImageNet (DenseNet-BC, k = 32). DenseNet-40 for CIFAR has three blocks of 12
    layers, k = 12, no bottlenecks and no compression.

    Args:
      classes: number of classes.
      blocks: number of layers in each block.
      growth: channels that each layer adds, the paper's k.
      bottleneck: whether a 1x1 convolution to 4 k channels comes before each 3x3 one; the stem then has 2 k channels,
        otherwise 16 (section 3 and 4.1 of the paper).
      compression: share of the channels that a transition keeps, in (0, 1], the paper's theta.
      stem: "imagenet" for a 7x7 convolution of stride 2 and a 3x3 pool of stride 2, "cifar" for one 3x3 convolution.
      dropout: share dropped after each convolution but the first, in [0, 1). The paper uses 0.2 on CIFAR without
        augmentation and 0 elsewhere.
      dtype: dtype of the computation; the logits are float32.
      param_dtype: dtype of the parameters.
      initialiser: a key of `layers.INITIALISERS`; the default is He et al. 2015, eq. 10, as in the paper.
      axis_name: mapped axis over which batch statistics are averaged.
      remat: compute each layer again in the backward pass instead of storing it.

    Example:
      >>> images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
      >>> params, net_state = jax.eval_shape(make(classes=1000).init, jax.random.key(0), images)
      >>> sum(p.size for p in jax.tree.leaves(params))
      7978856

    References:
      Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional networks", CVPR 2017, table 1.
    """
    layers.check_dropout(dropout)
    if stem not in ("imagenet", "cifar"):
        raise ValueError(f"stem={stem!r} is not known; choose 'imagenet' or 'cifar'.")
    if not blocks:
        raise ValueError("blocks=() leaves no block; blocks=(6, 12, 24, 16) is DenseNet-121, (12, 12, 12) DenseNet-40.")
    if growth < 1 or not 0 < compression <= 1:
        raise ValueError(
            f"growth={growth}, compression={compression}: a layer adds 1 channel or more, a transition keeps a share "
            "in (0, 1]; the paper has growth=32 or 12 and compression=0.5 or 1."
        )
    style = layers.style(dtype, param_dtype, initialiser, axis_name)
    return from_linen(DenseNet(classes, tuple(blocks), growth, bottleneck, compression, stem, dropout, remat, style))
