r"""SaLSA: Adam whose rate a line search finds, by a rule that compares running means.

Kenneweg, Kenneweg, Fumagalli and Hammer, "No learning rates needed: Introducing SALSA - Stable Armijo Line Search
Adaptation", 2024.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from optaxaccel.methods import contract
from optaxaccel.numerics import loops, trees

__all__ = ["SalsaState", "salsa"]

MOST_TRIALS = 100  # of a search; 0.8^100 is 2e-10
FLAT = 1e-8  # a mean slope below which nothing is searched for
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
      rate: the rate of the last step.
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

    Args:
      init_learning_rate: the rate before the first step, > 0. The first search mends one that is far too large, in
        steps of `decrease_factor`; one that is too small grows by a tenth a step.
      c: share of the mean slope that the mean decrease has to reach, 0 < c < 1, or a schedule of it.
      b1: decay of Adam's mean gradient, 0 <= b1 < 1.
      b2: decay of Adam's mean square, 0 <= b2 < 1.
      b3: decay of the two means of the rule, 0 <= b3 < 1; 0 is Armijo's rule on each batch.
      decrease_factor: by what a trial that is refused is multiplied, 0 < factor < 1.
      increase_factor: by what the last rate is multiplied for the first trial, >= 1.

    Returns:
      A transformation whose `update` needs `params`, `value` and `value_fn`.

    References:
      Kenneweg, Kenneweg, Fumagalli and Hammer, "No learning rates needed: Introducing SALSA - Stable Armijo Line Search
      Adaptation", IJCNN 2024, arXiv:2407.20650. Defaults and the index of Adam's bias are those of the authors' code.

    Costs:
      One loss for each trial, in the long run 1 + log 1.1 / log 1.25 = 1.43 a step: a cut by `decrease_factor` makes up
      for 2.3 raises by `increase_factor`. Two copies of the parameters as state.

    Deviations:
      * A search ends after 100 trials. A loss or gradient that is not finite moves nothing and stores nothing but
        `notfinite_count` + 1; where no trial has a finite loss nothing moves, but the step counts.
      * The authors' code searches in every step or seldom, by what earlier searches did; here every step searches.
      * A trial that changes the loss by nothing is accepted and enters no mean, as in the authors' code.

    Notes:
      * Each batch is asked what is best for itself. With small batches and many steps that is memorising: with
        batches of 32 and wrong labels it ends far behind a tuned Adam.
      * A run can be differentiated, forwards and backwards: the rate as a product of the first one and of factors, of
        which there are as many as the search took; the mean decrease decides only, and has no derivative.
      * With dropout the trials must see the mask of the gradient, as any loss that depends on a key.
    """
    _check(init_learning_rate, c, b1, b2, b3, decrease_factor, increase_factor)

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
        mean, square, direction = _adam(state, updates, b1, b2)
        slope = b3 * state.slope + (1 - b3) * trees.vdot(updates, direction)
        share = contract.at_step(c, state.count)

        first, cut = state.rate * increase_factor, jnp.asarray(decrease_factor, here.dtype)
        # To differentiation the number of trials is a constant, as it is nearly everywhere: no loop is gone back.
        constant = lax.stop_gradient(_Line(params, direction, here, state.decrease, slope, share, first, cut))
        searches = finite & (here != 0) & (slope >= FLAT)
        outcome = _search(loss, constant, b3, searches)
        cuts = (outcome.trials - outcome.passed).astype(here.dtype)
        rate = outcome.rate * (first / constant.first) * (cut / constant.cut) ** cuts
        lost = searches & ~jnp.isfinite(outcome.fell)
        factor = jnp.where(searches & ~lost, rate, 0.0)
        kept = outcome.passed & (outcome.fell != 0)
        decrease = jnp.where(kept, b3 * state.decrease + (1 - b3) * outcome.fell, state.decrease)
        made = SalsaState(
            count=jnp.asarray(optax.safe_increment(state.count)),
            notfinite_count=state.notfinite_count,
            mean=mean,
            square=square,
            decrease=decrease,
            slope=slope,
            rate=jnp.where(searches, rate, first).astype(state.rate.dtype),
            measurement_failed=lost,
            trial_losses=state.trial_losses + outcome.trials,
        )
        still = state._replace(notfinite_count=optax.safe_increment(state.notfinite_count))
        moves = jax.tree.map(lambda d: jnp.where(factor == 0, 0.0, -factor * d), direction)
        return trees.cast_like(moves, params), optax.tree.where(finite, made, still)

    return contract.transformation("salsa", SalsaState, init, update, sees_loss=True)


class _Line(NamedTuple):
    """What a search looks along: from where, which way, what is known there, the first trial, and how it is cut."""

    params: Any
    direction: Any
    value: jax.Array
    decrease: jax.Array
    slope: jax.Array
    share: Any
    first: jax.Array
    cut: jax.Array


class _Outcome(NamedTuple):
    """Where a search ended: the rate, whether it was accepted, what it took from the loss, and the trials."""

    rate: jax.Array
    passed: jax.Array
    fell: jax.Array
    trials: jax.Array


def _adam(state: SalsaState, updates: Any, b1: Any, b2: Any) -> tuple[Any, Any, Any]:
    """Return Adam's moments and its direction, whose bias is taken one step ahead."""
    mean = jax.tree.map(lambda m, g: (b1 * m + (1 - b1) * g).astype(m.dtype), state.mean, updates)
    square = jax.tree.map(lambda v, g: (b2 * v + (1 - b2) * (g * jnp.conj(g))).astype(v.dtype), state.square, updates)
    bias = [1.0 - jnp.asarray(b, state.rate.dtype) ** (state.count + 2.0) for b in (b1, b2)]
    direction = jax.tree.map(lambda m, v: m / bias[0] / (jnp.sqrt(v / bias[1]) + EPSILON), mean, square)
    return mean, square, direction


def _search(loss: Callable, line: _Line, b3: Any, searches: jax.Array) -> _Outcome:
    """Return the first rate that is accepted, of the first one times powers of the cut."""

    def again(search: _Outcome) -> jax.Array:
        return searches & ~search.passed & (search.trials < MOST_TRIALS)

    def trial(search: _Outcome) -> _Outcome:
        moved = jax.tree.map(lambda p, d: (p - search.rate * d).astype(p.dtype), line.params, line.direction)
        fell = line.value - lax.stop_gradient(loss(moved)).astype(line.value.dtype)
        enough = b3 * line.decrease + (1 - b3) * fell >= search.rate * line.share * line.slope
        passed = enough | (fell == 0)
        rate = jnp.where(passed, search.rate, search.rate * line.cut).astype(search.rate.dtype)
        return _Outcome(rate, passed, fell, search.trials + 1)

    none = jnp.zeros((), jnp.int32)
    return loops.while_loop(again, trial, _Outcome(line.first, jnp.zeros((), bool), jnp.zeros_like(line.first), none))


def _check(init_learning_rate, c, b1, b2, b3, decrease_factor, increase_factor) -> None:
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


CARD = contract.Card(
    name="salsa",
    make=salsa,
    paper="Kenneweg et al., No learning rates needed: Introducing SALSA, 2024",
    example={"init_learning_rate": 0.1},
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
