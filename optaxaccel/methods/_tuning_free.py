r"""One setting for everything: Nesterov-Adam's direction, the rate of hindsight, and an average to evaluate at."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods import look_in_hindsight as hindsight
from optaxaccel.numerics import trees

__all__ = ["TuningFreeState", "tuning_free"]

RECENT = 9.0  # the average forgets polynomially: it looks back on about a ninth of all steps
ASIDE = 8  # with each eighth measurement comes one of the average, to tell which of the two is better
KEPT = 0.8  # of the mean of these comparisons, from one to the next


class TuningFreeState(NamedTuple):
    """State of `tuning_free`: the fields of `HindsightState`, two moments of the gradient, and the average.

    Attributes:
      count: steps made, int32.
      notfinite_count: updates held still because the loss or the gradient was not finite, int32.
      rate: the rate of the last step.
      slope: running mean of the fall of the loss per unit of rate; see `HindsightState`.
      curvature: running mean of the second derivative of the loss along the steps, per unit of rate squared.
      change: running mean of how much a step changed the loss, up or down.
      noise: running mean of how much the loss of one batch differs from that of the next one at the same parameters.
      loss: the loss of the last step, at `previous`.
      measurement_failed: whether the loss at the previous parameters was not finite in the last step.
      previous: the parameters from which the last step was made, a tree like the parameters.
      mean: decaying mean of the gradient, in float32 at least.
      square: decaying mean of its squared modulus, in float32 at least.
      lead: running mean of f(average) - f(parameters) over the sum of their moduli; positive where the parameters are
        the better ones.
      average: weighted mean of all parameters before the last step, in float32 at least.
    """

    count: jax.Array
    notfinite_count: jax.Array
    rate: jax.Array
    slope: jax.Array
    curvature: jax.Array
    change: jax.Array
    noise: jax.Array
    loss: jax.Array
    measurement_failed: jax.Array
    previous: optax.Params
    mean: optax.Updates
    square: optax.Updates
    lead: jax.Array
    average: optax.Params

    def eval_params(self, params: optax.Params) -> optax.Params:
        """Return the average with `params` in it, or `params` where the loss was found to be lower there."""
        average = trees.cast_like(_averaged(self.average, params, self.count), params)
        return optax.tree.where(self.lead > 0, params, average)

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """The rate, the means that it comes from, and which point is the better one."""
        return {**hindsight.rates_of(self), "lead": self.lead}

    def restart(self, params: optax.Params) -> "TuningFreeState":
        """Return the state for a sequence that begins anew at `params`: nothing to look back on, the same rate."""
        average = trees.cast_like(trees.fresh_copy(params), self.average)
        return self._replace(previous=trees.fresh_copy(params), average=average)


def tuning_free(
    *,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Any = None,
    every: int = 1,
    initial_rate: float | jax.Array = 0.01,
    relaxation: optax.ScalarOrSchedule = 1.5,
    b1: float | jax.Array = 0.95,
    b2: float | jax.Array = 0.99,
    eps: float | jax.Array = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    r"""Train with a rate that is measured and not tuned, and evaluate at an average that needs no horizon.

    Example:
      The minimum of a quadratic whose two curvatures differ a hundred times, from far away and without a number:

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> tx, w = optaxaccel.tuning_free(), jnp.array([30.0, -20.0])
      >>> loss = lambda w: jnp.sum(jnp.array([100.0, 1.0]) * (w - 1.0) ** 2)
      >>> @jax.jit
      ... def step(w, state):
      ...     value, grad = jax.value_and_grad(loss)(w)
      ...     updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
      ...     return optax.apply_updates(w, updates), state
      >>> state = tx.init(w)
      >>> for _ in range(400):
      ...     w, state = step(w, state)
      >>> [round(float(x), 2) for x in optaxaccel.eval_params(state, w)]
      [1.0, 1.0]

    Adam's direction with Nesterov's momentum; the rate of `scale_by_hindsight`; and in place of a schedule that ends
    with the training, whose length nobody has to know, an average of the iterates:

    .. math::

        m &\leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, |g|^2, \\
        d &= \frac{\beta_1 m / (1 - \beta_1^{t+2}) + (1 - \beta_1)\, g / (1 - \beta_1^{t+1})}
        {\sqrt{v / (1 - \beta_2^{t+1})} + \epsilon}, \\
        \theta_{t+1} &= \theta_t - \eta_t (d + \lambda\, \theta_t), \qquad
        \bar\theta_{t+1} = \bar\theta_t + \frac{9}{t + 9} (\theta_{t+1} - \bar\theta_t)

    with g the incoming updates of step t, counted from 0; :math:`\eta_t` that of `scale_by_hindsight`, which measures
    whole steps, but for its cut, which takes a rise of :math:`3 h / \max(\nu, 0.03)`: steps of Adam are bounded, and
    without noise the loss rises and falls in waves; :math:`\lambda` = `weight_decay`, :math:`\beta_1, \beta_2,
    \epsilon` = `b1`, `b2`, `eps`.
    `eval_params` returns :math:`\bar\theta`, or :math:`\theta` where that has the lower loss: with each eighth
    measurement after the first 20 steps :math:`f(\bar\theta_t)` is evaluated, too, and a running mean of
    :math:`(f(\bar\theta_t) - f(\theta_t)) / (|f(\bar\theta_t)| + |f(\theta_t)|)` tells.

    Args:
      weight_decay: decoupled weight decay, >= 0, or a schedule of it. It is multiplied by the measured rate as in
        `optax.adamw`.
      mask: which leaves decay: a tree of bools that is a prefix of the parameters, or a function that makes one of
        them; None for all.
      every: steps from one measurement to the next; see `scale_by_hindsight`. 5 is the cheap variant.
      initial_rate: the first rate, > 0; a wrong one costs about one step for each third of a factor 2.7.
      relaxation: rate aimed at, in units of the best one along the step, > 0, or a schedule of it. 1 is greedy.
      b1: decay of the mean of the gradient, 0 to below 1.
      b2: decay of the mean of its square, 0 to below 1.
      eps: added to the root of the mean square, >= 0, as in Adam.

    Returns:
      A transformation whose `update` needs `params` and `value_fn`, and takes the loss at `params` from `value`.

    References:
      experiments/self_tuning; Dozat, "Incorporating Nesterov Momentum into Adam", 2016, whose direction it is, with
      the bias correction of `optax.scale_by_adam(nesterov=True)`; Shamir and Zhang, "Stochastic Gradient Descent for
      Non-smooth Optimization", 2013, whose polynomial-decay averaging with :math:`\eta = 8` it is.

    Costs:
      One loss beyond the gradient handed in, in each eighth step two; no backward pass. Four copies of the parameters
      as state, two more than Adam's. Under `jax.vmap` the second loss is evaluated at every step.

    Deviations:
      * The moments and the average are kept in float32 where parameters are of lower precision.
      * A loss or gradient that is not finite (or whose square sum overflows) moves nothing and stores nothing but
        `notfinite_count` + 1. A loss that is not finite at the previous parameters alone halves the rate and moves
        nothing, but the moments advance.
      * Nothing may change the update behind it in a chain, or `eval_params` refuses. Clip before it.

    Notes:
      What `scale_by_hindsight` says of masks, `optax.MultiSteps` and low precision holds here.
    """
    hindsight.check(initial_rate, relaxation, every)
    contract.check_number("weight_decay", weight_decay, "a negative one makes parameters grow", at_least=0.0)
    for name, value in (("b1", b1), ("b2", b2)):
        contract.check_number(name, value, "it is what a mean keeps", at_least=0.0, below=1.0, fixed="a mean has one")
    contract.check_number("eps", eps, "it keeps a division defined", at_least=0.0, fixed="nobody varies it")

    def init(params: optax.Params) -> TuningFreeState:
        contract.check_params("tuning_free", params)
        scalars = hindsight.fresh_scalars(initial_rate)
        return TuningFreeState(
            **scalars,
            previous=trees.fresh_copy(params),
            mean=jax.tree.map(lambda p: jnp.zeros_like(p, dtype=_wide(p)), params),
            square=jax.tree.map(lambda p: jnp.zeros_like(p, dtype=_real(p)), params),
            lead=jnp.zeros((), trees.accumulation_dtype()),
            average=jax.tree.map(_wide_copy, params),
        )

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del grad  # the incoming updates are the gradient
        loss, value = hindsight.bound_loss("tuning_free", params, value, value_fn, extra)
        finite = jnp.isfinite(value) & jnp.isfinite(trees.norm(updates))
        due, average = hindsight.is_due(state.count, every), _averaged(state.average, params, state.count)
        aside = due & (state.count >= hindsight.ALWAYS_MEASURED) & (state.count // every % ASIDE == ASIDE - 1)
        before = hindsight.measure(loss, state.previous, due, every == 1)
        of_average = hindsight.measure(loss, trees.cast_like(average, params), aside, always=False)
        seen = hindsight.look_back(state, params, value, updates, before, due, finite)
        rates = hindsight.follow(state, seen, contract.at_step(relaxation, state.count), every, bounded=True)
        mean, square = _moments(updates, state, b1, b2, seen.finite)
        direction = _direction(updates, mean, square, state.count, b1, b2, eps)
        direction = _with_decay(direction, params, contract.at_step(weight_decay, state.count), mask)
        step = jnp.where(seen.finite & ~seen.failed, rates.rate, 0.0)
        new = hindsight.advance(state, seen, rates, value)._replace(
            previous=optax.tree.where(seen.finite, params, state.previous),
            mean=mean,
            square=square,
            lead=jnp.where(aside & seen.finite, _compared(state.lead, of_average, value), state.lead),
            average=optax.tree.where(seen.finite, average, state.average),
        )
        return hindsight.moved(-step, direction, params), new

    return contract.transformation("tuning_free", TuningFreeState, init, update, sees_loss=True)


# --- The direction ----------------------------------------------------------------------------------------------------


def _wide(leaf: Any) -> Any:
    return jnp.promote_types(trees.leaf_dtype(leaf), jnp.float32)


def _real(leaf: Any) -> Any:
    return jnp.finfo(_wide(leaf)).dtype


def _wide_copy(leaf: Any) -> jax.Array:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jnp.zeros_like(leaf, dtype=_wide(leaf))
    return jnp.array(leaf, dtype=_wide(leaf), copy=True)


def _moments(gradient: Any, state: TuningFreeState, b1: Any, b2: Any, finite: jax.Array) -> tuple[Any, Any]:
    """Return both moments with this gradient in them; as they were where it is not finite."""

    def first(m, g):
        return jnp.where(finite, (b1 * m + (1 - b1) * g).astype(m.dtype), m)

    def second(v, g):
        return jnp.where(finite, (b2 * v + (1 - b2) * jnp.square(jnp.abs(g)).astype(v.dtype)).astype(v.dtype), v)

    return jax.tree.map(first, state.mean, gradient), jax.tree.map(second, state.square, gradient)


def _direction(gradient: Any, mean: Any, square: Any, count: jax.Array, b1: Any, b2: Any, eps: Any) -> Any:
    """Return the direction of Nesterov-Adam, computed from the new moments."""
    steps = count.astype(trees.accumulation_dtype()) + 1
    of_mean, of_gradient = b1 / (1 - b1 ** (steps + 1)), (1 - b1) / (1 - b1**steps)
    of_square = 1 / (1 - b2**steps)

    def leaf(g, m, v):
        g = g.astype(m.dtype)
        root = jnp.sqrt(of_square.astype(v.dtype) * v) + eps
        ahead = of_mean.astype(v.dtype) * m + of_gradient.astype(v.dtype) * g
        return jnp.where(root > 0, ahead / jnp.where(root > 0, root, 1), 0)

    return jax.tree.map(leaf, gradient, mean, square)


def _with_decay(direction: Any, params: Any, weight_decay: Any, mask: Any) -> Any:
    """Add the decay of the leaves that the mask names."""
    if contract.is_number(weight_decay) and weight_decay == 0:
        return direction
    decays = mask(params) if callable(mask) else mask
    leaves = jax.tree.map(lambda _: True, params) if decays is None else _spread(decays, params)
    return jax.tree.map(lambda d, p, on: d + weight_decay * p if on else d, direction, params, leaves)


def _spread(prefix: Any, params: Any) -> Any:
    return jax.tree.map(lambda on, below: jax.tree.map(lambda _: on, below), prefix, params)


def _averaged(average: Any, params: Any, count: jax.Array) -> Any:
    """Return the average with `params` in it, the iterate after `count` steps; the start drops out."""
    steps = jnp.maximum(count, 1).astype(trees.accumulation_dtype())
    weight = RECENT / (steps + (RECENT - 1))
    return jax.tree.map(
        lambda a, p: (a + weight * trees.difference(p.astype(a.dtype), a)).astype(a.dtype), average, params
    )


def _compared(lead: jax.Array, of_average: jax.Array, of_params: jax.Array) -> jax.Array:
    """Return the mean lead of the parameters with one more comparison in it."""
    size = jnp.abs(of_average) + jnp.abs(of_params)
    new = (of_average - of_params) / jnp.where(size > 0, size, 1.0)
    new = jnp.where(jnp.isfinite(new), new, 1.0)  # the loss at the average alone is not finite
    return jnp.where(lead == 0, new, KEPT * lead + (1 - KEPT) * new).astype(lead.dtype)


CARD = contract.Card(
    name="tuning_free",
    make=tuning_free,
    paper="this package, experiments/self_tuning, 2026",
    example={"weight_decay": 0.0},
    cost=contract.Cost(values=1.125),
    state_copies=4.0,
    static_args=("mask", "every"),
    diagnostics={**hindsight.DIAGNOSTICS, "lead": "relative lead of the parameters over the average; see eval_params"},
    reservations={
        "oracle_calls_are_as_declared": "each eighth step after the first 20 takes two losses: 1.125 in the long run"
    },
)
