r"""Negative curvature descent: jump along a direction in which the loss curves downwards, where there is one.

Carmon, Duchi, Hinder and Sidford, "Accelerated methods for nonconvex optimization", 2018. `descend` is the loop that
this method shares with `gose` and `ancm`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.methods._negative_curvature import Finder, as_finder, lanczos
from optaxaccel.numerics import compiler, trees
from optaxaccel.numerics.branching import forward_only
from optaxaccel.numerics.packing import packing

__all__ = ["NegativeCurvatureDescentState", "negative_curvature_descent"]

DIAGNOSTICS = {
    "searches": "searches for negative curvature so far",
    "jumps": "jumps along it so far",
    "eigenvalue": "lowest curvature that the last search saw; 0 before the first",
}
NO_REVERSE = (
    "A search for negative curvature goes on until nothing is found, so it has no derivative in reverse mode. Use "
    "forward mode, jax.jvp or jax.jacfwd, or put jax.lax.stop_gradient around what update is given."
)


class Descent(NamedTuple):
    """Where negative curvature descent went.

    Attributes:
      displacement: the sum of the jumps, a tree like the parameters.
      num_jumps: jumps taken, int32.
      eigenvalue: the estimate of the last search.
      residual: its residual norm.
      num_attempts: searches made, int32.
    """

    displacement: optax.Updates
    num_jumps: jax.Array
    eigenvalue: jax.Array
    residual: jax.Array
    num_attempts: jax.Array


class NegativeCurvatureDescentState(NamedTuple):
    """State of `negative_curvature_descent`.

    Attributes:
      count: updates made, int32.
      notfinite_count: updates held still because the loss or the gradient was not finite, int32.
      num_jumps: jumps taken so far, int32.
      eigenvalue: the lowest curvature that the last search found.
      residual: the residual norm of that search.
      num_attempts: searches so far, int32.
    """

    count: jax.Array
    notfinite_count: jax.Array
    num_jumps: jax.Array
    eigenvalue: jax.Array
    residual: jax.Array
    num_attempts: jax.Array

    @property
    def diagnostics(self) -> Mapping[str, jax.Array]:
        """How often curvature was searched and followed, and what the last search saw."""
        return {
            "searches": self.num_attempts,
            "jumps": self.num_jumps,
            "eigenvalue": self.eigenvalue,
            "residual": self.residual,
        }

    @property
    def search_attempts(self) -> jax.Array:
        """How often the finder ran."""
        return self.num_attempts


def negative_curvature_descent(
    step_size: optax.ScalarOrSchedule,
    *,
    finder: Finder | str = lanczos(),
    curvature_threshold: optax.ScalarOrSchedule = 1e-3,
    max_steps: int = 1,
    step_rule: str = "constant",
    hessian_lipschitz: optax.ScalarOrSchedule | None = None,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Jump along directions of negative curvature while there are any (NCD).

    Example:
      The saddle of f(x, y) = x^2/2 - y^2/2 + y^4/4: gradient descent never leaves the origin, one jump does.

      >>> import jax, jax.numpy as jnp, optaxaccel
      >>> loss = lambda p: p[0]**2 / 2 - p[1]**2 / 2 + p[1]**4 / 4
      >>> tx = optaxaccel.negative_curvature_descent(1.0)
      >>> update = jax.jit(lambda g, s, p: tx.update(g, s, p, value_fn=loss))
      >>> saddle = jnp.zeros(2)
      >>> moved, state = update(jnp.zeros(2), tx.init(saddle), saddle)
      >>> [round(abs(float(u)), 3) for u in moved], round(float(loss(saddle + moved)), 4)
      ([0.0, 1.0], -0.25)

    At a saddle the gradient says nothing, and the way out is the direction v in which the loss curves downwards most.
    Each update searches for it and jumps, up to `max_steps` times; where nothing is found it does not move at all, so
    this is a part of a method (`gose`, `ancm`) rather than one by itself.

    .. math::

        x \leftarrow x - \eta\, \operatorname{sign}(v^T \nabla f(x))\, v \quad
        \text{while } v^T \nabla^2 f(x)\, v < -\epsilon

    with :math:`\eta` = `step_size`, or :math:`2 |v^T \nabla^2 f(x)\, v| / L_2` for `step_rule="carmon"`;
    :math:`\epsilon` = `curvature_threshold` and :math:`L_2` = `hessian_lipschitz`. At an exact saddle
    :math:`v^T \nabla f(x) = 0`, and the sign is drawn from `seed`.

    Args:
      step_size: length of a jump in units of the parameters, >= 0, or a schedule of it. `step_rule="carmon"` does not
        use it.
      finder: `lanczos()`, `shifted_power()`, `neon2()`, or one of these names.
      curvature_threshold: curvatures above minus this are taken for zero, >= 0, or a schedule of it. At 0 rounding
        noise on a flat convex function
        is taken for negative curvature for ever (measured: 44 jumps in 1,500 float32 steps); 1e-3 is not.
      max_steps: jumps in one update at most, an integer >= 1; each searches anew.
      step_rule: "constant" or "carmon".
      hessian_lipschitz: Lipschitz constant of the Hessian, > 0, or a schedule of it, for `step_rule="carmon"`.
      seed: of the finder's start and of the sign at exact saddles, an integer >= 0.

    Returns:
      A transformation whose `update` needs `params` and `value_fn`.

    References:
      Xiao, "Accelerated optimization methods on convolutional neural networks", 2019, section 4, after Carmon, Duchi,
      Hinder and Sidford, "Accelerated methods for nonconvex optimization", SIAM J. Optim. 28(2), 2018.

    Costs:
      Each update: a search (16 products with the Hessian by default), a gradient and two losses; as much again after
      each jump while `max_steps` allows. No copy of the parameters as state. A search needs memory for the finder's
      vectors (16 times the parameters by default), which a compiled step sets aside whether it searches or not.

    Deviations:
      * A jump also needs a residual below half of the estimate, or the vector is no eigenvector, and a loss that falls.
        The paper proves the fall for small steps; with minibatches and a fixed step it has to be checked.
      * `sign(0)` is a random +-1. The published code multiplies by 0 and does not leave an exact saddle.
      * The paper's probabilities (delta, delta') and its alpha/2 are one threshold here.
    """
    contract.check_static(finder=finder, max_steps=max_steps, step_rule=step_rule, seed=seed)
    contract.check_learning_rate(step_size, "step_size")
    check_search(curvature_threshold, seed)
    contract.check_count("max_steps", max_steps, "it is the number of jumps in one update")
    contract.check_choice("step_rule", step_rule, ("constant", "carmon"))
    if step_rule == "carmon":
        contract.check_number("hessian_lipschitz", hessian_lipschitz, "'carmon' divides the step by it", above=0.0)
    finder = as_finder(finder)
    lipschitz = 1.0 if hessian_lipschitz is None else hessian_lipschitz  # the other rule does not use it

    def init(params: optax.Params) -> NegativeCurvatureDescentState:
        contract.check_params("negative_curvature_descent", params)
        dtype = trees.accumulation_dtype()
        return NegativeCurvatureDescentState(
            count=jnp.zeros((), jnp.int32),
            notfinite_count=jnp.zeros((), jnp.int32),
            num_jumps=jnp.zeros((), jnp.int32),
            eigenvalue=jnp.zeros((), dtype),
            residual=jnp.zeros((), dtype),
            num_attempts=jnp.zeros((), jnp.int32),
        )

    def update(updates, state, params: Any = None, *, value=None, grad=None, value_fn=None, **extra):
        del grad
        contract.require_params("negative_curvature_descent", params)
        loss = contract.bind_value_fn("negative_curvature_descent", value_fn, extra)

        def step_length(eigenvalue):
            if step_rule == "carmon":
                return 2.0 * jnp.abs(eigenvalue) / jnp.asarray(contract.at_step(lipschitz, state.count))
            return contract.at_step(step_size, state.count)

        def search():
            key = jax.random.fold_in(jax.random.key(seed), state.count)
            flat = contract.at_step(curvature_threshold, state.count)
            descent = descend(loss, params, key, finder, step_length, flat, max_steps)
            count = optax.safe_increment(state.count)
            new = state._replace(count=count, eigenvalue=descent.eigenvalue, residual=descent.residual)
            new = new._replace(num_jumps=state.num_jumps + descent.num_jumps)
            new = new._replace(num_attempts=state.num_attempts + descent.num_attempts)
            return descent.displacement, new

        def hold():
            new = state._replace(notfinite_count=optax.safe_increment(state.notfinite_count))
            return trees.zeros_like(params), new

        return jax.lax.cond(contract.step_is_finite(updates, value), search, hold)

    name = "negative_curvature_descent"
    return contract.transformation(name, NegativeCurvatureDescentState, init, update, sees_loss=True)


