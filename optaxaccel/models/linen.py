"""Turn a Flax Linen module into the two pure functions of the model contract."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn

from optaxaccel.models.model import Model


def from_linen(module: nn.Module) -> Model:
    """Return the two pure functions of a Linen module.

    The module is called as `module(x, train=...)`, or as `module(x)` where its `__call__` has no such argument. Its
    collection "params" becomes the parameters, all others (such as "batch_stats") become the network state; the random
    stream "dropout" is driven by `key`.

    Args:
      module: the module; `__call__(x, *, train)`, or `__call__(x)`, returns logits [batch, classes].

    Example:
      >>> class Scale(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x, *, train=False):
      ...         return self.param("factor", nn.initializers.constant(3.0), ()) * x
      >>> model = from_linen(Scale())
      >>> params, net_state = model.init(jax.random.key(0), jnp.ones((1, 2)))
      >>> logits, net_state = model.apply(params, net_state, jnp.ones((1, 2)))
      >>> logits.tolist(), net_state
      ([[3.0, 3.0]], {})
    """
    takes_train = _takes_train(module)

    def mode(train: bool) -> dict[str, Any]:
        return {"train": train} if takes_train else {}

    def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        variables = dict(module.init(key, x, **mode(False)))
        return variables.pop("params", {}), variables

    def apply(
        params: Any, net_state: Any, x: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, Any]:
        rngs = {} if key is None else {"dropout": key}
        variables = {"params": params, **net_state}
        if not train:
            return jnp.asarray(module.apply(variables, x, **mode(False)), jnp.float32), net_state
        try:
            logits, new = module.apply(variables, x, **mode(True), rngs=rngs, mutable=list(net_state))
        except errors.InvalidRngError as error:
            raise ValueError(
                f"{type(module).__name__} has dropout and was applied with train=True and key=None; its mask needs "
                "randomness. Call apply(..., key=jax.random.key(seed), train=True), or build it with dropout=0."
            ) from error
        return jnp.asarray(logits, jnp.float32), dict(new)

    return Model(init, apply)


def _takes_train(layer: Any) -> bool:
    """Return whether a module takes an argument `train`; a sequence hands all arguments to its first layer."""
    if isinstance(layer, nn.Sequential) and layer.layers:
        return _takes_train(layer.layers[0])
    try:
        parameters = inspect.signature(layer.__call__ if isinstance(layer, nn.Module) else layer).parameters
    except (TypeError, ValueError):
        return isinstance(layer, nn.Module)
    return "train" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
