r"""SaLSA: Adam whose rate a line search finds, by a rule that compares running means.

Kenneweg, Kenneweg, Fumagalli and Hammer, "No learning rates needed: Introducing SALSA - Stable Armijo Line Search
Adaptation", 2024.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from optaxaccel.methods import contract
from optaxaccel.methods.armijo_of_means import MOST_TRIALS, Line, search
from optaxaccel.numerics import trees

__all__ = ["SalsaState", "salsa"]

ALWAYS = 9  # steps at the beginning that all search
UNKNOWN = 1e-8  # the means of rates before the first search, as in the authors' code
FLAT = 1e-8  # a mean slope below which nothing is searched for
LARGEST = 1e6  # rate of steps that search for nothing: some sixty trials later it is one
EPSILON = 1e-8  # beside the root of Adam's mean square


class SalsaState(NamedTuple):
    """State of `salsa`.

    Attributes:
      count: steps made, those that did not move included, int32.
      notfinite_count: updates held still because the loss or the gradient was not finite, int32.
      mean: Adam's mean gradient, a tree like the parameters.
      square: Adam's mean square, likewise.
      decrease: running mean of what a step took from the loss of its own batch.
      slope: running mean of the slope along the direction.
      rate: the rate of the last search.
      fast: running mean of the searches' rates with the decay 0.9.
      slow: the same with the decay 0.99.
      since: steps since the last search that accepted a trial, int32.
      measurement_failed: whether no trial of the last search had a finite loss.
      trial_losses: losses that the searches took so far, int32.
    """

    count: jax.Array
    notfinite_count: jax.Array
    mean: optax.Updates
    square: optax.Updates
    decrease: jax.Array
    slope: jax.Array
    rate: jax.Array
    fast: jax.Array
    slow: jax.Array
    since: jax.Array
    measurement_failed: jax.Array
    trial_losses: jax.Array

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """The rate, the two means, and how many losses the searches took."""
        readings = {"rate": self.rate, "decrease": self.decrease, "slope": self.slope}
        return readings | {"trial_losses": self.trial_losses}


def salsa(
    init_learning_rate: float | jax.Array = 1.0,
    *,
    c: optax.ScalarOrSchedule = 0.5,
    b1: float | jax.Array = 0.9,
    b2: float | jax.Array = 0.999,
    b3: float | jax.Array = 0.9,
    decrease_factor: float | jax.Array = 0.8,
    increase_factor: float | jax.Array = 1.1,
    max_interval: float | jax.Array = 1,
    momentum_in_search: bool = True,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Adam at the rate that an Armijo search of running means finds on every batch (SaLSA).

    Example:
      Adam's first direction is the sign of the gradient, here with its bias one step ahead: 0.1 g / 0.19 over
      the root of 0.001 g^2 / 0.001999, 0.7441 for g = 3. A step of 1.1 times that along f(w) = w^2 / 2 takes
      (3^2 - 2.1815^2) / 2 = 2.12 from the loss, more than half of the slope times the rate, 1.23:

      >>> import jax.numpy as jnp, optaxaccel
      >>> tx = optaxaccel.salsa()
      >>> loss = lambda w: 0.5 * w**2
      >>> w = jnp.array(3.0)
      >>> update, state = tx.update(w, tx.init(w), w, value=loss(w), value_fn=loss)
      >>> round(float(w + update), 4), round(float(state.rate), 4)
      (2.1815, 1.1)

    A search that judges every batch by itself stops at whatever a noisy one says. Here what a step takes from the loss
    of its own batch, and the slope along it, enter running means first, and Armijo's rule compares these.

    .. math::

        h_t &= \beta_3 h_{t-1} + (1 - \beta_3) \big( f_t(x_t) - f_t(x_t - \eta_t d_t) \big), \qquad
        s_t = \beta_3 s_{t-1} + (1 - \beta_3)\, g_t^T d_t, \\
        \eta_t &= \max \{ \delta^j \gamma \eta_{t-1} : j = 0, 1, \dots \} \text{ with } h_t \ge c\, \eta_t s_t, \qquad
        x_{t+1} = x_t - \eta_t d_t

    with d Adam's direction, f the loss of the batch of step t, :math:`\delta` = `decrease_factor`, :math:`\gamma` =
    `increase_factor`, :math:`\eta_0` = `init_learning_rate`, h = s = 0 at first. Products run over all leaves.

    With `max_interval` above 1, steps between two searches go :math:`\gamma` times the last search's rate along Adam's
    direction, and cost no loss. A search is due in the first nine steps, and once as many steps have passed since the
    last as

    .. math::

        L_t = \min \Big\{ L_{\max},\ \frac{1}{\max(q, 1/q) - 1} \Big\}, \qquad q = \frac{\text{mean of } \eta
        \text{ over about ten searches}}{\text{mean over about a hundred}}

    so that searches are rare where their rates no longer change. Both means begin at 1e-8, as in the authors' code, so
    that q is far from 1 over the first hundred searches or so.

    Args:
      init_learning_rate: the rate before the first step, > 0. The first search mends one that is far too large, in
        steps of `decrease_factor`; one that is too small grows by a tenth a step.
      c: share of the mean slope that the mean decrease has to reach, 0 < c < 1, or a schedule of it.
      b1: decay of Adam's mean gradient, 0 <= b1 < 1.
      b2: decay of Adam's mean square, 0 <= b2 < 1.
      b3: decay of the two means of the rule, 0 <= b3 < 1; 0 is Armijo's rule on each batch.
      decrease_factor: by what a trial that is refused is multiplied, 0 < factor < 1.
      increase_factor: by what the last rate is multiplied for the first trial, >= 1.
      max_interval: most steps from a search to the next, :math:`L_{\max}` >= 1. 10 in the authors' code; 1 searches in
        every step.
      momentum_in_search: whether a search goes along Adam's direction. False: along :math:`g / \sqrt v`, which is also
        what its step takes, and only steps between searches have momentum; the default of the authors' newer code,
        whose comment recommends True.

    Returns:
      A transformation whose `update` needs `params`, `value` and `value_fn`.

    References:
      Kenneweg, Kenneweg, Fumagalli and Hammer, "No learning rates needed: Introducing SALSA - Stable Armijo Line Search
      Adaptation", IJCNN 2024, arXiv:2407.20650. The numbers, the rule of :math:`L_t` and the index of Adam's bias are
      those of the authors' code. The defaults here are those of its first release (April 2024); `max_interval=10` came
      in May 2024, `momentum_in_search=False` in August.

    Costs:
      One loss for each trial, in the long run 1 + log 1.1 / log 1.25 = 1.43 a search: a cut by `decrease_factor` makes
      up for 2.3 raises by `increase_factor`. Two copies of the parameters as state.

    Deviations:
      * A search ends after 100 trials, which leaves the rate as it was, and where the rule asks less than a rounding of
        the loss, which no loss can tell; nothing moves, but the step counts. The authors' code searches on, and its
        rate goes to zero at a minimum. A loss or gradient that is not finite moves nothing and stores nothing but
        `notfinite_count` + 1.
      * Where the mean slope is below 1e-8, or the loss is zero, nothing moves, as in the first versions of the authors'
        code; in later ones the step is taken. There the rate grows by a tenth each time; here it does, up to a
        million, only where the direction has turned uphill, and stays where there is nothing to gain.
      * After a search that accepts nothing the next step searches, too, where that code goes on by the last rate.
      * A trial that changes the loss by nothing is accepted and enters no mean, as in the authors' code.

    Notes:
      * Each batch is asked what is best for itself. With small batches and many steps that is memorising: with
        batches of 32 and wrong labels it ends far behind a tuned Adam.
      * A run can be differentiated, forwards and backwards: the rate as a product of the first one and of factors, of
        which there are as many as the search took; the mean decrease decides only, and has no derivative.
      * With dropout the trials must see the mask of the gradient, as any loss that depends on a key.
    """
    contract.check_static(momentum_in_search=momentum_in_search)
    _check(init_learning_rate, c, b1, b2, b3, decrease_factor, increase_factor, max_interval)

    def init(params: optax.Params) -> SalsaState:
        contract.check_params("salsa", params)
        dtype = trees.accumulation_dtype()
        return SalsaState(
            count=jnp.zeros((), jnp.int32),
            notfinite_count=jnp.zeros((), jnp.int32),
            mean=trees.zeros_like(params),
            square=trees.zeros_like(params),
            decrease=jnp.zeros((), dtype),
            slope=jnp.zeros((), dtype),
            rate=jnp.array(init_learning_rate, dtype),
            fast=jnp.array(UNKNOWN, dtype),
            slow=jnp.array(UNKNOWN, dtype),
            since=jnp.zeros((), jnp.int32),
            measurement_failed=jnp.zeros((), bool),
            trial_losses=jnp.zeros((), jnp.int32),
        )

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        del grad  # the incoming updates are the gradient
        contract.require_params("salsa", params)
        contract.require_extra("salsa", "value", value)
        loss = contract.bind_value_fn("salsa", value_fn, extra)
        here = jnp.asarray(value, trees.accumulation_dtype())
        finite = contract.loss_is_finite(value) & jnp.isfinite(trees.norm(updates))
        due = _due(state, max_interval)
        mean, square, direction = _adam(state, updates, b1, b2, ~due | momentum_in_search)
        slope = jnp.where(due, b3 * state.slope + (1 - b3) * trees.vdot(updates, direction), state.slope)
        share = contract.at_step(c, state.count)

        first, cut = state.rate * increase_factor, jnp.asarray(decrease_factor, here.dtype)
        # To differentiation the number of trials is a constant, as it is nearly everywhere: no loop is gone back.
        constant = lax.stop_gradient(Line(params, direction, here, state.decrease, slope, share, first, cut))
        searches = finite & due & (here != 0) & (slope >= FLAT)
        outcome = search(loss, constant, b3, searches)
        cuts = (outcome.trials - outcome.passed).astype(here.dtype)
        rate = outcome.rate * (first / constant.first) * (cut / constant.cut) ** cuts
        lost = searches & ~jnp.isfinite(outcome.fell)
        factor = jnp.where(due, jnp.where(searches & outcome.passed, rate, 0.0), first)
        kept = outcome.passed & (outcome.fell != 0)
        grown = jnp.maximum(state.rate, jnp.minimum(first, LARGEST))  # where the direction has turned uphill
        stays = lost | (outcome.trials == MOST_TRIALS) & ~outcome.passed
        rate = jnp.where(searches, jnp.where(stays, state.rate, rate), state.rate)
        rate = jnp.where(due & ~searches & (slope <= -FLAT) & (here != 0), grown, rate)
        rate = rate.astype(state.rate.dtype)
        decrease = jnp.where(kept, b3 * state.decrease + (1 - b3) * outcome.fell, state.decrease)
        made = SalsaState(
            count=jnp.asarray(optax.safe_increment(state.count)),
            notfinite_count=state.notfinite_count,
            mean=mean,
            square=square,
            decrease=decrease,
            slope=slope,
            rate=rate,
            fast=jnp.where(due, 0.9 * state.fast + 0.1 * rate, state.fast),
            slow=jnp.where(due, 0.99 * state.slow + 0.01 * rate, state.slow),
            since=jnp.where(due & outcome.passed, 0, optax.safe_increment(state.since)).astype(jnp.int32),
            measurement_failed=lost,
            trial_losses=state.trial_losses + outcome.trials,
        )
        still = state._replace(notfinite_count=optax.safe_increment(state.notfinite_count))
        moves = jax.tree.map(lambda d: jnp.where(factor == 0, 0.0, -factor * d), direction)
        return trees.cast_like(moves, params), optax.tree.where(finite, made, still)

    return contract.transformation("salsa", SalsaState, init, update, sees_loss=True)


