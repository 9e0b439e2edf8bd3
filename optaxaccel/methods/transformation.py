"""What every method's `update` refuses while it is traced: another shape, another method's state.

JAX broadcasts: a gradient of shape (1,) for parameters of shape (3,) would move all three by the same step, and nothing
would tell. Shapes are known while a step is traced, so looking costs a compiled step nothing.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import losses


def transformation(
    method: str,
    states: type | tuple[type, ...],
    init: Callable[[optax.Params], Any],
    update: Callable[..., tuple[optax.Updates, Any]],
    *,
    sees_loss: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Return the transformation of these two functions, with checks that a compiled step does not see.

    Args:
      method: the method's name, for errors.
      states: the type of its state, or the types.
      init: makes the state.
      update: makes a step.
      sees_loss: whether it evaluates `value_fn`, and so has no place in `optax.MultiSteps`.

    Raises:
      TypeError: `update` is given a state that `init` did not make.
      ValueError: a gradient has another shape than its parameters, or than what the state remembers of them.
    """

    @functools.wraps(init)
    def begun(params: optax.Params) -> Any:
        if sees_loss:
            losses.warn_of_accumulation(method)
        return init(_arrays(params))

    @functools.wraps(update)
    def checked(updates, state, params=None, **extra):
        if not isinstance(state, states):
            raise TypeError(_foreign(method, states, state))
        updates, params = _arrays(updates), _arrays(params)
        if sees_loss:
            _check_value(method, extra.get("value"))
        _same_shapes(f"{method}: the gradient", updates, "the parameters", params)
        try:
            moved, new = update(updates, state, params, **extra)
        except (
            TypeError,
            ValueError,
            AttributeError,
        ) as error:  # of two leaves that do not belong together, somewhere within
            if params is None or jax.tree.structure(updates) == jax.tree.structure(params):
                raise
            raise ValueError(_unlike(method, updates, params)) from error
        _same_shapes(f"{method}: the gradient", updates, "what the state was made for", moved)  # which broadcasts to it
        _same_shapes(f"{method}: what becomes of the state", new, "the state", state)
        return moved, new

    return optax.GradientTransformationExtraArgs(begun, checked)


def _arrays(tree: Any) -> Any:
    """Return a tree in which numbers of Python, which have no dtype, are arrays."""
    if all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(tree)):
        return tree
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, (int, float, complex)) else leaf, tree)


def _check_value(method: str, value: Any) -> None:
    """Raise TypeError or ValueError for a loss, where one is given, that is not one number."""
    if value is None:
        return
    if not (hasattr(value, "dtype") or isinstance(value, (int, float))):
        raise TypeError(f"{method}: value is a {type(value).__name__}, but a loss is one number. Pass value=loss.")
    if jnp.shape(value):
        raise ValueError(
            f"{method}: value has shape {jnp.shape(value)}, but a loss is one number. Pass value=mean_loss."
        )


def _same_shapes(what: str, tree: Any, other: str, others: Any) -> None:
    """Raise ValueError where two trees of one structure, which JAX itself asks for, have leaves of two shapes."""
    leaves, structure = jax.tree.flatten(tree)
    wanted, another = jax.tree.flatten(others)
    if structure != another or all(_shape(a) == _shape(b) for a, b in zip(leaves, wanted, strict=True)):
        return
    for (path, leaf), want in zip(jax.tree_util.tree_leaves_with_path(tree), wanted, strict=True):
        if _shape(leaf) != _shape(want):
            where = jax.tree_util.keystr(path)
            raise ValueError(
                f"{what}{where} is of shape {_shape(leaf)}, and {other}{where} of shape {_shape(want)}: one entry "
                "would be broadcast to several parameters. Pass grads = jax.grad(loss_fn)(params, ...), and the state "
                "of tx.init(params), with the same params."
            )


def _shape(leaf: Any) -> tuple[int, ...]:
    return getattr(leaf, "shape", ())  # a number of Python has none


def _unlike(method: str, updates: Any, params: Any) -> str:
    return (
        f"{method}: the gradient is a tree {jax.tree.structure(updates)}, and the parameters are "
        f"{jax.tree.structure(params)}. Call tx.update(grads, state, params) with "
        "grads = jax.grad(loss_fn)(params, ...)."
    )


def _foreign(method: str, states: type | tuple[type, ...], state: Any) -> str:
    kind = f"a {type(state).__name__}" if state is not None else "None"
    kind = "an array" if hasattr(state, "dtype") else kind
    belongs = ", the state of another transformation" if hasattr(type(state), "_fields") else ""
    names = [own.__name__ for own in (states if isinstance(states, tuple) else (states,))]
    return (
        f"{method}: state is {kind}{belongs}, not its own {' or '.join(names)}. Pass state = tx.init(params) of the "
        "same tx, and then what update returned; a checkpoint that comes back as a dict or a list is restored into "
        "tx.init(params)."
    )