def check_search(curvature_threshold: optax.ScalarOrSchedule, seed: int) -> None:
    """Check the arguments that all methods with a search share."""
    contract.check_number(
        "curvature_threshold", curvature_threshold, "curvatures above minus this are taken for zero", at_least=0.0
    )
    contract.check_count("seed", seed, "it seeds the search", at_least=0)


def descend(
    loss: Callable[[optax.Params], jax.Array],
    params: optax.Params,
    key: jax.Array,
    finder: Finder,
    step_length: Callable[[jax.Array], jax.typing.ArrayLike],
    curvature_threshold: jax.typing.ArrayLike,
    max_steps: int,
) -> Descent:
    """Jump along negative curvature until a search finds none, a jump does not pay, or max_steps is reached.

    Args:
      loss: the loss as a function of the parameters alone.
      params: where to start.
      key: random key of all searches.
      finder: how to search.
      step_length: length of a jump, given the curvature found.
      curvature_threshold: curvatures above minus this are taken for zero.
      max_steps: jumps at most.
    """
    dtype = trees.accumulation_dtype()
    pack, unpack = packing(params)
    start = pack(params)

    def packed_loss(vectors: optax.Params) -> jax.Array:
        return loss(unpack(vectors))

    def attempt(carry: tuple[Descent, jax.Array]) -> tuple[Descent, jax.Array]:
        so_far, _ = carry
        search_key, sign_key = jax.random.split(jax.random.fold_in(key, so_far.num_jumps))
        here = trees.add_scaled(start, 1.0, so_far.displacement)
        lowest = finder.find(packed_loss, here, search_key)
        value, gradient = jax.value_and_grad(packed_loss)(here)
        length = step_length(lowest.eigenvalue) * _sign(gradient, lowest.vector, sign_key)
        displacement = trees.add_scaled(so_far.displacement, -length, lowest.vector)
        pays = packed_loss(trees.add_scaled(start, 1.0, displacement)) < value
        certain = lowest.residual < 0.5 * jnp.abs(lowest.eigenvalue)
        jumps = (lowest.eigenvalue < -jnp.asarray(curvature_threshold)) & certain & pays
        jumps = compiler.decided(jumps, dtype)
        return Descent(
            optax.tree.where(jumps, displacement, so_far.displacement),
            so_far.num_jumps + jumps.astype(jnp.int32),
            lowest.eigenvalue.astype(dtype),
            lowest.residual.astype(dtype),
            so_far.num_attempts + 1,
        ), jumps

    def goes_on(carry: tuple[Descent, jax.Array]) -> jax.Array:
        so_far, jumped = carry
        return jumped & (so_far.num_jumps < max_steps)

    descent = jax.lax.while_loop(goes_on, attempt, (no_descent(start), jnp.ones((), bool)))[0]
    descent = descent._replace(displacement=unpack(descent.displacement))
    return forward_only(descent, NO_REVERSE)


