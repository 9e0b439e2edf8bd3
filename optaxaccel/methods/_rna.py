r"""Online RNA: any method, sent now and then to the point that its own progress points to.

From the published code of Scieur, Oyallon, d'Aspremont and Bach, "Nonlinear Acceleration of CNNs", 2018. `rna` goes
around any transformation; `rna_sgd` is built from numbers alone.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from optaxaccel.methods import contract
from optaxaccel.methods.contract import Card
from optaxaccel.methods.heavy_ball import heavy_ball
from optaxaccel.numerics import extrapolation_weights, ring, sequences, trees
from optaxaccel.numerics.boxes import boxing, unboxed
from optaxaccel.numerics.branching import when

__all__ = ["RnaState", "rna", "rna_sgd"]


class RnaState(NamedTuple):
    """State of `rna` and `rna_sgd`.

    Attributes:
      count: updates made, int32.
      notfinite_count: updates held still because the loss was not finite, int32.
      num_pairs: periods in the window since it was opened, int32; the last `history` of them count.
      starts: ring of the points where periods started, each leaf with a leading axis of `history` slots.
      ends: ring of the points where they ended; that of the period going on is the newest point.
      base_state: state of the base.
    """

    count: jax.Array
    notfinite_count: jax.Array
    num_pairs: jax.Array
    starts: optax.Params
    ends: optax.Params
    base_state: optax.OptState

    @property
    def hands_on(self) -> bool:
        """The base's updates are handed on; see `optaxaccel.eval_params`."""
        return True


