"""VGG, with and without batch normalisation."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn

from optaxaccel.models import layers
from optaxaccel.models.convolution import max_pool
from optaxaccel.models.linen import from_linen
from optaxaccel.models.model import Model


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each ended by a 2x2 pool; then dense layers."""

    classes: int
    blocks: tuple[int, ...]
    batch_norm: bool
    hidden: tuple[int, ...]
    width: float
    dropout: float
    remat: bool
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits."""
        block = nn.remat(Stage) if self.remat else Stage
        for i, (count, channels) in enumerate(zip(self.blocks, (64, 128, 256, 512, 512), strict=True)):
            features = layers.scaled(channels, self.width)
            x = block(count, features, self.batch_norm, train, self.style, name=f"stage{i}")(x)
        x = x.reshape(x.shape[0], -1)
        for features in self.hidden:
            x = nn.relu(layers.Dense(layers.scaled(features, self.width), self.style)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if not self.hidden:
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return layers.Dense(self.classes, self.style)(x)


class Stage(nn.Module):
    """Convolutions of one size, and a pool."""

    count: int
    features: int
    batch_norm: bool
    train: bool
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the pooled features."""
        for i in range(self.count):
            last = i == self.count - 1
            if self.batch_norm:
                x = layers.batch_norm(self.style, train=self.train)(layers.Conv(self.features, 3, self.style)(x))
                x = nn.relu(max_pool(x, 2, 2) if last else x)
            else:
                x = nn.relu(layers.Conv(self.features, 3, self.style, pool=(2, 2) if last else None)(x))
        return x


def make(
    *,
    classes: int,
    blocks: Sequence[int] = (2, 2, 3, 3, 3),
    batch_norm: bool = False,
    hidden: Sequence[int] = (4096, 4096),
    width: float = 1.0,
    dropout: float = 0.5,
    dtype: Any = "float32",
    param_dtype: Any = "float32",
    initialiser: str = "he",
    axis_name: str | None = None,
    remat: bool = False,
) -> Model:
    """Build a VGG.

    Args:
      classes: number of classes.
      blocks: convolutions in each of the five stages, by table 1 of the paper: (1, 1, 2, 2, 2) is A (VGG-11),
        (2, 2, 2, 2, 2) is B (13), (2, 2, 3, 3, 3) is D (16), (2, 2, 4, 4, 4) is E (19).
      batch_norm: whether to normalise after each convolution.
      hidden: widths of the hidden dense layers; (4096, 4096) is the paper's head for ImageNet. On 32x32 images one
        pixel is left and the usual head has no hidden layer, `hidden=()`.
      width: multiplies the number of channels and of hidden units.
      dropout: share dropped after each hidden dense layer (before the only one, if `hidden` is empty), in [0, 1).
      dtype: dtype of the computation; the logits are float32.
      param_dtype: dtype of the parameters.
      initialiser: a key of `layers.INITIALISERS`. The default is He et al. 2015, eq. 10, which was derived for nets of
        this kind. The paper draws from a normal distribution of variance 0.01 with pre-trained shallower nets for the
        first layers, and notes that "glorot" makes that unnecessary.
      axis_name: mapped axis over which batch statistics are averaged.
      remat: compute each stage again in the backward pass instead of storing it.

    Example:
      >>> import jax.numpy as jnp
      >>> images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
      >>> params, net_state = jax.eval_shape(make(classes=1000).init, jax.random.key(0), images)
      >>> sum(p.size for p in jax.tree.leaves(params))
      138357544

    References:
      Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015, table 1.

    Deviations:
      Batch normalisation is later than the paper; with it the biases of the convolutions stay, as in torchvision.
      ReLU (and the bias, where no normalisation follows) comes after the pool, which commutes with both.
    """
    layers.check_dropout(dropout)
    if len(blocks) != 5:
        raise ValueError(
            f"blocks={tuple(blocks)!r} are not five numbers, one a stage; blocks=(2, 2, 3, 3, 3) is VGG-16."
        )
    style = layers.style(dtype, param_dtype, initialiser, axis_name)
    return from_linen(VGG(classes, tuple(blocks), batch_norm, tuple(hidden), width, dropout, remat, style))
