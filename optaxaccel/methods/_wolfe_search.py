"""A line search for the directions of any method, by the conditions of Wolfe."""

import enum
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract, masks
from optaxaccel.methods.compiled_once import compiled_once
from optaxaccel.methods.loss_along_line import loss_and_slope, refuse_integers
from optaxaccel.numerics import flat, trees
from optaxaccel.numerics.line_search.hager_zhang import hager_zhang
from optaxaccel.numerics.line_search.rule import Rule, Verdict, search
from optaxaccel.numerics.line_search.strong_wolfe import strong_wolfe

__all__ = ["SearchStatus", "WolfeSearchState", "scale_by_wolfe_search"]

SEARCHES = ("strong_wolfe", "hager_zhang")


class SearchStatus(enum.IntEnum):
    """How a search or a whole minimisation stands; the number that `status` holds."""

    RUNNING = 0  # no step yet, or the last one was accepted
    CONVERGED = 1  # the gradient is zero, or as small as was asked
    PRECISION_LOSS = 2  # no step along the direction satisfies the conditions: rounding hides the decrease
    NO_DESCENT = 3  # the direction does not descend, or its slope is zero or infinite in floating point
    LIMIT = 4  # the evaluations or steps that were allowed are used up
    NOT_FINITE = 5  # the loss or the gradient at the start is not finite
    STOPPED = 6  # a callback asked to stop


class WolfeSearchState(NamedTuple):
    """State of `scale_by_wolfe_search`.

    Attributes:
      count: updates made, int32.
      notfinite_count: updates held still because the loss or the gradient was not finite, int32.
      evaluations: losses with gradients that the searches took so far, int32.
      step_size: the step along the last direction.
      status: a `SearchStatus`, int32.
      value: the loss at the accepted point, in the real dtype of the parameters; inf before the first step.
      grad: the gradient there, a tree like the parameters.
      last_value: the loss before the last step; inf before the first.
      aux: the auxiliary output at the accepted point, or None.
    """

    count: jax.Array
    notfinite_count: jax.Array
    evaluations: jax.Array
    step_size: jax.Array
    status: jax.Array
    value: jax.Array
    grad: optax.Updates
    last_value: jax.Array
    aux: Any

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """The step, the evaluations so far, and whether the search failed."""
        failed = self.status > int(SearchStatus.CONVERGED)
        return {"step_size": self.step_size, "evaluations": self.evaluations, "share_failed": failed}


