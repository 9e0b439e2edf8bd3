"""Masks and groups for methods that look at the loss, which optax's do not reach (issue 1649 of optax).

Inside `optax.masked` and `optax.partition` a method sees its own leaves alone. The functions here are those, with a
loss that takes the other leaves from the parameters of the step, and with the extra argument `grad` hidden as the
updates are.
"""

import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import optax

from optaxaccel.methods import arguments, masks

__all__ = ["masked", "partition"]

_LOSSES = ("value_fn", "curvature_value_fn")  # extra arguments that are functions of the parameters


def masked(
    inner: optax.GradientTransformation, mask: Any | Callable[[optax.Params], Any]
) -> optax.GradientTransformationExtraArgs:
    """Apply a method to some leaves, with the loss as a function of these alone (`optax.masked`).

    Example:
      The first leaf is found exactly by one parabola, the second moves by the gradient that it is handed:

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> loss = lambda p: (p["a"] - p["b"])**2 + p["b"]**2
      >>> pal = optaxaccel.pal(loose_approximation=1.0, max_step_size=10.0)
      >>> sgd = optax.masked(optax.sgd(0.25), {"a": False, "b": True})
      >>> tx = optax.chain(optaxaccel.masked(pal, {"a": True, "b": False}), sgd)
      >>> params = {"a": jnp.array(3.0), "b": jnp.array(1.0)}
      >>> value, grad = jax.value_and_grad(loss)(params)
      >>> updates, state = tx.update(grad, tx.init(params), params, value=value, grad=grad, value_fn=loss)
      >>> [round(float(x), 3) for x in optax.apply_updates(params, updates).values()]
      [1.0, 1.5]

    As in optax the updates of all other leaves pass as they are, so that something else in the chain can deal with
    them; to leave those parameters alone, `partition` with `optax.set_to_zero()` is one call.

    Args:
      inner: any transformation: one that needs `value_fn` or `grad`, of this package or of optax, or one that does not.
      mask: a tree of bools like the parameters or a prefix of one, or a function of the parameters that returns it;
        True for the leaves that `inner` sees.

    Returns:
      A transformation with the state of `optax.masked(inner, mask)`, which `eval_params` understands.

    Costs:
      Those of `inner`, on its leaves; each of its evaluations of the loss is one of the whole loss.
    """
    return _with_own_loss(optax.masked(_with_own_gradient(inner), mask))


def partition(
    transforms: Mapping[Hashable, optax.GradientTransformation], param_labels: Any | Callable[[optax.Params], Any]
) -> optax.GradientTransformationExtraArgs:
    """Apply one method to each group of leaves, with the loss as a function of its group alone (`optax.partition`).

    Example:
      One group is searched along a line, the other stays:

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> loss = lambda p: (p["moving"] - p["frozen"])**2
      >>> pal = optaxaccel.pal(loose_approximation=1.0, max_step_size=10.0)
      >>> groups = {"search": pal, "stay": optax.set_to_zero()}
      >>> tx = optaxaccel.partition(groups, {"moving": "search", "frozen": "stay"})
      >>> params = {"moving": jnp.array(3.0), "frozen": jnp.array(1.0)}
      >>> value, grad = jax.value_and_grad(loss)(params)
      >>> updates, state = tx.update(grad, tx.init(params), params, value=value, grad=grad, value_fn=loss)
      >>> [round(float(updates[name]), 3) for name in ("moving", "frozen")]
      [-2.0, 0.0]

    All groups see the other leaves where they are before the step. Two that search along a line do not know of each
    other's move: where the groups are strongly coupled together they can go too far.

    Args:
      transforms: a transformation for each label.
      param_labels: a tree of labels like the parameters or a prefix of one, or a function of the parameters that
        returns it.

    Returns:
      A transformation with the state of `optax.partition(transforms, param_labels)`, which `eval_params` understands.

    Costs:
      Those of the methods, each on its leaves; each evaluation of the loss is one of the whole loss.
    """
    own = {label: _with_own_gradient(transform) for label, transform in transforms.items()}
    return _with_own_loss(optax.partition(own, param_labels))


def _with_own_gradient(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    if not isinstance(inner, optax.GradientTransformation):
        raise TypeError(f"{inner!r} is no transformation. Pass one that was called: optaxaccel.pal(), optax.sgd(0.1).")
    inner = optax.with_extra_args_support(inner)

    def update(updates, state, params=None, *, grad=None, **extra):
        if grad is not None:
            extra["grad"] = masks.hidden_as(updates, grad)
        return inner.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _with_own_loss(outer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    outer = optax.with_extra_args_support(outer)

    def update(updates, state, params: Any = None, **extra):
        for name in _LOSSES:
            if callable(extra.get(name)):
                arguments.require_params("A loss of some leaves", params)
                extra[name] = _filled(extra[name], params)
        return outer.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(outer.init, update)


def _filled(value_fn: Callable[..., Any], params: optax.Params) -> Callable[..., Any]:
    """Return the loss as a function of a tree in which leaves are hidden: those are taken from `params`."""
    return jax.tree_util.Partial(_OwnLoss(value_fn), params)


class _OwnLoss:
    """A loss with the parameters of the step in front; equal to that of the next step, so that it compiles once."""

    def __init__(self, value_fn: Callable[..., Any]):
        self.value_fn = value_fn

    @property
    def __signature__(self) -> inspect.Signature:
        names = list(inspect.signature(self.value_fn).parameters.values())
        first = inspect.Parameter("_params_of_step", inspect.Parameter.POSITIONAL_ONLY)
        return inspect.Signature([first, *names])

    def __call__(self, params, own, *args, **data):
        whole = jax.tree.map(lambda x, p: p if masks.is_masked(x) else x, own, params, is_leaf=masks.is_masked)
        return self.value_fn(whole, *args, **data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _OwnLoss) and self.value_fn == other.value_fn

    def __hash__(self) -> int:
        return hash(self.value_fn)
