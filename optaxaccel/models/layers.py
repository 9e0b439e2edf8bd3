"""The layers of the zoo and how they compute and start."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from optaxaccel.models.convolution import Geometry, conv, max_pool
from optaxaccel.registry import lookup


def _kernel_of(draw: Callable[..., jax.Array], variance: Callable[[int, int], float]) -> Callable[..., jax.Array]:
    """Return an initialiser that draws numbers of mean 0 and of the variance `variance(fan_in, fan_out)`.

    The numbers are those of `jax.nn.initializers`. They are drawn in one dimension and then given their shape, which
    changes no number: XLA's CPU compiler takes 3 s for a draw in four dimensions whose sizes are no powers of two, and
    0.2 s for a flat one (DenseNet-40 has 40 such shapes).
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        *window, inputs, outputs = shape
        fan_in, fan_out = (math.prod((*window, n)) for n in (inputs, outputs))
        return draw(key, math.prod(shape), dtype, jnp.array(variance(fan_in, fan_out), dtype)).reshape(shape)

    return init


def _cut_normal(key: jax.Array, size: int, dtype: Any, variance: jax.Array) -> jax.Array:
    """Draw from a normal distribution that is cut at two standard deviations (0.8796 of one is left)."""
    scale = jnp.sqrt(variance) / jnp.array(0.87962566103423978, dtype)
    return jax.random.truncated_normal(key, -2.0, 2.0, (size,), dtype) * scale


def _uniform(key: jax.Array, size: int, dtype: Any, variance: jax.Array) -> jax.Array:
    return jax.random.uniform(key, (size,), dtype, -1.0, 1.0) * jnp.sqrt(3 * variance)


def _normal(key: jax.Array, size: int, dtype: Any, variance: jax.Array) -> jax.Array:
    return jax.random.normal(key, (size,), dtype) * jnp.sqrt(variance)