def attempt_cost(finder: Finder | str) -> contract.Cost:
    """Return the oracle calls of one attempt of `descend`: the finder's, a gradient for the sign, a loss after it."""
    cost = as_finder(finder).cost
    return contract.Cost(cost.values + 1, cost.grads + 1, cost.hvps)


def no_descent(params: optax.Params) -> Descent:
    """Return the descent of no step."""
    dtype = trees.accumulation_dtype()
    none, zero = jnp.zeros((), jnp.int32), jnp.zeros((), dtype)
    return Descent(trees.zeros_like(params), none, zero, zero, none)


def _sign(gradient: optax.Updates, vector: optax.Updates, key: jax.Array) -> jax.Array:
    """Return the sign of vector'gradient, a random one where that is zero; complex gradients are conjugated first."""
    slope = compiler.signed_root(trees.vdot(jax.tree.map(jnp.conj, gradient), vector))
    return jnp.where(slope == 0, jax.random.rademacher(key, (), slope.dtype), jnp.sign(slope))


CARD = contract.Card(
    name="negative_curvature_descent",
    make=negative_curvature_descent,
    paper="Carmon, Duchi, Hinder and Sidford 2018",
    example={"step_size": 0.5},
    cost=contract.Cost(values=1, grads=1, hvps=16),
    static_args=("finder", "max_steps", "step_rule", "seed"),
    counts_attempts=True,
    diagnostics={**DIAGNOSTICS, "residual": "residual norm of the last search"},
    reservations={"descends": "it moves along negative curvature only, of which a convex problem has none"},
)
