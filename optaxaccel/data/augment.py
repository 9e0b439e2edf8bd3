"""Images as the network sees them: augmented and normalised inside the compiled step, from uint8."""

import math

import jax
import jax.numpy as jnp

from optaxaccel.registry import suggestion

AUGMENTATIONS = ("none", "translate", "crop_flip", "flip", "cutout")
_KEYS = {name: index for index, name in enumerate(AUGMENTATIONS)}
_CIFAR_SIDE = 32


def parse(augment: str) -> tuple[str, ...]:
    """Return the augmentations that a text such as "crop_flip+cutout" names, in that order.

    Raises:
      ValueError: one of them is unknown.

    Example:
      >>> parse("crop_flip+cutout"), parse("none")
      (('crop_flip', 'cutout'), ())
    """
    names = tuple(augment.split("+"))
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(
                f"augment={augment!r}: {name!r} is unknown.{suggestion(name, AUGMENTATIONS)} Pass one of "
                f"{', '.join(AUGMENTATIONS)}, or several joined by '+', such as 'crop_flip+cutout'."
            )
    return tuple(name for name in names if name != "none")


def prepare(
    image: jax.Array,
    *,
    key: jax.Array | None = None,
    mean: jax.typing.ArrayLike = 0.0,
    std: jax.typing.ArrayLike = 1.0,
    augment: str = "none",
    train: bool = False,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> jax.Array:
    r"""Normalise a batch, and augment it while training.

    A pixel becomes :math:`(x / 255 - \text{mean}) / \text{std}`. What an augmentation moves in from outside, or cuts
    out, is 0 after normalisation, which is the mean colour, as in He et al. 2016. Each image has its own draw from
    `key`, so that a batch split over devices is augmented as one that is not.

    Args:
      image: uint8 [batch, height, width, channels].
      key: randomness of this step; needed only for training with an augmentation.
      mean: scalar, per channel or per pixel [height, width, channels], of images scaled to [0, 1].
      std: likewise.
      augment: "none"; "translate" moves each image by up to an eighth of its side (4 pixels of 32, as usual for CIFAR)
        in either direction; "flip" mirrors half of them; "crop_flip" does both; "cutout" blanks a square of half the
        side around a random pixel (DeVries and Taylor 2017, 16 pixels for CIFAR-10). Join several by "+".
      train: augments only where true.
      dtype: of the result.

    Returns:
      [batch, height, width, channels], normalised.

    Example:
      >>> grey = jnp.full((1, 2, 2, 1), 51, jnp.uint8)
      >>> float(prepare(grey, mean=0.1, std=0.5)[0, 0, 0, 0])  # (51 / 255 - 0.1) / 0.5
      0.2...
    """
    scale = 1.0 / (255.0 * jnp.asarray(std, jnp.float32))
    x = image * scale - jnp.asarray(mean, jnp.float32) / jnp.asarray(std, jnp.float32)
    for name in parse(augment) if train else ():
        if key is None:
            raise ValueError(
                f"augment={augment!r} needs randomness, got key=None. Pass key=jax.random.fold_in(key, step)."
            )
        x = _TRANSFORMS[name](jax.random.fold_in(key, _KEYS[name]), x)
    return x.astype(dtype)


def translate(key: jax.Array, x: jax.Array) -> jax.Array:
    """Move each image by a whole number of pixels, up to an eighth of its side, and fill up with zeros."""
    n, height, width, channels = x.shape
    reach = jnp.array([math.ceil(height / 8), math.ceil(width / 8)])
    pads = [math.ceil(height / 8), math.ceil(width / 8)]
    padded = jnp.pad(x, ((0, 0), (pads[0],) * 2, (pads[1],) * 2, (0, 0)))
    start = jax.random.randint(key, (n, 2), 0, 2 * reach + 1)
    return jax.vmap(lambda one, s: jax.lax.dynamic_slice(one, (s[0], s[1], 0), (height, width, channels)))(
        padded, start
    )


def flip(key: jax.Array, x: jax.Array) -> jax.Array:
    """Mirror each image left to right with probability one half."""
    mirrored = jax.random.bernoulli(key, 0.5, (x.shape[0], 1, 1, 1))
    return jnp.where(mirrored, x[:, :, ::-1, :], x)


def crop_flip(key: jax.Array, x: jax.Array) -> jax.Array:
    """Translate, then flip."""
    return flip(jax.random.fold_in(key, 1), translate(jax.random.fold_in(key, 0), x))


def cutout(key: jax.Array, x: jax.Array) -> jax.Array:
    """Set a square of half the side to zero around a random pixel of each image; parts of it may lie outside."""
    n, height, width, _ = x.shape
    centre = jax.random.randint(key, (n, 2), 0, jnp.array([height, width]))
    outside = []
    for axis, side in enumerate((height, width)):
        distance = jnp.arange(side) - (centre[:, axis, None] - side // 4)
        outside.append((distance < 0) | (distance >= side // 2))
    keep = outside[0][:, :, None, None] | outside[1][:, None, :, None]
    return jnp.where(keep, x, 0.0)


_TRANSFORMS = {"translate": translate, "flip": flip, "crop_flip": crop_flip, "cutout": cutout}
