"""One look back on the last step, on data that it had not seen, and the rate that follows from many."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import trees

GAIN = 0.3  # of the logarithm of the rate, which is also the largest change of a step
GROWTH = 10.0  # the rate grows at most like count^10
WINDOW = 0.2  # of all steps so far, that the means look back on where all is noise; where nothing is, the shortest
SHORTEST_WINDOW = 5.0
ALWAYS_MEASURED = 20  # first steps in which the rate finds its order of magnitude
SPIKE = 3.0  # usual changes of the loss in one step; over a rise by more the rate is cut at once
LEAST_SHARE = 0.03  # of noise: along bounded directions it is 3 / share, since there the loss rises and falls in waves
LARGEST_CUT, CUT = 0.05, 0.25  # to the step that would have been best, if there was one; else by four
NOISE = 8.0  # roundings of the loss, under which a curvature counts as none: 1e-6 of the loss in float32

DIAGNOSTICS = {
    "rate": "rate of the step",
    "slope": "running mean of the fall of the loss per unit of rate",
    "curvature": "running mean of the second derivative of the loss along the steps, per unit of rate squared",
    "change": "running mean of how much a step changed the loss",
    "noise": "running mean of how much the losses of two batches differ at one place",
}


class Seen(NamedTuple):
    """What looking back on the last step shows, in units of the loss; `known` says whether there was a look."""

    slope: jax.Array  # of the loss along the step, where it began
    curvature: jax.Array
    rise: jax.Array
    differs: jax.Array  # by how much the loss at one place differs from batch to batch
    known: jax.Array
    failed: jax.Array
    finite: jax.Array  # of what was handed in


class Rates(NamedTuple):
    """The fields of the state that one look changes."""

    rate: jax.Array
    slope: jax.Array
    curvature: jax.Array
    change: jax.Array
    noise: jax.Array


def rates_of(state: Any) -> Mapping[str, jax.Array]:
    """Return what a state with the fields of `Rates` tells."""
    return {name: getattr(state, name) for name in DIAGNOSTICS}


def check(initial_rate: Any, relaxation: Any, every: Any) -> None:
    """Raise ValueError for hyperparameters out of range."""
    fixed = "it is the rate before anything was measured"
    contract.check_number("initial_rate", initial_rate, "the first step is that long", above=0.0, fixed=fixed)
    contract.check_number("relaxation", relaxation, "it is the share of the best rate aimed at", above=0.0)
    contract.check_static(every=every)
    contract.check_count("every", every, "it is the number of steps from one measurement to the next")


def fresh_scalars(initial_rate: jax.typing.ArrayLike) -> dict[str, jax.Array]:
    """Return the state's scalars before the first step, each in a buffer of its own so that it can be donated."""
    dtype = trees.accumulation_dtype()
    return {
        "count": jnp.zeros((), jnp.int32),
        "notfinite_count": jnp.zeros((), jnp.int32),
        "rate": jnp.array(initial_rate, dtype, copy=True),
        "slope": jnp.zeros((), dtype),
        "curvature": jnp.zeros((), dtype),
        "change": jnp.zeros((), dtype),
        "noise": jnp.zeros((), dtype),
        "loss": jnp.zeros((), dtype),
        "measurement_failed": jnp.zeros((), bool),
    }


def bound_loss(
    method: str, params: Any, value: Any, value_fn: contract.ValueFn | None, extra: Any
) -> tuple[Callable[[optax.Params], jax.Array], jax.Array]:
    """Return the loss as a function of the parameters, and its value at `params`."""
    contract.require_params(method, params)
    loss = contract.bind_value_fn(method, value_fn, extra)
    value = jnp.asarray(loss(params) if value is None else value)
    return loss, value.astype(trees.accumulation_dtype())


def is_due(count: jax.Array, every: int) -> jax.Array:
    """Return whether this step measures: the first ones do, then each `every`-th."""
    return (count < ALWAYS_MEASURED) | (count % every == 0)


def measure(loss: Callable, place: Any, due: jax.Array, always: bool) -> jax.Array:
    """Evaluate the loss at a place where that is due; a step that is not due for it costs nothing."""
    if always:  # no cond around the loss: convolutions are slow inside control flow on CPU
        return loss(place)
    return jax.lax.cond(due, loss, lambda p: jnp.zeros((), jax.eval_shape(loss, p).dtype), place)