INITIALISERS: dict[str, Callable[..., jax.Array]] = {
    # He et al. 2015, eq. 10, from the normal distribution cut at two standard deviations
    "he": _kernel_of(_cut_normal, lambda fan_in, fan_out: 2 / fan_in),
    # He et al. 2015, eq. 14
    "he_fan_out": _kernel_of(_cut_normal, lambda fan_in, fan_out: 2 / fan_out),
    # Glorot and Bengio 2010, eq. 16
    "glorot": _kernel_of(_uniform, lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    # PyTorch's default, U(-1/sqrt(fan_in), 1/sqrt(fan_in)), for kernels and biases
    "torch": _kernel_of(_uniform, lambda fan_in, fan_out: 1 / (3 * fan_in)),
    # Krizhevsky et al. 2012, section 5: standard deviation 0.01 everywhere
    "normal": _kernel_of(_normal, lambda fan_in, fan_out: 1e-4),
}


class Style(NamedTuple):
    """How all layers of a net compute and start.

    Attributes:
      dtype: dtype of the computation; batch statistics and logits are float32 whatever it is.
      param_dtype: dtype in which the parameters are kept.
      initialiser: a key of INITIALISERS.
      axis_name: mapped axis (`pmap`, `shard_map`) over which batch normalisation averages its statistics; under `jit`
        with a sharded batch they are those of the whole batch anyway.
    """

    dtype: jnp.dtype
    param_dtype: jnp.dtype
    initialiser: str
    axis_name: str | None = None


def style(dtype: Any, param_dtype: Any, initialiser: str, axis_name: str | None = None) -> Style:
    """Check and return how all layers of a net compute and start; dtypes may be given by name."""
    lookup("initialiser", initialiser, INITIALISERS)
    for name, value in (("dtype", dtype), ("param_dtype", param_dtype)):
        try:
            floating = jnp.issubdtype(jnp.dtype(value), jnp.floating)
        except TypeError:
            floating = False
        if not floating:
            raise ValueError(f"{name}={value!r} is no floating-point type; use 'float32' or 'bfloat16'.")
    return Style(jnp.dtype(dtype), jnp.dtype(param_dtype), initialiser, axis_name)


def scaled(channels: int, width: float) -> int:
    """Return a number of channels times the width of the net, at least 1."""
    if not 0 < width < math.inf:
        raise ValueError(f"width={width} leaves no channels; it multiplies every number of channels, 1 is the paper's.")
    return max(1, round(channels * width))


def check_dropout(rate: float) -> None:
    """Refuse a dropout rate outside [0, 1)."""
    if not 0 <= rate < 1:
        raise ValueError(f"dropout={rate} is the share that is dropped; it must be in [0, 1), 0 for none.")


# --- Layers -----------------------------------------------------------------------------------------------------------


class Conv(nn.Module):
    """A convolution of [N, H, W, C], with the parameters `kernel` [size, size, C / groups, O] and `bias` [O].

    Attributes:
      features: number of output channels O.
      size: height and width of the kernel.
      style: how to compute and start.
      stride: steps of the window.
      padding: "SAME", "VALID", or the number of zeros on each side.
      dilation: distance between neighbouring entries of the kernel.
      groups: number of groups of channels.
      use_bias: whether to add a bias.
      bias_start: where the biases start, unless the initialiser draws them.
      pool: (size, stride) of a max-pool between convolution and bias. The bias may as well come last, since a
        maximum commutes with adding a constant (and with ReLU); its gradient is then a sum over fewer entries.
    """

    features: int
    size: int
    style: Style
    stride: int = 1
    padding: str | int = "SAME"
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    bias_start: float = 0.0
    pool: tuple[int, int] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve."""
        channels = x.shape[-1] // self.groups
        kernel = _kernel(self, (self.size, self.size, channels, self.features))
        geometry = Geometry(self.stride, self.padding, self.dilation, self.groups)
        y = conv(x.astype(self.style.dtype), kernel, geometry)
        y = y if self.pool is None else max_pool(y, *self.pool)
        return y + _bias(self, self.size**2 * channels) if self.use_bias else y


class Dense(nn.Module):
    """A dense layer, with the parameters `kernel` [I, O] and `bias` [O].

    Attributes:
      features: number of outputs O.
      style: how to compute and start.
      use_bias: whether to add a bias.
      bias_start: where the biases start, unless the initialiser draws them.
      kernel_scale: multiplies the initial kernel.
    """

    features: int
    style: Style
    use_bias: bool = True
    bias_start: float = 0.0
    kernel_scale: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Multiply and shift."""
        y = x.astype(self.style.dtype) @ _kernel(self, (x.shape[-1], self.features))
        return y + _bias(self, x.shape[-1]) if self.use_bias else y


def _kernel(layer: Conv | Dense, shape: tuple[int, ...]) -> jax.Array:
    scale = layer.kernel_scale if isinstance(layer, Dense) else 1.0
    draw = partial(_draw, layer.style.initialiser, scale)
    return layer.param("kernel", draw, shape, layer.style.param_dtype).astype(layer.style.dtype)


@partial(jax.jit, static_argnums=(0, 1, 3, 4))
def _draw(initialiser: str, scale: float, key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Draw a kernel; compiled, so that the hundreds of kernels of a deep net are traced once for each shape."""
    return (scale * INITIALISERS[initialiser](key, shape, dtype)).astype(dtype)


def _bias(layer: Conv | Dense, fan_in: int) -> jax.Array:
    def init(key, shape, dtype):
        if layer.style.initialiser == "torch":
            return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)
        return jnp.full(shape, layer.bias_start, dtype)

    return layer.param("bias", init, (layer.features,), layer.style.param_dtype).astype(layer.style.dtype)


def batch_norm(style: Style, *, train: bool, name: str | None = None) -> nn.BatchNorm:
    """Return a batch normalisation; statistics are float32, averages of 0.9 old + 0.1 new, epsilon 1e-5.

    These numbers are PyTorch's, with which the reference nets were trained; the running variance is the biased one,
    as in Ioffe and Szegedy 2015, algorithm 1.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=style.dtype,
        param_dtype=style.param_dtype,
        axis_name=style.axis_name,
        name=name,
    )
