"""The convolution and the pools of the zoo, with gradients that are fast on CPU, also inside control flow.

On CPU, XLA runs a convolution fast only if it is written with the dimensions in the order NHWC x HWIO -> NHWC.
Convolutions of the entry computation are brought into that order by the compiler; those inside `cond`, `scan` and
`while_loop` are not, and the gradients that JAX derives are in other orders: 25 to 100 times slower there. `conv`
gives gradients that are written in the fast order to begin with, and sums the kernel's over a few parts of the batch,
which fit the cache. `max_pool` remembers which entry was the largest instead of searching the window again.

Both are `jax.custom_jvp` functions whose rule is linear in the tangents, so every mode of differentiation and every
transformation of JAX works on them. Elsewhere than on CPU they are plain `lax`.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

# --- Convolution ------------------------------------------------------------------------------------------------------


class Geometry(NamedTuple):
    """The numbers of a convolution, the same for height and width.

    Attributes:
      stride: steps of the window.
      padding: "SAME", "VALID", or the number of zeros on each side.
      dilation: distance between neighbouring entries of the kernel.
      groups: number of groups of channels that do not see each other.
    """

    stride: int = 1
    padding: str | int = "SAME"
    dilation: int = 1
    groups: int = 1


def conv(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Return the convolution of `x` [N, H, W, C] with `kernel` [H, W, C / groups, O].

    Args:
      x: the images.
      kernel: the kernel, of the same dtype.
      geometry: strides, padding, dilation, groups.

    Costs:
      On CPU, gradients and forward-over-reverse Hessian-vector products run at full speed everywhere. What stays slow
      inside control flow there are forward mode alone (`jvp` of the loss) and reverse over reverse.
    """
    # JAX does not say rightly how results of other layouts lie on an explicit mesh, so there it is the plain one.
    if jax.default_backend() != "cpu" or any(any(jax.typeof(a).sharding.spec) for a in (x, kernel)):
        return _conv(x, kernel, geometry)
    if kernel.shape[:2] == (1, 1) and geometry.groups == 1 and geometry.padding in ("SAME", "VALID", 0):
        return x[:, :: geometry.stride, :: geometry.stride] @ kernel[0, 0]  # all derivatives are products, too
    return _conv_on_cpu(x, kernel, geometry)