def _due(state: SalsaState, max_interval: Any) -> jax.Array:
    """Return whether this step searches: early, or once the rates of the searches so far say so."""
    change = jnp.maximum(state.fast / state.slow, state.slow / state.fast)
    interval = jnp.minimum(max_interval, 1 / (change - 1 + 1e-8))
    return (state.count < ALWAYS) | (state.since + 1 >= interval)


def _adam(state: SalsaState, updates: Any, b1: Any, b2: Any, momentum: jax.Array) -> tuple[Any, Any, Any]:
    """Return Adam's moments and its direction, with or without momentum, whose bias is taken one step ahead."""
    mean = jax.tree.map(lambda m, g: (b1 * m + (1 - b1) * g).astype(m.dtype), state.mean, updates)
    square = jax.tree.map(lambda v, g: (b2 * v + (1 - b2) * (g * jnp.conj(g))).astype(v.dtype), state.square, updates)
    bias = [1.0 - jnp.asarray(b, state.rate.dtype) ** (state.count + 2.0) for b in (b1, b2)]

    def along(m, v, g):
        return jnp.where(momentum, m / bias[0], g) / (jnp.sqrt(v / bias[1]) + EPSILON)

    return mean, square, jax.tree.map(along, mean, square, updates)


def _check(init_learning_rate, c, b1, b2, b3, decrease_factor, increase_factor, max_interval) -> None:
    """Raise ValueError for hyperparameters out of range."""
    fixed = "the state is made of it, or its past"
    why = "the first search starts from it"
    contract.check_number("init_learning_rate", init_learning_rate, why, above=0.0, below=float("inf"), fixed=fixed)
    contract.check_number("c", c, "it is the share of the slope that the decrease has to reach", above=0.0, below=1.0)
    for name, value in (("b1", b1), ("b2", b2), ("b3", b3)):
        why = "it is the share of the old mean"
        contract.check_number(name, value, why, at_least=0.0, below=1.0, fixed="its bias is that of a constant")
    why = "it cuts a trial that is refused"
    contract.check_number("decrease_factor", decrease_factor, why, above=0.0, below=1.0, fixed=fixed)
    why = "the first trial is that much longer than the last step"
    contract.check_number("increase_factor", increase_factor, why, at_least=1.0, below=float("inf"), fixed=fixed)
    why = "it is the largest number of steps from a search to the next"
    contract.check_number("max_interval", max_interval, why, at_least=1.0, below=float("inf"), fixed=fixed)


CARD = contract.Card(
    name="salsa",
    make=salsa,
    paper="Kenneweg et al., No learning rates needed: Introducing SALSA, 2024",
    example={"init_learning_rate": 0.1},
    static_args=("momentum_in_search",),
    cost=contract.Cost(values=1.43),
    state_copies=2.0,
    diagnostics={
        "rate": "rate of the step",
        "decrease": "running mean of what a step takes from the loss of its batch, without its correction at the start",
        "slope": "running mean of the slope along the direction, likewise",
        "trial_losses": "losses that the searches took so far",
    },
    reservations={
        "oracle_calls_are_as_declared": "a search takes the losses that it needs, 1.43 in the long run; where the mean "
        "slope is below 1e-8, as at the end here, nothing is searched for",
    },
)