def rna(
    base: optax.GradientTransformation,
    *,
    history: int = 10,
    period: int = 100,
    regularization: optax.ScalarOrSchedule = 1e-8,
    start: int = 0,
    reset_base: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Let a method run, and after every period continue from the extrapolation of its last periods (online RNA).

    Example:
      Two curvatures, far apart. The residuals of three periods of one step tell where the minimum 0 is; gradient
      descent alone would be at 0.97 on the flat axis:

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> loss = lambda x: (x[0]**2 + 0.01 * x[1]**2) / 2
      >>> tx = optaxaccel.rna(optax.sgd(1.0), period=1, regularization=0.0)
      >>> params = jnp.array([1.0, 1.0])
      >>> state = tx.init(params)
      >>> for _ in range(3):
      ...     updates, state = tx.update(jax.grad(loss)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> abs(params).round(2).tolist()
      [0.0, 0.0]

    A period of steps leads from s to e. Near a minimum e depends on s about linearly, and the residual e - s vanishes
    at the minimum alone. So the weights that make the mean of the last residuals shortest make the mean of the last end
    points a good place to go on from. What is extrapolated are pairs of end point and residual, not a sequence of
    points: their differences would contain the jumps.

    .. math::

        s_{i+1} = \sum_{j = i - K + 1}^{i} c_j e_j, \qquad
        c = \arg\min_{1^T c = 1} \lVert R c \rVert^2 + \lambda \lVert R^T R \rVert_2 \lVert c \rVert^2, \qquad
        R = [e_j - s_j]_j

    where :math:`e_i` is what `base` makes of :math:`s_i` in `period` steps, K = `history` (fewer at first) and
    :math:`\lambda` = `regularization`.

    Args:
      base: the transformation that makes the steps; it gets all extra arguments.
      history: pairs K kept, an integer >= 1. 10 as in the authors' code.
      period: steps between two extrapolations, an integer >= 1; an epoch in the authors' code.
      regularization: :math:`\lambda` >= 0, in units of the largest eigenvalue of R'R, or a schedule of it. The default
        is the paper's for
        its offline use; the authors' online class has 1e-5. It limits how far an extrapolation goes: noise and losses
        that are not quadratic yet want more (down a curved valley 1e-4 diverged where 1e-2 was the fastest).
      start: periods at the beginning that are forgotten, an integer >= 0.
      reset_base: whether the state of the base starts anew at each extrapolated point, which periods that are
        forgotten have none of. Otherwise its momentum, its step count and its schedules go on. A base whose parameters
        are a look-ahead point wants it.

    Returns:
      A transformation whose `update` needs `params`, and what the base needs.

    References:
      Scieur, Oyallon, d'Aspremont and Bach, "Nonlinear Acceleration of CNNs", 2018, and the class `online_rna` of its
      published code; Scieur, Bach and d'Aspremont, "Nonlinear Acceleration of Stochastic Algorithms", 2017.

    Costs:
      No oracle call beyond the base's. 2 `history` copies of the parameters as state, besides the base's. A step writes
      one more copy and reads another: 1.6 times an update of SGD with momentum. Once a period, the time of about 5
      copies of one ring, and memory for two copies of the parameters (for several of each leaf where sharding may
      split it, see `extrapolate`).

    Deviations:
      * The residual is e - s for any base. With plain SGD at a constant rate it is the mean gradient of the period
        times a number, which is what the authors' class keeps, and the weights are the same. With momentum they are
        not: the class goes on with the mean gradient, which is then not where a period has led, and its runs differ
        (by a quarter after 60 steps of one quadratic).
      * The weights come from an orthogonalisation that float32 does not spoil; see `extrapolate`.
      * Where the extrapolation is not finite the end point stays, and the window is opened anew.
      * A step whose `value`, if given, is not finite moves nothing and is not counted; the base says what becomes of
        its state (the methods of this package keep it). The gradient is not looked at: `optax.apply_if_finite` does
        that.
    """
    contract.check_static(history=history, period=period, start=start, reset_base=reset_base)
    contract.check_count("history", history, "it is the number of pairs that are extrapolated")
    contract.check_count("period", period, "it is the number of steps between two extrapolations")
    contract.check_count("start", start, "it is the number of periods that are forgotten", at_least=0)
    why = "a negative one is no longer a least-squares problem"
    contract.check_number("regularization", regularization, why, at_least=0.0, below=float("inf"))
    base = contract.base_of("rna", base)

    def init(params: optax.Params) -> RnaState:
        contract.check_params("rna", params)

        def zero():
            return jnp.zeros((), jnp.int32)

        starts, ends = (ring.stack_copies(unboxed(params), history) for _ in range(2))
        return RnaState(zero(), zero(), zero(), starts, ends, base.init(params))

    def update(updates, state, params: Any = None, *, value=None, grad=None, value_fn=None, **extra):
        contract.require_params("rna", params)
        extras = contract.handed_on(extra, value=value, grad=grad, value_fn=value_fn)
        updates, base_state = base.update(updates, state.base_state, params, **extras)
        finite = contract.loss_is_finite(value)
        updates = jax.tree.map(lambda u, p: jnp.where(finite, u, 0).astype(p.dtype), updates, params)
        count = jnp.where(finite, optax.safe_increment(state.count), state.count)
        notfinite = jnp.where(finite, state.notfinite_count, optax.safe_increment(state.notfinite_count))
        # The newest point is written in every step, so that the updates are not an operand of the loop below: those
        # would have to lie in memory, which takes twice as long as this.
        here = unboxed(jax.tree.map(jnp.add, params, updates))
        ends = ring.write(state.ends, state.num_pairs % history, here)
        due = finite & (count % period == 0)

        boxed = boxing(params)
        anew = base.init  # all of the base that may be held by what is traced; its update may know tracers

        def end_period(carry, ends, counts, ridge):
            num_pairs, starts, old = carry
            num_pairs, new = _next_start(num_pairs, starts, ends, history, ridge, counts)
            starts = ring.write(starts, num_pairs % history, new)
            fresh = ()
            if reset_base:  # only where there is an extrapolated point to start anew from
                fresh = optax.tree.where(num_pairs > 0, trees.cast_like(anew(boxed(new)), old), old)
            return num_pairs, starts, fresh

        carry = (state.num_pairs, state.starts, base_state if reset_base else ())
        ridge = jnp.asarray(contract.at_step(regularization, state.count), trees.accumulation_dtype())
        num_pairs, starts, fresh = when(due, end_period, carry, ends, count > start * period, ridge)
        new = boxed(ring.read(starts, num_pairs % history))
        updates = jax.tree.map(lambda u, x, p: jnp.where(due, trees.difference(x, p), u), updates, new, params)
        base_state = fresh if reset_base else base_state
        return updates, RnaState(count, notfinite, num_pairs, starts, ends, base_state)

    return contract.transformation("rna", RnaState, init, update)


def _next_start(num_pairs, starts, ends, history, regularization, counts) -> tuple[jax.Array, optax.Params]:
    """Return the number of pairs in the window, which a period that does not count opens anew, and the next start."""
    newest = num_pairs % history
    pairs = sequences.of_pairs(starts, ends, num_pairs + 1, newest, history)
    columns = sequences.columns_of(pairs)
    weights, care = extrapolation_weights.weights_and_care(columns, pairs.mask, regularization)
    new = sequences.combine(pairs, weights, 0, care)
    end = ring.read(ends, newest)
    keeps = _can_be_reached(new, ends, newest) & counts
    num_pairs = jnp.where(keeps, optax.safe_increment(num_pairs), 0)
    return num_pairs, optax.tree.where(keeps, new, end)


def _can_be_reached(new, ends, newest) -> jax.Array:
    """Return whether the difference to the end point is finite; the same infinity in both counts as standing still."""
    # Almost always the new point alone tells: what lies within a quarter of its dtype's range is reached without
    # overflow, and the end point is not read once more (up to a tenth of a step that extrapolates every third time).
    return lax.cond(
        trees.all_finite(new, times=4),
        lambda *_: jnp.ones((), bool),
        lambda new, ends: trees.all_finite(jax.tree.map(trees.difference, new, ring.read(ends, newest))),
        new,
        ends,
    )


# --- From numbers alone -----------------------------------------------------------------------------------------------


def rna_sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: optax.ScalarOrSchedule = 0.0,
    history: int = 10,
    period: int = 100,
    regularization: optax.ScalarOrSchedule = 1e-8,
    start: int = 0,
    reset_base: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Run SGD, and after every period continue from the extrapolation of its last periods.

    Example:
      On a line one period is enough to know where the minimum 3 is, two are needed to know that one knows:

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> tx = optaxaccel.rna_sgd(0.1, period=5, regularization=0.0)
      >>> x = jnp.array(0.0)
      >>> state = tx.init(x)
      >>> for _ in range(10):
      ...     updates, state = tx.update(x - 3.0, state, x)
      ...     x = optax.apply_updates(x, updates)
      >>> round(float(x), 5)
      3.0

    `rna` around stochastic gradient descent with heavy-ball momentum, :math:`m \leftarrow \mu m + g`,
    :math:`x \leftarrow x - \gamma m`, as in the authors' class.

    Args:
      learning_rate: step :math:`\gamma`, >= 0, or a schedule of it.
      momentum: :math:`\mu`, 0 <= mu < 1, or a schedule of it.
      history: pairs K kept, an integer >= 1. 10 as in the authors' code.
      period: steps between two extrapolations, an integer >= 1; an epoch in the authors' code.
      regularization: :math:`\lambda` >= 0, in units of the largest eigenvalue of R'R, or a schedule of it. The default
        is the paper's for its offline use; the authors' online class has 1e-5. It limits how far an extrapolation goes:
        noise and losses that are not quadratic yet want more (down a curved valley 1e-4 diverged where 1e-2 was the
        fastest).
      start: periods at the beginning that are forgotten, an integer >= 0.
      reset_base: whether the state of the base starts anew at each extrapolated point, of which forgotten
        periods have none: its momentum, its step count and with it the schedules. Otherwise they go on.

    Returns:
      A transformation whose `update` needs `params`.

    References:
      Scieur, Oyallon, d'Aspremont and Bach, "Nonlinear Acceleration of CNNs", 2018, and the class `online_rna` of its
      published code.

    Costs:
      No oracle call beyond the gradient. 2 `history` + 1 copies of the parameters as state. A step takes 1.6 times an
      update of SGD with momentum; once a period, the time of about 5 copies of one ring.

    Deviations:
      Those of `rna`. A step whose `value`, if given, is not finite does not change the momentum. The gradient is not
      looked at: `optax.apply_if_finite` does that.
    """
    contract.check_learning_rate(learning_rate)
    contract.check_number("momentum", momentum, "it is the share of the velocity kept", at_least=0.0, below=1.0)
    return rna(
        heavy_ball("rna_sgd", learning_rate, momentum),
        history=history,
        period=period,
        regularization=regularization,
        start=start,
        reset_base=reset_base,
    )


CARD = Card(
    name="rna_sgd",
    make=rna_sgd,
    paper="Scieur, Oyallon, d'Aspremont and Bach, 2018",
    example={"learning_rate": 0.5, "history": 4, "period": 3, "regularization": 0.03},
    state_copies=21.0,
    example_copies=9.0,
    static_args=("history", "period", "start", "reset_base"),
)
