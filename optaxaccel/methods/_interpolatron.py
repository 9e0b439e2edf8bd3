r"""Interpolatron: steps from a weighted mean of the last iterates along a weighted mean of their gradients.

Xie, Wang, Zhou and Zhang, "Interpolatron: Interpolation or Extrapolation Schemes to Accelerate Optimization for Deep
Neural Networks", 2018, Algorithm 1.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import ring, trees
from optaxaccel.numerics.boxes import without_boxes
from optaxaccel.numerics.trees import Tree

__all__ = ["InterpolatronState", "interpolatron"]

HistoryInit = Literal["copy", "zero"] | tuple[Literal["normal"], float, int] | tuple[Sequence[Any], Sequence[Any]]


class InterpolatronState(NamedTuple):
    """State of `interpolatron`: a ring of the last k pairs. Step `count` writes slot `count % k`.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      iterates: the parameters handed in, a tree like them with a leading axis of k slots, which no mesh axis splits.
      gradients: the updates handed in, likewise.
    """

    count: jax.Array
    notfinite_count: jax.Array
    iterates: optax.Params
    gradients: optax.Updates


def interpolatron(
    learning_rate: optax.ScalarOrSchedule,
    *,
    coefficients: Sequence[float] | jax.Array = (0.1, 0.9),
    history_init: HistoryInit = "copy",
) -> optax.GradientTransformationExtraArgs:
    r"""Step from a weighted mean of the last k iterates along the same mean of their gradients.

    Example:
      The paper's Fig. 2: coming from a slope of -15 to a plateau of slope 0.1 it leaps on, because the old gradient
      still acts, to 0.1 * (0.1 - 0.1 * 0.1) + 0.9 * (-0.1 + 0.1 * 15) = 1.269:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.interpolatron(0.1, history_init=([jnp.array(-0.1)], [jnp.array(-15.0)]))
      >>> x = jnp.array(0.1)
      >>> move, state = tx.update(jnp.array(0.1), tx.init(x), x)
      >>> round(float(x + move), 4)
      1.269

    Momentum extrapolates the last move; this interpolates between the last points. A step then partly takes back the
    one before, so a single huge gradient does not throw the parameters away for good, and where the gradient vanishes
    the large ones of the steps before still act. Old gradients are stored, not computed again.

    .. math::

        x_t = \sum_{i=1}^k \alpha_i x_{t-i} - \beta_t \sum_{i=1}^k \alpha_i g_{t-i},
        \qquad \alpha_i \ge 0, \quad \sum_i \alpha_i = 1

    with :math:`\alpha` = `coefficients`, of which :math:`\alpha_1` belongs to the newest pair, :math:`\beta_t` =
    `learning_rate`, today's and the same for all gradients, :math:`x_{t-1}` the parameters and :math:`g_{t-1}` the
    updates handed in. For k = 2 the move is :math:`\Delta x_t = -\alpha_2 \Delta x_{t-1} - \beta_t (\alpha_1 g_{t-1} +
    \alpha_2 g_{t-2})`.

    Args:
      learning_rate: step :math:`\beta`, >= 0, or a schedule of it. The paper takes 0.1 to 0.25 where momentum SGD takes
        0.025 to 0.05, and divides by ten three times.
      coefficients: :math:`\alpha`, newest first, at least one, >= 0 and of sum 1. (0.1, 0.9) is the paper's choice for
        ResNet-200 and ImageNet; others are (0.05, 0.95) and, for k = 3, (0.1, 0.3, 0.6). (1.0,) is gradient descent.
      history_init: what stands for the k - 1 pairs before the first step. "copy": copies of the first pair, so that
        the first step is gradient descent. "zero": copies of the first iterate with zero gradients.
        `("normal", scale, seed)`: iterates and gradients drawn from a normal distribution of that scale, truncated at
        two scales; the paper recommends the truncated normal and names no scale. `(iterates, gradients)`: two sequences
        of k - 1 trees like the parameters, newest first.

    Returns:
      A transformation whose `update` needs the gradient and the parameters.

    References:
      Xie, Wang, Zhou and Zhang, "Interpolatron: Interpolation or Extrapolation Schemes to Accelerate Optimization for
      Deep Neural Networks", 2018: Eq. 3 and Algorithm 1; Fig. 2 for the example, Tables 1-3 for the settings.

    Costs:
      No oracle call beyond the gradient handed in. 2 k copies of the parameters as state. An update moves 2 k + 5
      arrays through memory where SGD with momentum moves 5; measured on CPU it takes 1.9, 2.2 and 2.8 times as long for
      k = 2, 3 and 5.

    Deviations:
      * The schedule of the learning rate sees 0 at the paper's t = 1.
      * The paper draws the pairs before the first step at random; "copy" makes a run depend on its start alone.
      * The move is summed as :math:`\sum_i \alpha_i ((x_{t-i} - x_{t-1}) - \beta_t g_{t-i})`, in float32 at least, and
        rounded once: it vanishes exactly where nothing moves. bfloat16 parameters keep bfloat16 histories.
      * A step whose `value`, if given, is not finite moves nothing and stores nothing but `notfinite_count` + 1. The
        gradient is not looked at: that pass costs about a third of an update of SGD. `optax.apply_if_finite` adds it.

    Notes:
      * On a smooth loss with exact gradients it is no faster than gradient descent: a slow mode decays as with gradient
        descent of rate beta / sum(i alpha_i), 1.9 times slower for (0.1, 0.9), 2.5 times for (0.1, 0.3, 0.6).
        What it gains there is stability: for k = 2 a curvature h > 0 converges if and only if
        beta h < 1 + 1 / max(alpha_2, 1 - 2 alpha_2), which is 2.11 for (0.1, 0.9) and at most 4, for alpha_2 = 1/3.
      * The parameters are the iterates themselves, so there is no other iterate to evaluate.
    """
    contract.check_learning_rate(learning_rate)
    _check_coefficients(coefficients)
    length = len(coefficients)
    start = _start(history_init, length)
    # Copies of the first pair are not stored: before the window is full its missing pairs are read from slot 0.
    first_iterate, first_gradient = history_init in ("copy", "zero"), history_init == "copy"

    def init(params: optax.Params) -> InterpolatronState:
        contract.check_params("interpolatron", params)
        return InterpolatronState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), *start(params))

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del grad, value_fn, extra
        contract.require_params("interpolatron", params)
        finite, count = contract.loss_is_finite(value), state.count
        gradient = jax.tree.map(lambda g, p: g.astype(p.dtype), updates, params)
        iterates = ring.write(state.iterates, count % length, params, when=finite)
        gradients = ring.write(state.gradients, count % length, gradient, when=finite)

        def slot(age, clamp):
            return ring.slot_of(count, jnp.minimum(age, count) if clamp else age, length)

        older = [(slot(age, first_iterate), slot(age, first_gradient)) for age in range(1, length)]
        rate = contract.at_step(learning_rate, count)
        moves = mixed_step(params, gradient, iterates, gradients, coefficients, older, rate)
        if finite is not True:
            moves = jax.tree.map(lambda u: jnp.where(finite, u, jnp.zeros_like(u)), moves)
        new_count = jnp.where(finite, optax.safe_increment(count), count)
        notfinite_count = jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count))
        return moves, InterpolatronState(new_count, notfinite_count, iterates, gradients)

    return without_boxes(contract.transformation("interpolatron", InterpolatronState, init, update))


def _check_coefficients(coefficients: Any) -> None:
    """Raise ValueError unless the coefficients are weights of a mean; an array is left alone, it may be traced."""
    if isinstance(coefficients, jax.Array):
        return
    why = "the parameters become a weighted mean of the last ones"
    if not isinstance(coefficients, Sequence) or isinstance(coefficients, str) or not coefficients:
        raise ValueError(
            f"coefficients={coefficients!r} is no sequence of numbers: {why}. Pass coefficients=(0.1, 0.9)."
        )
    for i, coefficient in enumerate(coefficients):
        contract.check_number(f"coefficients[{i}]", coefficient, why, at_least=0.0, at_most=1.0)
    total = math.fsum(coefficients)
    if abs(total - 1.0) > 1e-6:
        scaled = tuple(round(coefficient / total, 6) for coefficient in coefficients) if total else (0.1, 0.9)
        raise ValueError(
            f"coefficients={coefficients!r} sum to {total:g}, not to 1: {why}. Pass coefficients={scaled!r}."
        )


# --- The pairs before the first step ----------------------------------------------------------------------------------


def mixed_step(
    params: Tree,
    gradient: Tree,
    iterates: Tree,
    gradients: Tree,
    weights: jax.Array | Sequence[jax.typing.ArrayLike],
    older: Sequence[tuple[jax.Array, jax.Array]],
    rate: jax.typing.ArrayLike,
) -> Tree:
    r"""Return the step from x_1 = `params` to sum_i w_i (x_i - rate g_i), in float32 at least.

    Args:
      params: the newest iterate.
      gradient: the newest gradient.
      iterates: stack of the older iterates.
      gradients: stack of the older gradients.
      weights: w, newest first, of sum one: the step is a sum of differences from x_1, which do not cancel.
      older: for w_2, w_3, ... the slots of the iterate and of the gradient.
      rate: the learning rate.

    Returns:
      The step, with the dtypes of `params`.
    """

    def leaf(p, g, xs, gs):
        wide: Any = jnp.promote_types(p.dtype, jnp.float32)
        here = p.astype(wide)
        total = -jnp.multiply(weights[0], rate) * g.astype(wide)
        for i, (x_slot, g_slot) in enumerate(older, start=1):
            x = jax.lax.dynamic_index_in_dim(xs, x_slot, 0, keepdims=False).astype(wide)
            h = jax.lax.dynamic_index_in_dim(gs, g_slot, 0, keepdims=False).astype(wide)
            total = total + weights[i] * (trees.difference(x, here) - rate * h)
        return total.astype(p.dtype)

    return jax.tree.map(leaf, params, gradient, iterates, gradients)


def _start(history_init: Any, length: int):
    """Return the function from parameters to the fresh rings of iterates and gradients."""
    if history_init in ("copy", "zero"):
        return lambda params: (ring.stack_zeros(params, length), ring.stack_zeros(params, length))
    if isinstance(history_init, tuple) and len(history_init) == 3 and history_init[0] == "normal":
        _, scale, seed = history_init
        contract.check_number("history_init scale", scale, "it is a standard deviation", at_least=0.0, below=math.inf)
        contract.check_count("history_init seed", seed, "the pairs before the first step are drawn from it", at_least=0)
        return lambda params: _draw(params, length, scale, seed)
    if isinstance(history_init, tuple) and len(history_init) == 2:
        for name, pairs in zip(("iterates", "gradients"), history_init, strict=True):
            if not isinstance(pairs, (list, tuple)) or len(pairs) != length - 1:
                raise ValueError(
                    f"history_init: {name}={pairs!r} is no list of {length - 1} trees: {length} coefficients need as "
                    "many pairs, the newest of which comes with the first update. Pass history_init=(iterates, "
                    f"gradients), each a list of {length - 1} trees like the parameters, newest first."
                )
        return lambda params: tuple(_arrange(params, pairs, length) for pairs in history_init)
    raise ValueError(
        f"history_init={history_init!r} is unknown. "
        "Pass 'copy', 'zero', ('normal', scale, seed) or (iterates, gradients)."
    )


def _draw(params: optax.Params, length: int, scale: jax.typing.ArrayLike, seed: int) -> tuple[Any, Any]:
    """Return rings of iterates and of gradients, both truncated normal of mean zero."""
    numbers = itertools.count()

    def normal(shape, dtype):
        key = jax.random.fold_in(jax.random.key(seed), next(numbers))
        flat = jax.random.truncated_normal(key, -2.0, 2.0, (math.prod(shape),), dtype)
        return flat.reshape(shape)  # the same numbers; XLA takes seconds to compile a draw in four dimensions

    def leaf(slots):
        real = jnp.finfo(slots.dtype).dtype
        noise = normal(slots.shape, real)
        if jnp.iscomplexobj(slots):
            noise = jax.lax.complex(noise, normal(slots.shape, real))
        return slots + (scale * noise).astype(slots.dtype)

    def draw():
        return jax.tree.map(leaf, ring.stack_zeros(params, length))

    return draw(), draw()


def _arrange(params: optax.Params, pairs: Sequence[Any], length: int) -> Any:
    """Return the ring whose slot -1 holds the newest tree given, slot -2 the one before, and so on."""
    numbers = itertools.count()
    leaves = [jax.tree.leaves(tree) for tree in pairs]
    structure = jax.tree.structure(params)
    for age, tree in enumerate(pairs, start=1):
        if jax.tree.structure(tree) != structure:
            raise ValueError(
                f"history_init: the tree {age} steps before the first has the structure {jax.tree.structure(tree)}, "
                f"the parameters have {structure}. Pass trees like the parameters."
            )

    def leaf(slots):
        number = next(numbers)
        for age, tree in enumerate(leaves, start=1):
            if number >= len(tree) or jnp.shape(tree[number]) != slots.shape[1:]:
                raise ValueError(
                    f"history_init: leaf {number} of the tree {age} steps before the first is "
                    f"{jnp.shape(tree[number]) if number < len(tree) else 'missing'}, that of the parameters has shape "
                    f"{slots.shape[1:]}. Pass trees like the parameters."
                )
            slots = slots.at[length - age].set(jnp.asarray(tree[number], slots.dtype))
        return slots

    return jax.tree.map(leaf, ring.stack_zeros(params, length))


CARD = contract.Card(
    name="interpolatron",
    make=interpolatron,
    paper="Xie, Wang, Zhou and Zhang, Interpolatron: Interpolation or Extrapolation Schemes, 2018",
    example={"learning_rate": 0.5, "coefficients": (0.1, 0.9)},
    state_copies=4.0,
    static_args=("coefficients", "history_init"),
)