def scale_by_wolfe_search(
    *,
    search: str = "strong_wolfe",
    decrease: float | None = None,
    curvature: float = 0.9,
    max_evaluations: int = 130,
    aux: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scale a descent direction to a step that satisfies the conditions of Wolfe.

    Example:
      Steepest descent on f(w) = w^2 from w = 3. The first trial moves by about 1, the search goes on to the minimum:

      >>> import jax, jax.numpy as jnp, optax, optaxaccel
      >>> tx = optax.chain(optax.scale(-1.0), optaxaccel.scale_by_wolfe_search(curvature=0.1))
      >>> loss = lambda w: w**2
      >>> w = jnp.array(3.0)
      >>> update, state = tx.update(2 * w, tx.init(w), w, value=loss(w), grad=2 * w, value_fn=loss)
      >>> abs(round(float(w + update), 3)), round(float(state[1].value), 3), int(state[1].evaluations)
      (0.0, 0.0, 2)

    The incoming updates p have the sign with which they would be added to the parameters. Every trial takes one loss
    and one gradient; those of the accepted point are kept, and `optax.value_and_grad_from_state` finds them, so that
    the next step need not evaluate again.

    .. math::

        \phi(a) = f(\theta + a p), \qquad \phi(a) \le \phi(0) + c_1 a\, \phi'(0), \qquad
        |\phi'(a)| \le c_2 |\phi'(0)|, \qquad
        a_0 = \min\left(1, 2.02\, \frac{\phi(0) - \phi_{-1}}{\phi'(0)}\right)

    with :math:`c_1` = `decrease`, :math:`c_2` = `curvature`, :math:`a_0` the first trial (1 where that is not
    positive) and :math:`\phi_{-1}` the loss of the step before, :math:`\phi(0) + \lVert \nabla f \rVert / 2` at the
    start. "strong_wolfe" is the search of Moré and Thuente and, where it fails, doubling and zooming, as in SciPy.
    "hager_zhang" asks for :math:`\phi'(a) \ge c_2 \phi'(0)` and takes instead of the first condition also
    :math:`\phi'(a) \le (2 c_1 - 1) \phi'(0)` where :math:`\phi(a) \le \phi(0) + 10^{-6} |\phi(0)|`: close to a minimum
    losses no longer differ in floating point, slopes still do.

    Args:
      search: "strong_wolfe", or "hager_zhang" for the last digits and for float32.
      decrease: :math:`c_1`, 0 to 1/2; None is 1e-4, for "hager_zhang" 0.1.
      curvature: :math:`c_2`, between `decrease` and 1. SciPy's 0.9.
      max_evaluations: trials of one search at most; 100 of Moré and Thuente and what zooming takes by default.
      aux: None, or a tree of arrays or shapes like the auxiliary output: `value_fn` then returns `(loss, aux)`, and
        `state.aux` is that of the accepted point (batch statistics, parts of the loss).

    Returns:
      A transformation whose `update` needs `params` and `value_fn`; without `value` and `grad` it evaluates once more.
      Where no trial is accepted it goes to the lowest one that it has seen, or stays, and `state.status`, a
      `SearchStatus`, tells why.

    Raises:
      ValueError: an argument is out of range, or `value_fn` does not return one number.

    References:
      Moré and Thuente, "Line search algorithms with guaranteed sufficient decrease", 1994; Nocedal and Wright,
      "Numerical optimization", 2006, Algorithms 3.5 and 3.6; Hager and Zhang, "A new conjugate gradient method with
      guaranteed descent and an efficient line search", 2005.

    Costs:
      One loss and one gradient a trial; 1.03 to 1.2 trials a step behind a quasi-Newton direction. One copy of the
      parameters as state.

    Deviations:
      * A trial whose loss or slope is not finite shortens the step by nine tenths, and no later trial goes as far.
      * Where the last step left the loss unchanged, SciPy's first trial is 0 and its search fails; here it is 1.
      * Where SciPy's doubling ends without an interval it returns the last trial, whatever it is; here that is a
        failure, and the lowest trial is kept.

    Notes:
      On several devices `value_fn` is the mean over all of them, and every device takes the same decision, under
      `jax.jit` with shardings, `jax.shard_map` and `jax.pmap`. Under `jax.pmap`, and without `check_vma`, JAX's own
      gradient of such a mean is that of one device's share: hand on `jax.lax.pmean(grad, axis)`, or leave `value` and
      `grad` out. Outside `jax.jit` nothing is compiled anew as long as `value_fn` is the same function; hand
      the batch on by name (`update(..., value_fn=loss, batch=batch)`).
    """
    rule = _rule(search, decrease, curvature)
    contract.check_count("max_evaluations", max_evaluations, "it bounds the trials of a search")

    def init(params: optax.Params) -> WolfeSearchState:
        return fresh_state(params, aux)

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra):
        contract.require_params("scale_by_wolfe_search", params)
        contract.require_extra("scale_by_wolfe_search", "value_fn", value_fn)
        refuse_integers(params)
        if grad is not None:
            grad = masks.hidden_as(updates, grad)  # optax masks the updates, and not what else it hands on
        line = functools.partial(_step, rule, max_evaluations, aux is not None)
        return compiled_once(line, value_fn, updates, state, params, value, grad, extra)

    return contract.transformation("scale_by_wolfe_search", WolfeSearchState, init, update, sees_loss=True)


def fresh_state(params: optax.Params, aux: Any) -> WolfeSearchState:
    """Return the state before the first step, each number in a buffer of its own so that it can be donated."""
    real = functools.partial(jnp.full, (), dtype=trees.accumulation_dtype())
    own = flat.real_dtype(params)  # that of a loss of them; `optax.value_and_grad_from_state` takes no other
    return WolfeSearchState(
        count=jnp.zeros((), jnp.int32),
        notfinite_count=jnp.zeros((), jnp.int32),
        evaluations=jnp.zeros((), jnp.int32),
        step_size=real(0.0),
        status=jnp.zeros((), jnp.int32),
        value=real(jnp.inf).astype(own),
        grad=trees.zeros_like(params),
        last_value=real(jnp.inf),
        aux=None if aux is None else trees.zeros_like(aux),
    )


def _rule(search: str, decrease: float | None, curvature: float) -> Rule:
    contract.check_choice("search", search, SEARCHES)
    decrease = {"strong_wolfe": 1e-4, "hager_zhang": 0.1}[search] if decrease is None else decrease
    contract.check_number("decrease", decrease, "it is the share of the expected decrease", above=0.0, below=0.5)
    contract.check_number("curvature", curvature, "it is the share of the slope left", above=decrease, below=1.0)
    make = {"strong_wolfe": strong_wolfe, "hager_zhang": hager_zhang}[search]
    return make(decrease=decrease, curvature=curvature)


def _step(rule: Rule, max_evaluations: int, has_aux: bool, value_fn, updates, state, params, value, grad, extra):
    """Search along `updates` and return the scaled updates and the new state."""
    evaluate = loss_and_slope(value_fn, extra, params, updates, has_aux, state.grad)
    if value is None or grad is None:
        value, _, (grad, _) = evaluate(jnp.zeros_like(state.last_value))
    value = jnp.asarray(value, state.last_value.dtype)
    grad = trees.cast_like(grad, state.grad)
    slope, size = trees.vdot(grad, updates), trees.norm(grad)
    # Squares of a small gradient are zero and those of a large one infinite: only its entries say what it is.
    largest = trees.largest(grad)
    finite = jnp.isfinite(value) & jnp.isfinite(largest)
    before = jnp.where(jnp.isfinite(state.last_value), state.last_value, value + 0.5 * size)
    descends = finite & (slope < 0) & jnp.isfinite(slope)
    trial = 2.02 * (value - before) / jnp.where(descends, slope, -1.0)
    first = jnp.where(trial > 0, jnp.minimum(trial, 1.0), 1.0)
    outcome = search(
        rule, evaluate, (value, slope, (grad, state.aux)), first, max_evaluations=max_evaluations, needed=descends
    )
    accepted = outcome.verdict == int(Verdict.ACCEPTED)
    spent = outcome.verdict == int(Verdict.SEARCHING)
    status = jnp.where(accepted, int(SearchStatus.RUNNING), int(SearchStatus.PRECISION_LOSS))
    status = jnp.where(spent, int(SearchStatus.LIMIT), status)
    status = jnp.where(descends, status, int(SearchStatus.NO_DESCENT))
    status = jnp.where(finite & (largest == 0), int(SearchStatus.CONVERGED), status)
    moved = jax.tree.map(lambda d: jnp.where(outcome.step > 0, outcome.step * d, 0.0), updates)
    gradient, kept_aux = outcome.payload
    new = WolfeSearchState(
        count=state.count + 1,
        notfinite_count=state.notfinite_count,
        evaluations=state.evaluations + outcome.evaluations,
        step_size=outcome.step,
        status=status.astype(jnp.int32),
        value=outcome.value.astype(state.value.dtype),
        grad=gradient,
        last_value=value,
        aux=kept_aux,
    )
    unchanged = state._replace(notfinite_count=optax.safe_increment(state.notfinite_count))
    new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, unchanged)
    return trees.cast_like(moved, params), new