def _conv(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    return _conv_in(("NHWC", "HWIO", "NHWC"), x, kernel, geometry)


def _conv_in(layout: tuple[str, str, str], x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    padding = geometry.padding
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(geometry.stride,) * 2,
        padding=padding if isinstance(padding, str) else ((padding, padding),) * 2,
        rhs_dilation=(geometry.dilation,) * 2,
        feature_group_count=geometry.groups,
        dimension_numbers=layout,
    )


# Measured: the kernel gradient is up to 6 times faster with 4,096 pixels a part than in one; smaller gains little more.
PART_SIZE = 4096


def _forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Convolve; large kernels on few channels with a channel of zeros, as 4 is what a vector instruction takes.

    Measured: 5x5 from 3 to 32 channels runs 4 times faster with it. With steps, or to more channels, it does not.
    """
    missing = -x.shape[-1] % 4
    pays = min(kernel.shape[:2]) >= 5 and kernel.shape[-1] <= 64 and geometry.stride == geometry.groups == 1
    if missing and pays and x.shape[-1] > 1:
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, missing)))
        kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, missing), (0, 0)))
    return _conv(x, kernel, geometry)


_conv_on_cpu = jax.custom_jvp(_forward, nondiff_argnums=(2,))


def _conv_jvp(geometry: Geometry, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """Write the tangents in such orders that their transposes, which are what reverse mode runs, are in the fast one.

    The transpose of a convolution swaps batch with features of its arguments and inputs with outputs of its kernel.
    So the kernel's tangent goes with the input as CHWN and gives HWNC: its transpose takes the input as CHWN, which
    is read as NHWC; the cotangent as HWNC, read as HWIO; and returns the gradient as IHWO, read as NHWC.
    """
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _forward(x, kernel, geometry)
    terms = []
    if not isinstance(dx, SymbolicZero):
        terms.append(_conv_in(("NHWC", "HWOI", "NHWC"), dx, kernel.transpose(0, 1, 3, 2), geometry))
    if not isinstance(dkernel, SymbolicZero):
        parts = _parts(y.shape)
        turned = dkernel.transpose(2, 0, 1, 3)
        x = x.reshape(-1, parts, *x.shape[1:])  # part i is i, i + parts, ...: a sharded batch stays where it is
        dy = [_conv_in(("CHWN", "IHWO", "HWNC"), x[:, i].transpose(3, 1, 2, 0), turned, geometry) for i in range(parts)]
        terms.append(jnp.stack([part.transpose(2, 0, 1, 3) for part in dy], 1).reshape(y.shape))
    return y, sum(terms[1:], start=terms[0])


def _parts(shape: tuple[int, ...]) -> int:
    """Return the number of parts of the batch, 8 at most, for about PART_SIZE pixels of the output [N, H, W, O] each.

    Each part is shared evenly by all devices, in case the batch is.
    """
    wanted = min(8, math.ceil(math.prod(shape[:3]) / PART_SIZE))
    return max((parts for parts in range(2, wanted + 1) if shape[0] % (parts * jax.device_count()) == 0), default=1)


_conv_on_cpu.defjvp(_conv_jvp, symbolic_zeros=True)

# --- Pooling ----------------------------------------------------------------------------------------------------------

NO_PADDING = ((0, 0), (0, 0))


def max_pool(
    x: jax.Array, size: int, stride: int, padding: tuple[tuple[int, int], tuple[int, int]] = NO_PADDING
) -> jax.Array:
    """Return the maxima of square windows of `x` [N, H, W, C]; rows that fill no window are dropped.

    Where entries tie, the gradient goes to the first of them.

    Args:
      x: the images.
      size: height and width of the window.
      stride: steps of the window.
      padding: entries of minus infinity before and after height and width.

    Example:
      >>> x = jnp.array([[1.0, 3.0], [3.0, 2.0]]).reshape(1, 2, 2, 1)
      >>> float(max_pool(x, 2, 2)[0, 0, 0, 0])
      3.0
      >>> jax.grad(lambda x: max_pool(x, 2, 2).sum())(x).reshape(2, 2).tolist()
      [[0.0, 1.0], [0.0, 0.0]]
    """
    if jax.default_backend() == "cpu":
        return _max_pool_on_cpu(x, size, stride, padding)
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, ((0, 0), *padding, (0, 0)))


def avg_pool(x: jax.Array, size: int) -> jax.Array:
    """Return the means of disjoint square windows of `x` [N, H, W, C]; rows that fill no window are dropped."""
    return _windows(x, size).mean((2, 4))


def _windows(x: jax.Array, size: int) -> jax.Array:
    """Return disjoint windows as [N, H / size, size, W / size, size, C]."""
    n, h, w, c = x.shape[0], x.shape[1] // size, x.shape[2] // size, x.shape[3]
    x = x[:, : h * size, : w * size]
    sharding = jax.typeof(x).sharding
    spec = [*sharding.spec, *(None,) * 4][:4]
    explicit = sharding.update(spec=jax.P(spec[0], spec[1], None, spec[2], None, spec[3])) if any(spec) else None
    return lax.reshape(x, (n, h, size, w, size, c), out_sharding=explicit)


def _entries(x: jax.Array, size: int, stride: int) -> list[jax.Array]:
    """Return, for each place in the window, the entries of `x` that are there, one a window."""
    h, w = (1 + (n - size) // stride * stride for n in x.shape[1:3])
    return [x[:, i : i + h : stride, j : j + w : stride] for i in range(size) for j in range(size)]


def _place_dtype(size: int) -> np.dtype:
    """Return the smallest dtype that holds a place in the window."""
    return np.min_scalar_type(size**2 - 1)


def _pad(x: jax.Array, padding: tuple, value: float) -> jax.Array:
    return x if padding == NO_PADDING else jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def _first_maximum(x: jax.Array, size: int, stride: int, padding: tuple) -> tuple[jax.Array, jax.Array]:
    """Return the maxima and the places in the window where they were first met."""
    largest, *others = _entries(_pad(x, padding, -jnp.inf), size, stride)
    place = jnp.zeros_like(largest, dtype=_place_dtype(size))  # like it, for its sharding
    for k, entry in enumerate(others, 1):
        place = jnp.where(entry > largest, place.dtype.type(k), place)
        largest = lax.max(largest, entry)
    return largest, place


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _max_pool_on_cpu(x: jax.Array, size: int, stride: int, padding: tuple) -> jax.Array:
    return _first_maximum(x, size, stride, padding)[0]


@_max_pool_on_cpu.defjvp
def _max_pool_jvp(size: int, stride: int, padding: tuple, primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    # The maximum is taken by this very function, so that higher derivatives choose among ties as the first one does.
    largest = _max_pool_on_cpu(x, size, stride, padding)
    place = _first_maximum(x, size, stride, padding)[1]
    dx = _pad(dx, padding, 0.0)
    if size == stride:  # disjoint windows: the transpose is one pass over the output instead of size^2
        places = jnp.arange(size**2, dtype=place.dtype).reshape(1, 1, size, 1, size, 1)
        chosen = place[:, :, None, :, None, :] == places
        return largest, jnp.where(chosen, _windows(dx, size), 0).sum((2, 4))
    return largest, sum(jnp.where(place == k, entry, 0) for k, entry in enumerate(_entries(dx, size, stride)))
