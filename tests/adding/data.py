"""Bright and dark images: what an embedded data set needs at least."""

import numpy as np


def split(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return 64 or 32 images of 2 x 2 pixels, dark and bright in turns, and their labels."""
    label = np.arange(64 if name == "train" else 32, dtype=np.int32) % 2
    return np.broadcast_to(np.uint8(200 * label)[:, None, None, None], (len(label), 2, 2, 1)).copy(), label
