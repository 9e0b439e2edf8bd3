"""Turn an Equinox module into the two pure functions of the model contract."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from optaxaccel.models.model import Model

AXIS = "batch"  # give it to BatchNorm: eqx.nn.BatchNorm(size, axis_name="batch")


def from_equinox(make: Callable[..., Any]) -> Model:
    """Return the two pure functions of an Equinox module.

    It is called for one example, `module(x)`, `module(x, key=key)` or, with batch norm, `module(x, state, key=key)`,
    which returns (logits, state); examples are mapped over the axis "batch". Floating arrays become the parameters, the
    state of its layers the network state; `inference` is set as evaluation or training asks for.

    Args:
      make: `make(key=key) -> module`, a class with its arguments bound, say.

    Example:
      >>> model = from_equinox(lambda key: eqx.nn.Linear(2, 3, key=key))
      >>> params, net_state = model.init(jax.random.key(0), jnp.ones((1, 2)))
      >>> model.apply(params, net_state, jnp.ones((4, 2)))[0].shape
      (4, 3)
    """
    module, state = eqx.nn.make_with_state(make)(key=jax.random.key(0))
    _, static = eqx.partition(module, eqx.is_inexact_array)
    tree_of_params = jax.tree.structure(eqx.filter(module, eqx.is_inexact_array))
    tree_of_state = jax.tree.structure(state)
    names = inspect.signature(type(module).__call__).parameters
    takes_state, takes_key = "state" in names, "key" in names

    def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        del x
        module, begun = eqx.nn.make_with_state(make)(key=key)
        return _numbered(eqx.filter(module, eqx.is_inexact_array)), _numbered(begun)

    def apply(
        params: Any, net_state: Any, x: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, Any]:
        module = eqx.combine(jax.tree.unflatten(tree_of_params, jax.tree.leaves(params)), static)
        module = eqx.nn.inference_mode(module, value=not train)
        begun = jax.tree.unflatten(tree_of_state, jax.tree.leaves(net_state))
        keys = jax.random.split(jax.random.key(0) if key is None else key, x.shape[0])

        def one(x, state, key):
            extras = {"key": key if train else None} if takes_key else {}
            return module(x, state, **extras) if takes_state else (module(x, **extras), state)

        logits, after = jax.vmap(one, in_axes=(0, None, 0), out_axes=(0, None), axis_name=AXIS)(x, begun, keys)
        return jnp.asarray(logits, jnp.float32), _numbered(after) if train else net_state

    return Model(init, apply)


def _numbered(tree: Any) -> dict[str, Any]:
    """Return the leaves by number, in an order that a dictionary keeps."""
    return {f"{place:05d}": leaf for place, leaf in enumerate(jax.tree.leaves(tree))}
