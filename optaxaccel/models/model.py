"""What a model is to the rest of the package: two pure functions, and a card that describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:  # the registry is read by the command line, which must not start JAX for it
    import jax

Tree = Any


class Init(Protocol):
    """Make the parameters and the network's own state (batch statistics; empty where there are none)."""

    def __call__(self, key: jax.Array, x: jax.Array) -> tuple[Tree, Tree]:
        """Return (params, net_state), plain dicts, for inputs like `x`, float [batch, height, width, channels]."""
        ...


class Apply(Protocol):
    """Compute the logits."""

    def __call__(
        self, params: Tree, net_state: Tree, x: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, Tree]:
        """Return (logits, new net_state): float32 [batch, classes]; `key` drives dropout when `train`.

        Without `train`, net_state comes back as it was.
        """
        ...


class Model(NamedTuple):
    """A network as two pure functions."""

    init: Init
    apply: Apply


class ModelCard(NamedTuple):
    """What everyone but the model itself knows about a model.

    Attributes:
      name: the key in MODELS and on the command line.
      maker: "module:function" of the factory `make(*, classes, **overrides) -> Model`; imported when used.
      paper: the source, as a short citation.
      input_shape: the (height, width, channels) it was designed for.
      classes: the number of classes it was designed for.
      parameters: parameter count at that input shape and number of classes.
      min_size: the least height and width that it accepts; any size from there on and any number of channels is
        accepted, though the count of a net that ends in dense layers grows with the size.
      note: choices a reader should know of.
      defaults: arguments of the factory that make this entry of its family; overrides go over them.
    """

    name: str
    maker: str
    paper: str
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int
    min_size: int = 1
    note: str = ""
    defaults: Mapping[str, Any] = {}
