"""The part of a photograph that a network sees: cropped at random to train, at the centre to evaluate."""

import math
from typing import Any

import numpy as np

_AREA = (0.08, 1.0)  # Szegedy et al. 2015, section 6: part of the image's area in a crop ...
_RATIO = (3 / 4, 4 / 3)  # ... and its width over its height
_TRIES = 10
_MARGIN = 256 / 224  # evaluation: the short side before the central crop, over the crop's side


def crop_range(crop: str, size: int) -> tuple[int, int] | None:
    """Return the range of the short side that "resize:A-B" names, or None for "random_resized"."""
    if crop == "random_resized":
        return None
    kind, _, sides = crop.partition(":")
    low, _, high = sides.partition("-")
    if kind != "resize" or not low.isdigit() or not (high or low).isdigit():
        raise ValueError(f"crop={crop!r} is unknown. Pass 'random_resized', 'resize:256' or 'resize:256-480'.")
    if not size <= int(low) <= int(high or low):
        raise ValueError(f"crop={crop!r} leaves less than size={size} pixels. Pass 'resize:A-B' with {size} <= A <= B.")
    return int(low), int(high or low)


def crop_image(
    image: Any, *, size: int, crop: str = "random_resized", flip: bool = True, draw: np.random.Generator | None
) -> np.ndarray:
    """Cut a square from an image.

    Args:
      image: opened by Pillow.
      size: the square's side, in pixels.
      crop: as in `batches`.
      flip: likewise.
      draw: randomness of this image; None cuts the centre, after resizing the short side to 256/224 of `size`.

    Returns:
      uint8 [size, size, 3].
    """
    from PIL import Image

    image = _eight_bits(image).convert("RGB")
    if draw is None:
        box = _central_box(image.width, image.height)
    elif (sides := crop_range(crop, size)) is None:
        box = _random_resized_box(draw, image.width, image.height)
    else:
        box = _random_box(draw, image.width, image.height, size, int(draw.integers(sides[0], sides[1] + 1)))
    # Cutting and resizing in one go computes only the pixels that are kept.
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return np.ascontiguousarray(pixels[:, ::-1]) if draw is not None and flip and draw.random() < 0.5 else pixels


def _eight_bits(image: Any) -> Any:
    """Scale a grey image of 16 bits to 8; Pillow's `convert` would cut everything above 255 off.

    Raises:
      ValueError: it holds floats, whose range nobody knows.
    """
    from PIL import Image

    if image.mode == "F":
        raise ValueError("An image holds floats, whose range nobody knows. Prepare the set with 8 or 16 bits.")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((np.clip(values, 0, 65535) + 128) // 257).astype(np.uint8))


def _central_box(width: int, height: int) -> tuple[float, float, float, float]:
    side = min(width, height) / _MARGIN
    left, upper = (width - side) / 2, (height - side) / 2
    return left, upper, left + side, upper + side


def _random_box(
    draw: np.random.Generator, width: int, height: int, size: int, short: int
) -> tuple[float, float, float, float]:
    """Return a random square that is `size` pixels wide once the short side has `short`."""
    side = min(width, height) * size / short
    left, upper = draw.random() * (width - side), draw.random() * (height - side)
    return left, upper, left + side, upper + side


def _random_resized_box(draw: np.random.Generator, width: int, height: int) -> tuple[float, float, float, float]:
    """Return a box of random area and aspect ratio; the largest central one of an admitted ratio if ten do not fit."""
    for _ in range(_TRIES):
        area = width * height * draw.uniform(*_AREA)
        ratio = math.exp(draw.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(draw.integers(width - w + 1)), int(draw.integers(height - h + 1))
            return left, upper, left + w, upper + h
    w = min(width, height * _RATIO[1])
    h = min(height, width / _RATIO[0])
    return (width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2
