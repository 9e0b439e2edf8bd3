"""FISTA: accelerated gradient steps for a smooth loss plus a penalty that has a proximal operator."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import SearchStatus
from optaxaccel.methods.loss_along_line import loss_with_aux, refuse_integers, value_and_gradient
from optaxaccel.numerics import loops, trees
from optaxaccel.numerics.closures import Reading
from optaxaccel.solvers import keywords, minimize_refusals
from optaxaccel.solvers.minimize_result import MinimizeResult
from optaxaccel.solvers.proximal_operators import prox_none
from optaxaccel.solvers.underived import without_reverse

__all__ = ["ProximalGradientState", "proximal_gradient"]

LONGER, SHORTER, MOST_TRIALS = 1.2, 0.5, 60


class ProximalGradientState(NamedTuple):
    """Where a run of `proximal_gradient` stands.

    Attributes:
      params: the point x, after a proximal step.
      value: the smooth loss there.
      ahead: the point y, from which the next step is taken.
      momentum: t of the acceleration; 1 after a restart.
      step_size: length of the next step's first trial.
      error: largest entry of the last proximal step, divided by its length.
      steps: steps made, int32.
      evaluations: losses so far, those with a gradient included, int32.
      status: a `SearchStatus`, int32.
    """

    params: optax.Params
    value: jax.Array
    ahead: optax.Params
    momentum: jax.Array
    step_size: jax.Array
    error: jax.Array
    steps: jax.Array
    evaluations: jax.Array
    status: jax.Array


class Problem(NamedTuple):
    """What a compiled loop is compiled for."""

    fun: Callable[..., Any]
    prox: Callable[..., Any]
    has_aux: bool
    accelerate: bool


@keywords.translated(keywords.OF_PROXIMAL_GRADIENT)
def proximal_gradient(
    fun: Callable[..., Any],
    params: optax.Params,
    *,
    prox: Callable[..., Any] = prox_none,
    has_aux: bool = False,
    tol: jax.typing.ArrayLike = 1e-5,
    max_steps: jax.typing.ArrayLike = 1000,
    accelerate: bool = True,
    data: Mapping[str, Any] | None = None,
    state: ProximalGradientState | None = None,
) -> MinimizeResult:
    r"""Minimise a smooth loss plus a penalty by FISTA with backtracking and restart.

    Example:
      The lasso of one variable, `(x - 3)^2 / 2 + |x|`, has its minimum at 2:

      >>> import functools, jax.numpy as jnp, optaxaccel
      >>> prox = functools.partial(optaxaccel.prox_lasso, l1reg=1.0)
      >>> result = optaxaccel.proximal_gradient(lambda x: 0.5 * (x - 3.0) ** 2, jnp.array(0.0), prox=prox)
      >>> round(float(result.params), 3)
      2.0

    .. math::

        x_{k+1} &= \mathrm{prox}_{s h}(y_k - s \nabla f(y_k)), \qquad t_{k+1} = \tfrac12 (1 + \sqrt{1 + 4 t_k^2}), \\
        y_{k+1} &= x_{k+1} + \frac{t_k - 1}{t_{k+1}} (x_{k+1} - x_k)

    with f = `fun` and :math:`\mathrm{prox}_{s h}` = `prox` with `scaling` s. The step s is halved until f lies
    below its quadratic model, and tried a fifth longer in the next step. Where the last move turns against the
    momentum, t goes back to 1 (O'Donoghue and Candès), so that strong convexity need not be known.

    Args:
      fun: the smooth loss, called as `fun(params, **data)`.
      params: the start, a tree of floating arrays.
      prox: the proximal operator of the penalty, called as `prox(params, scaling=s)`: `functools.partial(prox_lasso,
        l1reg=0.1)`, any other of the eight, or a projection through `make_prox_from_projection`.
      has_aux: whether `fun` returns `(loss, aux)`.
      tol: largest entry of :math:`(x_{k+1} - y_k)/s` at which to stop, >= 0.
      max_steps: steps in this call, >= 0.
      accelerate: whether to use momentum; without it this is plain proximal gradient descent.
      data: further arguments of `fun`, by name.
      state: `state` of an earlier result, to go on from there; `params` is then not looked at. The loss is evaluated
        anew there, so that `data` and `fun` may be others.

    Returns:
      A `MinimizeResult`; `value` is that of the smooth loss alone.

    Raises:
      ValueError: the loss is not one number, or an argument is out of range.
      TypeError: `params` has integer leaves, or `state` is that of something else.

    References:
      Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", 2009;
      O'Donoghue and Candès, "Adaptive restart for accelerated gradient schemes", 2015.

    Costs:
      A loss with its gradient and about 1.2 losses a step; two copies of the parameters. Where f lies above the model
      by so little that rounding may have done it, another gradient.

    Deviations:
      The step may grow again, which the proof does not cover. By a relative :math:`\epsilon^{2/3}` of f the loss may
      lie above the model where the gradients say that the step is not too long,
      :math:`\langle \nabla f(x) - \nabla f(y), x - y \rangle \le |x - y|^2 / s`: a loss that cancels, such as that of
      a good fit, is rounded by more than the last steps change it, and they would all be halved.
    """
    minimize_refusals.check_order("proximal_gradient", fun, params)
    if state is None:
        refuse_integers(params)
    else:
        minimize_refusals.check_kind(state, ProximalGradientState)
    minimize_refusals.check_tolerance(tol, "it is the size of a proximal step at which to stop")
    max_steps = minimize_refusals.whole("max_steps", max_steps, "it is a number of steps")
    minimize_refusals.check_data("proximal_gradient", fun, data)
    if not callable(prox):
        raise TypeError(f"proximal_gradient: prox={prox!r} is not a function. Pass prox=prox_none where there is none.")
    problem, data = Problem(Reading(fun), Reading(prox), has_aux, accelerate), dict(data or {})
    tol = jnp.asarray(tol, trees.accumulation_dtype())
    if state is None:
        at = _init(problem, jax.tree.map(jnp.asarray, params), data)
    else:
        at = _seen_anew(problem, state, data, tol)
    limit = at.steps + jnp.minimum(jnp.asarray(max_steps, jnp.int32), jnp.iinfo(jnp.int32).max - at.steps)
    return _loop(problem, at, data, tol, limit)


def _loss(problem: Problem, data: Mapping[str, Any]) -> Callable[[optax.Params], tuple[jax.Array, Any]]:
    return loss_with_aux("proximal_gradient", problem.fun, data, problem.has_aux)


@functools.partial(jax.jit, static_argnums=0)
def _init(problem: Problem, params: optax.Params, data: Mapping[str, Any]) -> ProximalGradientState:
    dtype = trees.accumulation_dtype()
    near = jax.eval_shape(lambda x: problem.prox(x, scaling=jnp.ones((), dtype)), params)
    if not trees.alike(near, params):
        raise ValueError(
            f"proximal_gradient: prox returned {near}, and the parameters are of the shapes "
            f"{jax.tree.map(jnp.shape, params)}. Return the nearest point, a tree like the parameters."
        )
    value = _loss(problem, data)(params)[0].astype(dtype)
    one, zero = jnp.ones((), dtype), jnp.zeros((), jnp.int32)
    return ProximalGradientState(params, value, params, one, one, one * jnp.inf, zero, zero + 1, zero)


@functools.partial(jax.jit, static_argnums=0)
def _seen_anew(problem: Problem, state: ProximalGradientState, data, tol: jax.Array) -> ProximalGradientState:
    """Return a state with the loss as it is now: it has converged only where it has for this `fun` and `data`, too."""
    (value, _), grad = value_and_gradient(_loss(problem, data))(state.params)
    s = state.step_size
    x = _near(problem, state.params, grad, s)
    error = jnp.maximum(state.error, _error(problem, state.params, x, grad, s, tol))
    return state._replace(value=value.astype(state.value.dtype), error=error, evaluations=state.evaluations + 1)


@functools.partial(jax.jit, static_argnums=0)
def _loop(problem: Problem, state: ProximalGradientState, data, tol: jax.Array, limit: jax.Array) -> MinimizeResult:
    def judged(state: ProximalGradientState) -> ProximalGradientState:
        status = jnp.where(state.error <= tol, int(SearchStatus.CONVERGED), int(SearchStatus.RUNNING))
        status = jnp.where(jnp.isfinite(state.value), status, int(SearchStatus.NOT_FINITE))
        kept = (state.status != int(SearchStatus.RUNNING)) & (status != int(SearchStatus.CONVERGED))
        return state._replace(status=jnp.where(kept, state.status, status).astype(jnp.int32))

    def unfinished(state: ProximalGradientState) -> jax.Array:
        return (state.status == int(SearchStatus.RUNNING)) & (state.steps < limit)

    state = judged(state._replace(status=jnp.zeros((), jnp.int32)))
    state = loops.while_loop(unfinished, lambda state: judged(_step(problem, state, data, tol)), state)
    running = state.status == int(SearchStatus.RUNNING)
    state = state._replace(status=jnp.where(running, int(SearchStatus.LIMIT), state.status).astype(jnp.int32))
    state = without_reverse("proximal_gradient", state)
    aux = _loss(problem, data)(state.params)[1] if problem.has_aux else None
    counts = state.status, state.steps, state.evaluations
    return MinimizeResult(state.params, state.value, aux, *counts, state.error, state)


def _near(problem: Problem, y: optax.Params, grad: optax.Params, s: jax.Array) -> optax.Params:
    """Return the proximal point of y - s grad, in the dtypes of y: an operator of one's own may take those of s."""
    near = problem.prox(trees.add_scaled(y, -s, grad), scaling=s)
    return trees.cast_like(jax.tree.map(jnp.asarray, near), y)


def _step(problem: Problem, state: ProximalGradientState, data: Mapping[str, Any], tol) -> ProximalGradientState:
    loss, y = _loss(problem, data), state.ahead
    (here, _), grad = value_and_gradient(loss)(y)
    sound = jnp.isfinite(here) & trees.all_finite(grad)
    eps = jnp.finfo(here.dtype).eps
    here = here.astype(state.value.dtype)
    slack, drowned = 4 * eps * jnp.abs(here), eps ** (2 / 3) * jnp.abs(here)

    def propose(s: jax.Array) -> tuple[jax.Array, optax.Params, jax.Array, jax.Array, jax.Array]:
        x = _near(problem, y, grad, s)
        off = jax.tree.map(lambda a, b: a - b, x, y)
        model = here + trees.vdot(grad, off) + trees.vdot(off, off) / (2 * s)
        value = loss(x)[0].astype(here.dtype)
        below = value <= model + slack
        # Where f cancels, its rounding is many times that of its value: gradients tell what is too little to see.
        doubtful = ~below & (value <= model + drowned)

        def by_gradients(carry: tuple[jax.Array, optax.Params, jax.Array]) -> tuple[jax.Array, optax.Params, jax.Array]:
            _, x, _ = carry  # all of it hangs on the carry, or XLA would compute it due or not
            there = value_and_gradient(loss)(x)[1]
            off, turn = (jax.tree.map(lambda a, b: a - b, *pair) for pair in ((x, y), (there, grad)))
            size = trees.vdot(off, off)
            agreed = trees.vdot(turn, off) <= size / s + 4 * eps * jnp.sqrt(trees.vdot(there, there) * size)
            return jnp.zeros_like(below), x, agreed

        _, _, agreed = loops.while_loop(lambda carry: carry[0], by_gradients, (doubtful, x, jnp.zeros_like(below)))
        good = jnp.isfinite(value) & (below | agreed)
        visible = trees.vdot(off, off) / s > 16 * slack  # otherwise rounding would accept any step
        longer = jnp.where(visible, s * LONGER, s)
        return 1 + doubtful.astype(jnp.int32), x, value, good, longer

    def shorten(carry):
        s, turns, trials, *_ = carry
        more, *proposed = propose(s * SHORTER)
        return s * SHORTER, turns + 1, trials + more, *proposed

    s = state.step_size
    start = (s, jnp.ones((), jnp.int32), *propose(s))
    s, _, trials, x, value, good, longer = loops.while_loop(
        lambda c: sound & ~c[5] & (c[1] < MOST_TRIALS), shorten, start
    )
    good &= sound
    new = _accelerated(problem, state, x, s)
    still = _same(x, y) & _same(x, state.params)  # a step that rounding swallows
    error = _error(problem, y, x, grad, s, tol)
    status = jnp.where(still, int(SearchStatus.PRECISION_LOSS), int(SearchStatus.RUNNING)).astype(jnp.int32)
    new = new._replace(value=value, step_size=longer, error=error, status=status)
    # Momentum may leave the domain of f, or what rounding can tell: once more from the last point.
    why = jnp.where(sound, int(SearchStatus.PRECISION_LOSS), int(SearchStatus.NOT_FINITE))
    status = jnp.where(_same(y, state.params), why, int(SearchStatus.RUNNING)).astype(jnp.int32)
    back = state._replace(ahead=state.params, momentum=jnp.ones_like(state.momentum), status=status)
    new = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, back)
    return new._replace(steps=state.steps + 1, evaluations=state.evaluations + 1 + trials)