def look_back(state: Any, params: Any, value: jax.Array, grad: Any, before: jax.Array, due: Any, finite: Any) -> Seen:
    """Compare the loss `before` the last step with that after it, both on the batch of this one."""
    along = trees.vdot(grad, jax.tree.map(_difference, params, state.previous))
    finite = finite & jnp.isfinite(along)  # 0 * inf and 0 * nan are nan: a bad gradient shows in the first step, too
    rounding = NOISE * float(jnp.finfo(before.dtype).eps) * jnp.abs(value)
    before = before.astype(value.dtype)
    curvature = 2.0 * (before - value + along)
    curvature = jnp.where(jnp.abs(curvature) < rounding, 0.0, curvature)
    differs = jnp.abs(before - state.loss)
    differs = jnp.where(differs < rounding, 0.0, differs)
    due = due & (state.count > 0)
    known = due & (along != 0) & jnp.isfinite(curvature)
    failed = due & ~jnp.isfinite(curvature)
    return Seen(along - curvature, curvature, value - before, differs, known, failed, finite)


def _difference(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return x - y without the rounding of low precision."""
    dtype = jnp.promote_types(trees.leaf_dtype(x), jnp.float32)
    return trees.difference(jnp.asarray(x, dtype), jnp.asarray(y, dtype))


def follow(state: Any, seen: Seen, relaxation: jax.typing.ArrayLike, every: int, *, bounded: bool = False) -> Rates:
    """Return the means with what was seen, and the rate that they ask for; `bounded` directions explode slowly."""
    steps = state.count.astype(state.rate.dtype)
    first = (state.slope == 0) & (state.curvature == 0)
    longest = WINDOW * steps / every
    long = jnp.where(first, 1.0, jnp.maximum(SHORTEST_WINDOW, longest))
    noise = state.noise + (seen.differs - state.noise) / long
    size = state.change + (jnp.abs(seen.rise) - state.change) / long
    share = _share(noise, state.change)
    window = jnp.where(first, 1.0, jnp.maximum(SHORTEST_WINDOW, share * longest))
    slope = state.slope + (-seen.slope / state.rate - state.slope) / window
    curvature = state.curvature + (seen.curvature / state.rate**2 - state.curvature) / window
    in_range = jnp.isfinite(slope) & jnp.isfinite(curvature)  # not so where the square of the rate is not
    slope = jnp.where(in_range, slope, state.slope)
    curvature = jnp.where(in_range, curvature, state.curvature)
    bends, falls = curvature > 0, slope > 0
    best = jnp.where(falls, slope, 1.0) / jnp.where(bends, curvature * state.rate, 1.0)
    change = jnp.where(bends, GAIN * jnp.log(relaxation * best), GAIN)
    change = jnp.where(falls, change, -GAIN)
    change = jnp.clip(change, -GAIN, jnp.minimum(GAIN, GROWTH * every / (steps + 1.0)))
    factor = jnp.where(seen.known & in_range, jnp.exp(change), 1.0)
    spike = seen.rise * (jnp.maximum(share, LEAST_SHARE) if bounded else 1.0) > SPIKE * state.change
    factor = jnp.where(seen.known & spike, jnp.minimum(factor, _cut(seen)), factor)
    return Rates(
        rate=jnp.where(seen.failed, 0.5, factor) * state.rate,
        slope=jnp.where(seen.known, slope, state.slope),
        curvature=jnp.where(seen.known, curvature, state.curvature),
        change=jnp.where(seen.known, size, state.change),
        noise=jnp.where(seen.known, noise, state.noise),
    )


def _share(noise: jax.Array, change: jax.Array) -> jax.Array:
    """Return which part of what differs between two losses is noise: 0 where all batches are alike, to 1."""
    size = jnp.hypot(noise, change)
    return jnp.square(noise / jnp.where(size > 0, size, 1.0))


def _cut(seen: Seen) -> jax.Array:
    """Return the share of the last step that would have lowered the loss most."""
    bends = (seen.slope < 0) & (seen.curvature > 0)
    best = -seen.slope / jnp.where(bends, seen.curvature, 1.0)
    return jnp.where(bends, jnp.clip(best, LARGEST_CUT, 1.0), CUT)


def moved(factor: jax.Array, direction: Any, params: Any) -> Any:
    """Return factor * direction in the dtypes of the parameters; a zero factor gives zeros, whatever the direction."""
    return trees.cast_like(jax.tree.map(lambda d: jnp.where(factor == 0, 0.0, factor * d), direction), params)


def advance(state: Any, seen: Seen, rates: Rates, value: jax.Array) -> Any:
    """Return the state after a step, or after one held still; its trees are left to the caller."""
    count = optax.safe_increment(state.count)
    new = {"count": count, "measurement_failed": seen.failed, "loss": value, **rates._asdict()}
    kept = {name: jnp.where(seen.finite, field, getattr(state, name)) for name, field in new.items()}
    skipped = jnp.where(seen.finite, state.notfinite_count, optax.safe_increment(state.notfinite_count))
    return state._replace(notfinite_count=skipped, **kept)
