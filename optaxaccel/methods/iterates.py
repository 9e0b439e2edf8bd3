"""The iterate to evaluate: where `params` is a look-ahead point, the state knows the sequence that converges."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import optax
from optax import contrib, transforms

from optaxaccel.methods import masks, states

__all__ = ["eval_params"]

# Wrappers that apply their inner method's update as it is, or not at all; and states that only look on.
_HAND_ON = (
    *(optax.MaskedState, optax.PartitionState, optax.MultiStepsState, optax.ApplyIfFiniteState),
    *(optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState),
    *(transforms.ConditionallyTransformState, transforms.ConditionallyMaskState),
)
_LOOK_ON = (transforms.MonitorState, transforms.SnapshotState)


def eval_params(opt_state: optax.OptState, params: optax.Params) -> optax.Params:
    r"""Return the parameters to evaluate or to export.

    Example:
      Gradient descent evaluates where it stands, so this is the identity:

      >>> import jax.numpy as jnp, optax, optaxaccel
      >>> params = {"w": jnp.ones(2)}
      >>> optaxaccel.eval_params(optax.sgd(0.1).init(params), params)["w"].tolist()
      [1.0, 1.0]

    Accelerated methods take gradients at a look-ahead point; the sequence that converges, and for which rates are
    proved, is another one. Where a state in `opt_state` says so, its iterate replaces `params` leaf by leaf; everywhere
    else `params` is returned as it is. States are found at any depth: in `optax.chain`, `masked`, `partition`
    (`multi_transform`), `MultiSteps`, `inject_hyperparams`, `apply_if_finite` and whatever else is a pytree. Of
    `flax.nnx` pass both arguments through `nnx.as_pure`.

    The state knows the update that its method gave, not what became of it. So it is an error if something behind the
    method in `optax.chain`, or around it, may have changed that update (clipping, scaling, freezing): put that in
    front.

    Of optax's own, the averages of `contrib.schedule_free` and the unperturbed parameters of `contrib.sam` are
    returned, and of `lookahead` the slow weights, a tree like them, where `params` is the pair.

    Args:
      opt_state: the state returned by `tx.init` or `tx.update`.
      params: the parameters that belong to it.

    Returns:
      A tree like `params`, in its dtypes.

    Raises:
      ValueError: something may have changed the method's update, `params` are not those of the state, or the two are
        given the wrong way round.
    """
    if _holds_states(params) and not _holds_states(opt_state):
        raise ValueError(
            "eval_params: params holds the states of an optimiser and opt_state none, so they were given the wrong way "
            "round. Call eval_params(opt_state, params)."
        )
    for state in _telling(opt_state, params):
        params = _fill_in(params, _own_iterate(state, params))
    return params.slow if isinstance(params, optax.LookaheadParams) else params


def _holds_states(node: Any) -> bool:
    """Tell whether there is a state in a tree: optax's and ours are tuples with names, and called so."""
    named = isinstance(node, tuple) and type(node).__name__.endswith("State")
    return named or any(map(_holds_states, _children(node)))


def _telling(node: Any, params: optax.Params) -> Iterator[Any]:
    """Yield the outermost states that know an iterate, each of which the parameters follow as its method moved them."""
    if isinstance(node, optax.LookaheadState):
        if not isinstance(params, optax.LookaheadParams):
            raise ValueError(
                "eval_params: optax.lookahead evaluates its slow weights, which are in the parameters that it was made "
                f"for, and params is a {type(params).__name__}. Pass eval_params(opt_state, lookahead_params) with the "
                "optax.LookaheadParams(fast, slow) of the training loop."
            )
        return  # the slow weights stand for whatever the fast ones do
    if _tells(node):
        yield node
        return
    chained = isinstance(node, (list, OrderedDict)) or type(node) is tuple
    entries = list(node.values()) if isinstance(node, OrderedDict) else list(node) if chained else _children(node)
    for place, entry in enumerate(entries):
        inside = list(_telling(entry, params))
        if inside and chained:
            behind = [later for later in entries[place + 1 :] if not isinstance(later, _LOOK_ON)]
            if behind:
                names = ", ".join(sorted({type(later).__name__ for later in behind}))
                _refuse(inside[0], f"what is behind it in a chain ({names}) may have changed that update")
        elif inside and hasattr(type(node), "_fields") and not (isinstance(node, _HAND_ON) or _wraps(node)):
            _refuse(inside[0], f"the wrapper around it ({type(node).__name__}) may have changed that update")
        yield from inside


def _refuse(state: Any, reason: str) -> NoReturn:
    raise ValueError(
        f"eval_params: {type(state).__name__} knows its iterate from the update that its method gave, but {reason}; "
        "then there is no such iterate. Put what changes gradients or updates in front of the method in optax.chain, "
        "and what freezes parameters around it (optax.masked, optaxaccel.masked); or evaluate at params as they are."
    )


def _tells(node: Any) -> bool:
    if isinstance(node, contrib.SAMState):
        return node.cache is not None
    return isinstance(node, contrib.ScheduleFreeState) or states.tells(node, states.HoldsIterate)


def _wraps(node: Any) -> bool:
    return states.tells(node, states.HandsOn)


def _children(node: Any) -> list[Any]:
    return [] if node is None else [c for c in jax.tree.leaves(node, is_leaf=lambda x: x is not node) if c is not node]


def _own_iterate(state: Any, params: optax.Params) -> optax.Params:
    if "eval_params" in type(state)._fields:
        return state.eval_params
    seen = masks.as_seen_by(state, params)
    try:
        if isinstance(state, contrib.ScheduleFreeState):
            return contrib.schedule_free_eval_params(state, seen)
        if isinstance(state, contrib.SAMState):  # between two steps params are those of the adversary
            return jax.tree.map(lambda p, c: jnp.where(state.steps_since_sync == 0, p, c), seen, state.cache)
        return state.eval_params(seen)
    except (ValueError, TypeError) as error:
        raise _mismatch(state, params) from error


def _mismatch(iterate: Any, params: optax.Params) -> ValueError:
    return ValueError(
        f"eval_params: the state holds an iterate of structure {jax.tree.structure(iterate)}, params has structure "
        f"{jax.tree.structure(params)}. Pass the params that the state was made for: "
        "eval_params(opt_state, params). Of a method inside optax.flatten that is the vector of all leaves, "
        "jax.flatten_util.ravel_pytree(params)[0], and of one inside split_real_and_imaginary the parts."
    )


def _fill_in(params: optax.Params, iterate: optax.Params) -> optax.Params:
    def fill(new, old):
        if masks.is_masked(new):
            return old
        if jax.tree.structure(old) != jax.tree.structure(new):
            raise ValueError("one array where params has several")
        return new.astype(old.dtype) if hasattr(new, "astype") and hasattr(old, "dtype") else new

    try:
        return jax.tree.map(fill, iterate, params, is_leaf=masks.is_masked)
    except ValueError as error:
        raise _mismatch(iterate, params) from error
