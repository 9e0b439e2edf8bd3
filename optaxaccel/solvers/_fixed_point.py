r"""Fixed points x = F(x): the driver, and the pair of functions for those who own the loop."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from optaxaccel.methods import contract
from optaxaccel.numerics import loops, trees
from optaxaccel.numerics.closures import Reading, reading
from optaxaccel.solvers import anderson_steps, implicit, keywords, minimize_refusals, turns
from optaxaccel.solvers.anderson_steps import AndersonSteps
from optaxaccel.solvers.batched_loops import anybody
from optaxaccel.solvers.domain import Domain, as_box
from optaxaccel.solvers.evaluation import Products, as_image, as_unknowns, evaluate, underflows
from optaxaccel.solvers.outcome import FixedPoint, FixedPointStatus


@keywords.translated(keywords.OF_FIXED_POINT)
def fixed_point(
    fun: Callable[..., Any],
    x0: Any,
    *args: Any,
    method: Literal["anderson", "acx", "plain"] = "anderson",
    history: int = 10,
    rtol: jax.typing.ArrayLike = 1e-6,
    atol: jax.typing.ArrayLike = 0.0,
    max_maps: jax.typing.ArrayLike = 1000,
    has_aux: bool = False,
    callback: Callable[[Any, Any], Any] | None = None,
    project: Callable[[Any], Any] | None = None,
    valid: Callable[[Any], Any] | None = None,
    bounds: tuple[Any, Any] | None = None,
    phantom: int | None = None,
    axis_name: Any = None,
) -> FixedPoint:
    r"""Find x with x = F(x) in few evaluations of F, differentiably.

    Example:
      The square root of 2 as the fixed point of Heron's rule, and its derivative 1 / (2 sqrt 2):

      >>> import jax, optaxaccel
      >>> def root(a):
      ...     return optaxaccel.fixed_point(lambda x, a: (x + a / x) / 2, 1.0, a)
      >>> result = root(2.0)
      >>> round(float(result.value), 5), result.status == optaxaccel.fixed_point.CONVERGED
      (1.41421, Array(True, dtype=bool))
      >>> round(float(jax.grad(lambda a: root(a).value)(2.0)), 5)
      0.35355

    By default every second step extrapolates by Anderson's rule: on an affine map the residual of a mean of the last
    points is the same mean of their residuals, so the mean that makes it shortest is the nearest to the solution.

    .. math::

        r_k = F(x_k) - x_k, \qquad
        \gamma = \arg\min_\gamma \Big| r_k - \sum_j \gamma_j \Delta r_j \Big|, \qquad
        x_{k+1} = F(x_k) - \sum_j \gamma_j \Delta F_j

    with :math:`\Delta r_j, \Delta F_j` the differences of the last `history` residuals and images. An extrapolation
    that opposes the plain step, :math:`\langle x_{k+1} - x_k, r_k \rangle \le 0`, leads to a fixed point that repels
    the map: it is not tried, and the history is dropped. One that raises the residual tenfold, or gives NaN, is taken
    back and halved up to three times; then a plain step is made.

    The derivative is that of the solution, from the implicit function theorem: it costs one linear fixed-point problem
    and no memory for the way there. It is taken in `args` and in all that `fun` closes over, forwards, backwards and of
    any order, and not in `x0`. It is as exact, relatively, as the solution, wrong where the status is not `CONVERGED`,
    and NaN where its linear equations are not solved in `max_maps` evaluations, or 1000 if those are more.

    Args:
      fun: F, called as `fun(x, *args)`; returns a tree like x0, with `has_aux` the pair of that and any other arrays.
        Outside of `jax.jit` it is compiled once for each function object and what it reads from elsewhere, globals
        and attributes, whose changes in place are not seen: define it once, and pass what changes in `args`.
      x0: where to start, a tree of real or complex floating numbers. Under `jax.vmap` every member has its own status.
      *args: trees of arrays that F depends on.
      method: "anderson"; "acx" does no linear algebra and keeps 6 copies of x where the default keeps 2 `history` + 8;
        "plain" iterates F, which is right for noisy maps.
      history: differences kept, >= 1, and no more of them than x0 has real numbers (but for `axis_name`), since more
        depend on each other. 5 takes 6 % more evaluations and half the memory (measured on 29 maps).
      rtol: converged is `|F(x) - x| <= atol + rtol |F(x)|`, over all leaves, >= 0. Below 1e-7 float32 has no digits.
      atol: the part of the tolerance (see `rtol`) in units of x, >= 0.
      max_maps: evaluations of F at most, >= 1, beside the last one for `aux`, or where they do not suffice.
      has_aux: whether `fun` returns (F(x), aux).
      callback: called on the host as `callback(maps, residual)` after every evaluation.
      project: the nearest point of a domain, applied to extrapolated points: `lambda x: x / jnp.sum(x)`.
      valid: whether an extrapolated point, as a whole, may be evaluated; else it is halved towards the last one.
      bounds: (lower, upper) for x, numbers or trees like x: extrapolated points are clipped.
      phantom: in place of the implicit derivative that of the last so many plain steps: cheap, approximate, often good
        enough to train an equilibrium model.
      axis_name: inside `jax.shard_map`, the mesh axes that x is split over. Under `jax.jit` sharded arrays need none.

    Returns:
      A `FixedPoint`: value, aux, status, residual, maps, rejected, backward.

    Raises:
      TypeError: a leaf of x0 is an integer, or F returns another kind of number.
      ValueError: F returns another structure or shape, or an argument is out of range.

    Costs:
      A turn is one evaluation of F and a pass over the differences of residuals; every second one has another such
      pass and one over those of images.

    References:
      Anderson, "Iterative Procedures for Nonlinear Integral Equations", J. ACM 12, 1965. Walker and Ni, "Anderson
      Acceleration for Fixed-Point Iterations", SIAM J. Numer. Anal. 49, 2011. Banerjee, Suryanarayana and Pask,
      "Periodic Pulay method", Chem. Phys. Lett. 647, 2016. Lepage-Saucier, "Alternating cyclic vector extrapolation
      technique", J. Comput. Appl. Math. 439, 2024 (ACX). Geng et al., "On Training Implicit Models", 2021 (phantom).

    Deviations:
      * Anderson extrapolates every second step, never against the plain step, and halves what overshoots.
      * Where the search did not converge `value` belongs to the point of least residual.
    """
    minimize_refusals.check_order("fixed_point", fun, x0)
    minimize_refusals.check_arrays("fixed_point: args", args, "further arguments of F are arrays and numbers")
    x0 = as_unknowns("fixed_point", x0)
    rule = _rule(method, history, callback, project, valid, bounds, axis_name)
    _check_tolerances(rtol, atol)
    max_maps = minimize_refusals.whole("max_maps", max_maps, "it is the number of evaluations of the map", at_least=1)
    limits = turns.Limits(rtol, atol, max_maps, None if bounds is None else as_box(bounds, x0))
    if phantom is not None:
        contract.check_count("phantom", phantom, "it is the number of last steps that are differentiated")
    how = (rule, bool(has_aux), phantom)
    try:
        hash((fun, how))
    except TypeError:  # a callable that holds arrays, as Equinox's modules do
        return _solve(fun, how, x0, args, limits)
    return _compiled(Reading(fun), how, x0, args, limits)


def _solve(fun: Callable[..., Any], how: Any, x0: Any, args: Any, limits: turns.Limits) -> FixedPoint:
    rule, has_aux, phantom = how

    def both(x):
        got = fun(x, *args)
        if not has_aux:
            return as_image("fixed_point", got, x), None
        if not (isinstance(got, tuple) and len(got) == 2):
            raise ValueError(
                f"fixed_point: with has_aux=True the map must return the pair (F(x), aux), it returned a "
                f"{type(got).__name__}. Return two things, or leave has_aux out."
            )
        return as_image("fixed_point", got[0], x), got[1]

    x0 = loops.widened(lambda x: both(x)[0], x0)
    traced, constants = implicit.trace(both, x0)
    if phantom is None:
        value, point, outcome = implicit.fixed(traced, constants, x0, rule, limits, known=not has_aux)
    else:
        value, still = None, lax.stop_gradient(constants)
        point, _, outcome = turns.search(lambda x: traced(still, x)[0], lax.stop_gradient(x0), rule, limits)
        for _ in range(phantom - 1):
            point = traced(constants, point)[0]
    value, aux = (value, None) if phantom is None and not has_aux else traced(constants, point)
    status, residual, maps, rejected, backward = lax.stop_gradient(outcome)
    more = phantom or (1 if has_aux else status != FixedPointStatus.CONVERGED.value)  # evaluations after the search
    if phantom is None:
        status = _status_of_small(status, residual, *lax.stop_gradient((value, point)), rule.axis_name, limits)
    status, *counts = (jnp.asarray(number, jnp.int32) for number in (status, maps + more, rejected, backward))
    return FixedPoint(value, aux, status, residual, *counts)


def _status_of_small(status: Any, residual: Any, value: Any, point: Any, axis_name: Any, limits: turns.Limits) -> Any:
    """Return STALLED in place of a convergence that is only an underflow of squares."""
    range_ = jnp.finfo(residual.dtype)
    doubtful = (status == FixedPointStatus.CONVERGED.value) & (residual < float(range_.tiny / range_.eps) ** 0.5)

    def look(value, point):
        underflow = underflows(value, point, Products(axis_name), limits.rtol, limits.atol)
        return jnp.where(doubtful & underflow, FixedPointStatus.STALLED.value, status).astype(status.dtype)

    return lax.cond(anybody(doubtful), look, lambda *_: status, value, point)


_compiled = functools.partial(jax.jit, static_argnums=(0, 1))(_solve)


def anderson_init(x0: Any, *, history: int = 10) -> AndersonSteps:
    """Return the state with which `anderson_update` begins.

    Example:
      >>> import jax.numpy as jnp, optaxaccel
      >>> state = optaxaccel.anderson_init(jnp.zeros(3), history=4)
      >>> float(state.residual), state.moves.shape
      (inf, (4, 3))

    Args:
      x0: where to start, a tree of real or complex floating numbers.
      history: differences kept, >= 1.

    Returns:
      A tree of arrays, 2 `history` + 2 copies of x0: it can be saved, donated, sharded.
    """
    contract.check_count("history", history, "it is the number of differences kept")
    return anderson_steps.start(as_unknowns("anderson_init", x0), history)


def anderson_update(
    image: Any,
    x: Any,
    state: AndersonSteps,
    *,
    rtol: jax.typing.ArrayLike = 1e-6,
    atol: jax.typing.ArrayLike = 0.0,
    project: Callable[[Any], Any] | None = None,
    valid: Callable[[Any], Any] | None = None,
    bounds: tuple[Any, Any] | None = None,
    axis_name: Any = None,
) -> tuple[Any, AndersonSteps]:
    """Take F(x) and return where to evaluate F next: one turn of `fixed_point`, for those who own the loop.

    Example:
      The cosine's fixed point; plain iteration takes 35 evaluations:

      >>> import math, optaxaccel
      >>> x, state = 1.0, optaxaccel.anderson_init(1.0)
      >>> while state.status == optaxaccel.FixedPointStatus.RUNNING:
      ...     x, state = optaxaccel.anderson_update(math.cos(x), x, state)
      >>> round(float(state.image), 5), int(state.turns)
      (0.73909, 7)

    For maps that cannot be traced, runs that are stopped and resumed, and progress on the way. Pure; wrap it in
    `jax.jit` with the state donated.

    Args:
      image: F(x), a tree like x.
      x: the point that the last call returned, at first x0.
      state: of `anderson_init` or the last call.
      rtol: converged is `|F(x) - x| <= atol + rtol |F(x)|`, over all leaves, >= 0. Below 1e-7 float32 has no digits.
      atol: the part of the tolerance (see `rtol`) in units of x, >= 0.
      project: the nearest point of a domain, applied to extrapolated points: `lambda x: x / jnp.sum(x)`.
      valid: whether an extrapolated point, as a whole, may be evaluated; else it is halved towards the last one.
      bounds: (lower, upper) for x, numbers or trees like x: extrapolated points are clipped.
      axis_name: inside `jax.shard_map`, the mesh axes that x is split over. Under `jax.jit` sharded arrays need none.

    Returns:
      The next point and state. `state.status` is a `FixedPointStatus`, RUNNING until converged or not finite;
      `state.residual` belongs to the last point taken, `state.point`, whose F is `state.image`.

    Raises:
      TypeError: x is an integer, or the image another kind of number.
      ValueError: the image has another structure or shape.
    """
    x = as_unknowns("anderson_update", x)
    if not isinstance(state, AndersonSteps):
        raise TypeError(
            f"anderson_update: state is a {type(state).__name__}. The order is anderson_update(F(x), x, state), with "
            "the state of anderson_init(x) or of the last call."
        )
    if not trees.alike(x, state.point):
        raise ValueError(
            f"anderson_update: x has the shapes {jax.tree.map(jnp.shape, x)}, the state was made for "
            f"{jax.tree.map(jnp.shape, state.point)}. Call anderson_init(x) for this x."
        )
    if [*map(jnp.result_type, jax.tree.leaves(x))] != [*map(jnp.result_type, jax.tree.leaves(state.point))]:
        raise TypeError(
            f"anderson_update: x has the dtypes {jax.tree.map(jnp.result_type, x)}, the state was made for "
            f"{jax.tree.map(jnp.result_type, state.point)}. Call anderson_init(x) for this x, or cast it."
        )
    image = as_image("anderson_update", image, x)
    rule = _rule("anderson", state.gram.shape[0], None, project, valid, bounds, axis_name)
    _check_tolerances(rtol, atol)
    limits = turns.Limits(rtol, atol, 1, None if bounds is None else as_box(bounds, x))
    return _turn(rule.domain, axis_name, image, x, state, limits)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _turn(domain: Domain, axis_name: Any, image: Any, x: Any, state: AndersonSteps, limits: turns.Limits) -> Any:
    products = Products(axis_name)
    evaluation = evaluate(image, x, products, limits.rtol, limits.atol)
    following, state = anderson_steps.step(evaluation, state, domain._replace(box=limits.box), products)
    status = _status_of_small(state.status, state.residual, image, x, axis_name, limits)
    return following, state._replace(status=status)


def _rule(method, history, callback, project, valid, bounds, axis_name) -> turns.Rule:
    contract.check_choice("method", method, turns.METHODS)
    minimize_refusals.check_functions(callback=callback, project=project, valid=valid)
    contract.check_count("history", history, "it is the number of differences kept")
    if bounds is not None and project is not None:
        raise ValueError(
            "bounds and project are both given, and which comes first is not clear. Pass one: "
            "project=lambda x: jnp.clip(..., lower, upper)."
        )
    return turns.Rule(method, history, Domain(reading(project), reading(valid)), axis_name, callback)


def _check_tolerances(rtol: Any, atol: Any) -> None:
    for name, value in {"rtol": rtol, "atol": atol}.items():
        if jnp.ndim(value):
            raise ValueError(f"{name} has the shape {jnp.shape(value)}, but all unknowns share one. Pass a number.")
    contract.check_number("rtol", rtol, "the residual over |F(x)| is compared with it", at_least=0.0, below=math.inf)
    contract.check_number("atol", atol, "the residual is compared with it", at_least=0.0, below=math.inf)


for _status in FixedPointStatus:
    setattr(fixed_point, _status.name, int(_status))
