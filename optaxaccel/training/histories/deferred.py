"""Arrays that are read whole when they are asked for: what is compressed, or lies in pieces, cannot be mapped."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np


class Deferred:
    """An array of which dtype and shape are known, and the numbers when they are needed.

    Attributes:
      dtype: of the array.
      shape: of the array.
      load: reads it.
    """

    def __init__(self, dtype: Any, shape: Any, load: Callable[[], np.ndarray]):
        """Keep what is known of an array."""
        self.dtype, self.shape, self.load = np.dtype(dtype), tuple(shape), load

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read it."""
        return np.asarray(self.load(), dtype)
