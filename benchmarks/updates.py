"""The update alone: 11 million parameters in 62 leaves (ResNet-18's shapes), float32, everything donated."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxaccel
from benchmarks.measure import Donated, Row, interleave, rows_of


def resnet18_like() -> dict[str, jax.Array]:
    """Return 11.2 million random parameters with the leaf shapes of a ResNet-18 with ten classes."""
    shapes, width = [(3, 3, 3, 64), (64,), (64,)], 64
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            shapes += [
                (3, 3, width, channels),
                (channels,),
                (channels,),
                (3, 3, channels, channels),
                (channels,),
                (channels,),
            ]
            if block == 0 and stage > 0:
                shapes += [(1, 1, width, channels), (channels,), (channels,)]
            width = channels
    shapes += [(512, 10), (10,)]
    rng = np.random.default_rng(0)
    return {f"{i:02d}": jnp.asarray(rng.normal(size=shape).astype(np.float32)) for i, shape in enumerate(shapes)}


# Parameter-sized arrays that an update has to read and write. SGD with momentum has five: the gradient is read,
# momentum and parameters are read and written. A history of k pairs is read whole, and its newest pair written.
ARRAYS = {
    "optax.sgd(momentum)": 5,
    "optax.sgd(nesterov)": 5,
    "optax.adam": 7,
    "indian": 5,
    "agd": 5,
    "nesterov": 5,
    "interpolatron k=2": 7,
    "interpolatron k=3": 9,
    "interpolatron k=5": 13,
    "anderson k=2": 9,
    "anderson k=3": 12,
    "anderson k=5": 18,
}


def variants() -> dict[str, tuple[optax.GradientTransformation, float]]:
    """Return the transformations to time and their goals as ratios to SGD with momentum (0: none)."""
    return {
        "optax.sgd(momentum)": (optax.sgd(0.01, momentum=0.9), 0),
        "optax.sgd(nesterov)": (optax.sgd(0.01, momentum=0.9, nesterov=True), 0),
        "optax.adam": (optax.adam(0.001), 0),
        "indian": (optaxaccel.indian(0.01), 1.1),
        "agd": (optaxaccel.agd(0.01), 1.1),
        "nesterov": (optaxaccel.nesterov(0.01), 0),
        "interpolatron k=2": (optaxaccel.interpolatron(0.01), 1.8),
        "interpolatron k=3": (optaxaccel.interpolatron(0.01, coefficients=(0.1, 0.3, 0.6)), 2.2),
        "interpolatron k=5": (optaxaccel.interpolatron(0.01, coefficients=(0.1, 0.1, 0.2, 0.3, 0.3)), 3.2),
        "anderson k=2": (optaxaccel.anderson(0.01, history=2), 2.6),
        "anderson k=3": (optaxaccel.anderson(0.01, history=3), 3.2),
        "anderson k=5": (optaxaccel.anderson(0.01, history=5), 6),
    }


def stepper(tx: optax.GradientTransformation, params: optax.Params) -> Donated:
    """Compile one update of `tx`, applied."""

    def step(carry, grads):
        params, state = carry
        updates, state = optax.with_extra_args_support(tx).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    start = jax.tree.map(jnp.copy, params)
    return Donated(step, (start, tx.init(params)), jax.tree.map(lambda p: 0.01 * p, params))


def run(
    rounds: int, names: Sequence[str] = tuple(ARRAYS), title: str = "update alone, 11.2 M parameters, 62 leaves"
) -> list[Row]:
    """Return one row a variant."""
    params, chosen = resnet18_like(), {name: variants()[name] for name in names}
    steppers = {name: stepper(tx, params) for name, (tx, _) in chosen.items()}
    goals = {name: goal for name, (_, goal) in chosen.items() if goal}
    limits = {name: ARRAYS[name] / ARRAYS["optax.sgd(momentum)"] for name in chosen}
    rows = rows_of(title, interleave(steppers, rounds=rounds), goals=goals, limits=limits)
    for row in rows:
        step = steppers[row["variant"]]
        row.update({"temporary MB": step.temporary_bytes / 1e6, "compile s": step.compile_seconds})
    return rows
