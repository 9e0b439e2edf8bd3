"""The loss along a line, with its gradient and what else it gives."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import trees


def refuse_integers(params: optax.Params | None) -> None:
    """Raise TypeError for leaves that have no gradient."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(trees.leaf_dtype(leaf), jnp.inexact):
            raise TypeError(
                f"params{jax.tree_util.keystr(path)} is of dtype {trees.leaf_dtype(leaf)}, which has no gradient. Pass "
                "floating numbers, jax.tree.map(lambda x: jnp.asarray(x, float), params); what is to stay as it is "
                "belongs into the loss: lambda moving: loss(moving, constants)."
            )


def loss_and_slope(value_fn, extra: Mapping[str, Any], params, direction, has_aux: bool, like) -> Callable:
    """Return a function of the step that gives the loss, its slope, and `(gradient, aux)`."""
    evaluate_loss = value_and_gradient(loss_with_aux("scale_by_wolfe_search", value_fn, extra, has_aux))

    def evaluate(step: jax.Array):
        (value, aux), gradient = evaluate_loss(trees.add_scaled(params, step, direction))
        slope = trees.vdot(gradient, direction)
        return jnp.asarray(value, step.dtype), slope, (trees.cast_like(gradient, like), aux)

    return evaluate


def value_and_gradient(loss: Callable[[Any], tuple[jax.Array, Any]]) -> Callable[[Any], tuple[Any, Any]]:
    """Return a function of the parameters that gives (loss, aux) and the gradient, the same on every device.

    Under `jax.pmap`, and under `jax.shard_map` without `check_vma`, what is differentiated is the sum of the losses of
    all devices in the parameters of one: of a loss that is a mean over devices each gets the gradient of its share.
    Searches would then part ways, and wait for each other in a collective for ever. The mean of these is the gradient.
    """

    def evaluate(params: Any) -> tuple[Any, Any]:
        (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        gradient = jax.tree.map(lambda g: jnp.conj(g) if jnp.iscomplexobj(g) else g, gradient)
        axes = _untracked_axes(loss, params)
        if axes:
            value, gradient = jax.lax.pmean((value, gradient), axes)
        return (value, aux), gradient

    return evaluate


def _untracked_axes(loss: Callable, params: Any) -> tuple[Any, ...]:
    """Return the mesh axes over which a loss has a collective, but no type that says what varies over them."""

    def tracked(axis):
        return axis in jax.typeof(jax.lax.pcast(jnp.zeros(()), axis, to="varying")).manual_axis_type.varying

    untracked = [axis for axis in jax.sharding.get_abstract_mesh().manual_axes if not tracked(axis)]
    if not untracked:
        return ()
    used = {getattr(effect, "name", None) for effect in jax.make_jaxpr(loss)(params).effects}
    return tuple(axis for axis in untracked if axis in used)


def loss_with_aux(method: str, value_fn, extra: Mapping[str, Any], has_aux: bool) -> Callable:
    """Return a function of the parameters that gives the loss and the auxiliary output, or None."""
    if not has_aux:
        loss = contract.bind_value_fn(method, value_fn, extra)
        return lambda params: (loss(params), None)
    seen = []

    @functools.wraps(value_fn)  # shows the same names of data
    def only_loss(*args, **kwargs):
        got = value_fn(*args, **kwargs)
        if not (isinstance(got, tuple | list) and len(got) == 2):
            raise TypeError(
                f"{method}: the loss must return the pair (loss, aux), it returned a {type(got).__name__}. Return two "
                "things, or ask for no auxiliary output."
            )
        value, aux = got
        seen.append(aux)
        return value

    loss = contract.bind_value_fn(method, only_loss, extra)

    def both(params):
        value = loss(params)
        return value, seen.pop()

    return both
