"""Network in Network."""

from typing import Any

import jax
from flax import linen as nn

from optaxaccel.models import layers
from optaxaccel.models.convolution import max_pool
from optaxaccel.models.linen import from_linen
from optaxaccel.models.model import Model


class NiN(nn.Module):
    """Three times: a convolution and two 1x1 convolutions; pools and dropout between; mean over pixels."""

    classes: int
    width: float
    dropout: float
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits."""
        for features, size in (((192, 160, 96), 5), ((192, 192, 192), 5)):
            for i, wide in enumerate(features):
                x = nn.relu(layers.Conv(layers.scaled(wide, self.width), size if i == 0 else 1, self.style)(x))
            rows, columns = (1 - n % 2 for n in x.shape[1:3])  # an even size is halved: its last window is incomplete
            x = max_pool(x, 3, 2, ((0, rows), (0, columns)))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for size in (3, 1):
            x = nn.relu(layers.Conv(layers.scaled(192, self.width), size, self.style)(x))
        return layers.Conv(self.classes, 1, self.style)(x).mean((1, 2))


def make(
    *,
    classes: int,
    width: float = 1.0,
    dropout: float = 0.5,
    dtype: Any = "float32",
    param_dtype: Any = "float32",
    initialiser: str = "he",
) -> Model:
    """Build the Network in Network of the CIFAR experiments, about a million parameters.

    Args:
      classes: number of classes.
      width: multiplies the number of channels.
      dropout: share dropped after the first two blocks, in [0, 1); 0.5 as in the paper's configuration.
      dtype: dtype of the computation; the logits are float32.
      param_dtype: dtype of the parameters.
      initialiser: a key of `layers.INITIALISERS`. INDIAN's experiments draw from a normal distribution that is not
        further described; here it is He et al. 2015, eq. 10.

    Example:
      >>> import jax.numpy as jnp
      >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
      >>> params, net_state = jax.eval_shape(make(classes=100).init, jax.random.key(0), images)
      >>> sum(p.size for p in jax.tree.leaves(params))
      984356

    References:
      Lin, Chen and Yan, "Network in network", ICLR 2014, section 4.
      Castera, Bolte, Fevotte and Pauwels, "An inertial Newton algorithm for deep learning", 2019, appendix A.

    Deviations:
      Channels (192, 160, 96; 192, 192, 192; 192, 192, classes) are those of the authors' published CIFAR-10
      configuration, the paper gives none. Both pools take maxima, as the paper's text has it; that configuration's
      second takes means. No ReLU before the last mean, which would keep logits from being negative.
      INDIAN's "slightly modified" net is not described; 984,356 parameters fit its "10^6".
    """
    layers.check_dropout(dropout)
    return from_linen(NiN(classes, width, dropout, layers.style(dtype, param_dtype, initialiser)))
