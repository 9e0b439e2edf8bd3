"""The iterate to evaluate: where `params` is a look-ahead point, the state knows the sequence that converges."""

from typing import Any

import jax
import optax

from optaxaccel.methods import masks, states

__all__ = ["eval_params"]


def eval_params(opt_state: optax.OptState, params: optax.Params) -> optax.Params:
    r"""Return the parameters to evaluate or to export.

    Accelerated methods take gradients at a look-ahead point; the sequence that converges, and for which rates are
    proved, is another one. Where a state in `opt_state` says so, its iterate replaces `params` leaf by leaf; everywhere
    else `params` is returned as it is. States are found at any depth: in `optax.chain`, `masked`, `partition`
    (`multi_transform`), `MultiSteps`, `inject_hyperparams`, `apply_if_finite` and whatever else is a pytree. Of
    `flax.nnx` pass both arguments through `nnx.as_pure`.

    Args:
      opt_state: the state returned by `tx.init` or `tx.update`.
      params: the parameters that belong to it.

    Returns:
      A tree like `params`.

    Example:
      Gradient descent evaluates where it stands, so this is the identity:

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> params = {"w": jnp.ones(2)}
      >>> optaxaccel.eval_params(optax.sgd(0.1).init(params), params)["w"].tolist()
      [1.0, 1.0]
    """
    for state in states.find(opt_state, states.HoldsIterate):
        params = _fill_in(params, _own_iterate(state, params))
    return params


def _own_iterate(state: Any, params: optax.Params) -> optax.Params:
    if "eval_params" in type(state)._fields:
        return state.eval_params
    return state.eval_params(masks.as_seen_by(state, params))


def _fill_in(params: optax.Params, iterate: optax.Params) -> optax.Params:
    def fill(new, old):
        if masks.is_masked(new):
            return old
        if jax.tree.structure(old) != jax.tree.structure(new):
            raise ValueError("one array where params has several")
        return new

    try:
        return jax.tree.map(fill, iterate, params, is_leaf=masks.is_masked)
    except ValueError as error:
        raise ValueError(
            f"eval_params: the state holds an iterate of structure {jax.tree.structure(iterate)}, params has structure "
            f"{jax.tree.structure(params)}. Pass the params that the state was made for: "
            "eval_params(opt_state, params)."
        ) from error
