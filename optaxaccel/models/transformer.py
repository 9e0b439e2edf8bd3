"""A small transformer that tells the next token (Vaswani et al. 2017, with the norms in front: Xiong et al. 2020)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from optaxaccel.models.linen import from_linen
from optaxaccel.models.model import Model


class Block(nn.Module):
    """Causal attention and a dense layer, each behind a norm and beside a shortcut."""

    heads: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return the sequence [batch, length, width] after the block."""
        length, width = x.shape[-2:]
        quiet = not train or self.dropout == 0.0
        h = nn.LayerNorm(dtype=self.dtype)(x)
        query, key, value = (
            nn.DenseGeneral((self.heads, width // self.heads), use_bias=False, dtype=self.dtype, name=name)(h)
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("...qhd,...khd->...hqk", query, key).astype(jnp.float32) * (width // self.heads) ** -0.5
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
        mixed = jnp.einsum("...hqk,...khd->...qhd", jax.nn.softmax(scores).astype(self.dtype), value)
        mixed = nn.DenseGeneral(width, axis=(-2, -1), use_bias=False, dtype=self.dtype, name="out")(mixed)
        x = x + nn.Dropout(self.dropout, deterministic=quiet)(mixed)
        h = nn.gelu(nn.Dense(4 * width, dtype=self.dtype)(nn.LayerNorm(dtype=self.dtype)(x)))
        return x + nn.Dropout(self.dropout, deterministic=quiet)(nn.Dense(width, dtype=self.dtype)(h))


class Transformer(nn.Module):
    """Tokens and positions embedded, blocks, and logits of the next token at every place."""

    vocabulary: int
    length: int
    layers: int
    width: int
    heads: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits [batch, length, vocabulary] of tokens int32 [batch, length]."""
        embed = nn.Embed(self.vocabulary, self.width, embedding_init=nn.initializers.normal(0.02), dtype=self.dtype)
        place = self.param("positions", nn.initializers.normal(0.02), (self.length, self.width))
        h = embed(x) + place[: x.shape[-1]].astype(self.dtype)
        for _ in range(self.layers):
            h = Block(self.heads, self.dropout, self.dtype)(h, train=train)
        return nn.Dense(self.vocabulary, use_bias=False, dtype=self.dtype)(nn.LayerNorm(dtype=self.dtype)(h))


def make(
    *,
    classes: int,
    length: int = 64,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    dropout: float = 0.0,
    dtype: Any = "float32",
) -> Model:
    """Build a transformer that tells the next token.

    Args:
      classes: number of tokens.
      length: most tokens of a sequence.
      layers: number of blocks, 1 to 4 for the machines that this package is tested on.
      width: of the sequence's vectors, a multiple of `heads`.
      heads: of the attention.
      dropout: share that is dropped behind attention and dense layer.
      dtype: of the computation; parameters and logits are float32.

    Example:
      >>> import jax.numpy as jnp
      >>> model = make(classes=10, length=8, layers=1, width=16)
      >>> params, _ = model.init(jax.random.key(0), jnp.zeros((1, 8), jnp.int32))
      >>> sum(p.size for p in jax.tree.leaves(params))  # 2 (10 16) + 8 16 + 4 (16 16) + 2 (4 16 16) + 5 16 + 3 (2 16)
      3696
    """
    if layers < 1 or width % heads:
        raise ValueError(
            f"layers={layers}, width={width} and heads={heads}: pass one layer or more, and a width that heads share."
        )
    return from_linen(Transformer(classes, length, layers, width, heads, dropout, jnp.dtype(dtype)))
