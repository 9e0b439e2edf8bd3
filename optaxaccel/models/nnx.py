"""Turn a Flax NNX module into the two pure functions of the model contract."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from optaxaccel.models.model import Model


def from_nnx(make: Callable[..., nnx.Module]) -> Model:
    """Return the two pure functions of an NNX module, which is called as `module(x)`.

    `nnx.Param` become the parameters; batch statistics and all other variables the network state. In training the
    module's random streams, dropout's for one, begin anew from `key`, so that an evaluation can be made again; it is
    set to `train()` or `eval()` as that is asked for.

    Args:
      make: `make(rngs=nnx.Rngs) -> module`, a class with its arguments bound, say.

    Example:
      >>> model = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
      >>> params, net_state = model.init(jax.random.key(0), jnp.ones((1, 2)))
      >>> params["kernel"].shape, net_state
      ((2, 3), {})
    """
    graph, _, streams, _ = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))), nnx.Param, nnx.RngState, ...)

    def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        del x
        _, params, _, rest = nnx.split(make(rngs=nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)
        return _plain(params), _plain(rest)

    def apply(
        params: Any, net_state: Any, x: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, Any]:
        keyed = iter(range(len(jax.tree.leaves(streams))))

        def begun(leaf: Any) -> jax.Array:
            place = next(keyed)
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return jax.random.fold_in(jax.random.key(0) if key is None else key, place)
            return jnp.zeros(leaf.shape, leaf.dtype)

        module = nnx.merge(graph, _like(params), jax.tree.map(begun, streams), _like(net_state))
        module.train() if train else module.eval()
        logits = jnp.asarray(module(x), jnp.float32)
        if not train:
            return logits, net_state
        return logits, _plain(nnx.split(module, nnx.Param, nnx.RngState, ...)[3])

    return Model(init, apply)


def _plain(state: Any) -> dict[Any, Any]:
    return nnx.to_pure_dict(state)


def _like(tree: Any) -> Any:
    return nnx.State(tree)