def _same(x: optax.Params, y: optax.Params) -> jax.Array:
    equal = [jnp.all(a == b) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)]
    return functools.reduce(jnp.logical_and, equal, jnp.asarray(True))


def _error(problem: Problem, y: optax.Params, x: optax.Params, grad, s: jax.Array, tol: jax.Array) -> jax.Array:
    """Return the largest entry of the step from y to x by its length s.

    Where s is so short that rounding hides an entry of `tol`, that of a step that shows it counts, too.
    """

    def size(x: optax.Params, s: jax.Array) -> jax.Array:
        return trees.largest(jax.tree.map(lambda a, b: a - b, x, y)).astype(s.dtype) / s

    hidden = trees.largest(jax.tree.map(lambda b: b * jnp.finfo(b.dtype).eps, y)).astype(s.dtype)
    shown = jnp.where(tol > 0, 8 * hidden / jnp.where(tol > 0, tol, 1.0), s)

    def longer() -> jax.Array:
        return size(_near(problem, y, grad, shown), shown)

    error = size(x, s)
    looks = (shown > s) & (error <= tol)  # only where this would be the end
    return jnp.maximum(error, loops.cond(looks, longer, lambda: jnp.zeros_like(s)))


def _accelerated(problem: Problem, state, x: optax.Params, s: jax.Array) -> ProximalGradientState:
    """Take the step to x and choose from where to go on."""
    back = jax.tree.map(lambda a, b: a - b, state.ahead, x)  # y - x
    moved = jax.tree.map(lambda a, b: a - b, x, state.params)
    turned = trees.vdot(back, moved) > 0
    t = jnp.where(turned, 1.0, state.momentum)
    after = 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * t * t))
    weight = jnp.where(turned, 0.0, (t - 1.0) / after) if problem.accelerate else jnp.zeros_like(t)
    return state._replace(
        params=x,
        ahead=trees.add_scaled(x, weight, moved),
        momentum=jnp.where(turned, 1.0, after),
    )
