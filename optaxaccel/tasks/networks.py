"""Small dense networks as plain trees of arrays, in whatever precision is on."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Layers = list[dict[str, jax.Array]]


def dense(key: jax.Array, sizes: Sequence[int], scale: float = 2.0) -> Layers:
    """Return layers of these widths, kernels normal with variance scale / (in + out), biases 0.

    Args:
      key: what draws the kernels.
      sizes: widths, the input's first.
      scale: 2 is Glorot's, for tanh; 4 suits ReLU between layers of equal width.

    Example:
      >>> [layer["kernel"].shape for layer in dense(jax.random.key(0), (3, 4, 2))]
      [(3, 4), (4, 2)]
    """
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"kernel": jax.random.normal(k, (m, n)) * (scale / (m + n)) ** 0.5, "bias": jnp.zeros(n)}
        for k, (m, n) in zip(keys, itertools.pairwise(sizes), strict=True)
    ]


def forward(layers: Layers, x: jax.Array, between: Callable[[Any], jax.Array]) -> jax.Array:
    """Return the output for inputs [..., in], with `between` the layers."""
    for layer in layers[:-1]:
        x = between(x @ layer["kernel"] + layer["bias"])
    return x @ layers[-1]["kernel"] + layers[-1]["bias"]
