"""Do the toy's 4 moves against 29, and the rate on quadratics, hold when their numbers are changed?

Claim:    Fig. 2 of the paper is one function and one start: momentum needs 29 moves to leave a flat minimum,
          Interpolatron 4. Section 3 takes it for the general case: interpolation leaves flat regions faster. The
          appendix bounds the rate on quadratics by a spectral radius.
Protocol: what toy.py fitted to the figure (none of it is printed but the three slopes and the two numbers of moves):
          step 0.1, tau 0.9, alpha (0.1, 0.9), x(-1) = -0.1, x(0) = 0.1, breakpoint 1.1, flat part 0.1 x - 0.1. Each
          of beta, tau, alpha_1, both starts, the breakpoint and the three slopes is multiplied by its own factor,
          uniform within 0, 5, 10 or 25 % of 1, 400 draws each; tau stays below 0.99. A method has left for good from
          the move on after which f stays below -20, within 500 moves; and, as the figure counts, at the first f below
          -3. For the spectral radius: 400 draws of ten curvatures in [0.01, 1] (log-uniform), alpha_1 in [0.05,
          0.95], beta in [0.05, 3.5], 1,000 steps, float64. It is below 1 where beta h < 1 + 1/alpha_2 and, if alpha_1
          > alpha_2, beta h < 1 + 1/(alpha_1 - alpha_2).
Command:  optaxaccel run experiments/interpolatron/robust.py --scale small
Cost:     seconds. Scales differ in the number of draws.
Expected: unchanged, 4 moves and 29 to f < -3; else it measures. The error never falls more slowly than the radius
          says (within 2 %).
"""

from typing import Any

import numpy as np
import optax

from optaxaccel import interpolatron
from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study

BASE = {
    "beta": 0.1,
    "tau": 0.9,
    "alpha": 0.1,
    "before": -0.1,
    "start": 0.1,
    "end": 1.1,
    "left": -15.0,
    "flat": 0.1,
    "right": -15.0,
}
LOW, ONCE = -20.0, -3.0
METHODS = ("Interpolatron", "heavy ball")


def measure(draws: int, moves: int, changes: list[float], steps: int) -> Measured:
    random = np.random.default_rng(0)
    points, values = [], {}
    for change in changes:
        factors = random.uniform(1.0 - change, 1.0 + change, (draws, len(BASE)))
        drawn = {name: value * factors[:, k] for k, (name, value) in enumerate(BASE.items())}
        drawn["tau"] = np.minimum(drawn["tau"], 0.99)
        needed = dict(zip(METHODS, _moves(drawn, moves), strict=True))
        for name, (count, once) in needed.items():
            left = np.isfinite(count)
            where = f"changed by up to {100 * change:g} %: {name}"
            values[f"{where} never leaves (% of draws)"] = float(100 * np.mean(~left))
            values[f"{where}, median moves to leave for good"] = float(np.median(count[left])) if left.any() else np.inf
            values[f"{where}, median moves to f < -3"] = float(np.median(once))
            points += [] if change == 0.0 else _distribution(f"{100 * change:g}", name, count)
        (one, _), (other, _) = needed.values()
        values[f"changed by up to {100 * change:g} %: Interpolatron leaves first (% of draws)"] = float(
            100 * np.mean(one < other)
        )
    values |= _rates(draws, steps)
    return Measured(points, values)


def _moves(drawn: dict[str, np.ndarray], most: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return after how many moves, counted from x(-1), each method is below LOW for good, and first below ONCE."""
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):

        def both(p):
            def function(x):
                bottom = p["flat"] * p["end"] - 0.1
                return jnp.where(
                    x < 0,
                    p["left"] * x - 0.1,
                    jnp.where(x < p["end"], p["flat"] * x - 0.1, bottom + p["right"] * (x - p["end"])),
                )

            first = jax.grad(function)(p["before"])
            mixed = interpolatron(
                p["beta"],
                coefficients=jnp.stack([p["alpha"], 1.0 - p["alpha"]]),
                history_init=([p["before"]], [first]),
            )
            heavy = optax.sgd(p["beta"], momentum=p["tau"])
            first_state: Any = heavy.init(p["start"])
            begun = (optax.TraceState(trace=(p["before"] - p["start"]) / p["beta"]), *first_state[1:])

            def path(tx, state):
                def step(carry, _):
                    x, state = carry
                    updates, state = tx.update(jax.grad(function)(x), state, x)
                    x = optax.apply_updates(x, updates)
                    return (x, state), function(x)

                _, values = jax.lax.scan(step, (p["start"], state), length=most)
                low, once = values < LOW, values < ONCE
                last = most - jnp.argmin(low[::-1])  # moves up to the last point that is not low
                for_good = jnp.where(low[-1], jnp.where(jnp.all(low), 0, last) + 2, jnp.inf)
                return for_good, jnp.where(jnp.any(once), jnp.argmax(once) + 2, jnp.inf)

            return path(mixed, mixed.init(p["start"])), path(heavy, begun)

        return jax.device_get(jax.jit(jax.vmap(both))(jax.tree.map(jnp.asarray, drawn)))


def _distribution(panel: str, name: str, count: np.ndarray) -> list[dict]:
    """Return the share of draws that have left after so many moves."""
    at = np.unique(np.concatenate([[1.0], count[np.isfinite(count)]]))
    return [{"panel": panel, "series": name, "x": float(m), "y": float(100 * np.mean(count <= m))} for m in at]


def _rates(draws: int, steps: int) -> dict[str, float]:
    """Compare the error's fall with the radius of z^2 - (1 - beta h)(alpha_1 z + alpha_2), over draws."""
    import jax
    import jax.numpy as jnp

    random = np.random.default_rng(1)
    curvatures = 10 ** random.uniform(-2.0, 0.0, (draws, 10))
    alpha, beta = random.uniform(0.05, 0.95, draws), random.uniform(0.05, 3.5, draws)
    with jax.enable_x64(True):

        def path(h, a, beta):
            tx = interpolatron(beta, coefficients=jnp.stack([a, 1.0 - a]))

            def step(carry, _):
                x, state = carry
                updates, state = tx.update(h * x, state, x)
                x = optax.apply_updates(x, updates)
                return (x, state), jnp.linalg.norm(x)

            return jax.lax.scan(step, (jnp.ones_like(h), tx.init(jnp.ones_like(h))), length=steps)[1]

        errors = jax.device_get(jax.jit(jax.vmap(path))(*map(jnp.asarray, (curvatures, alpha, beta))))
    factor = 1.0 - beta[:, None] * curvatures
    first, second = factor * alpha[:, None], factor * (1.0 - alpha[:, None])
    root = np.sqrt((first**2 + 4.0 * second).astype(complex))
    radius = np.maximum(abs(first + root), abs(first - root)).max(1) / 2.0
    half = steps // 2
    good = (radius < 1.0) & (errors[:, -1] > 1e-280)  # below it the error is rounding
    fall = np.where(good, (errors[:, -1] / np.maximum(errors[:, half], 1e-300)) ** (1.0 / (steps - 1 - half)), 0.0)
    high, older = (beta[:, None] * curvatures).max(1) - 1.0, 1.0 - alpha
    first_bound = high < 1.0 / older
    both_bounds = first_bound & (high * (alpha - older) < 1.0)
    return {
        "quadratics: largest measured factor a step over the radius": float((fall[good] / radius[good]).max()),
        "quadratics: radius below 1 (% of draws)": float(100 * np.mean(radius < 1.0)),
        "quadratics: draws where beta h < 1 + 1/alpha_2 alone and the radius disagree": float(
            np.sum(first_bound != (radius < 1.0))
        ),
        "quadratics: draws where both bounds and the radius disagree": float(np.sum(both_bounds != (radius < 1.0))),
    }


EXPECTED = {
    "changed by up to 0 %: Interpolatron, median moves to f < -3": Expect(4.0, 4.0, "paper, Fig. 2"),
    "changed by up to 0 %: heavy ball, median moves to f < -3": Expect(29.0, 29.0, "paper, Fig. 2"),
    "quadratics: largest measured factor a step over the radius": Expect(0.0, 1.02, "paper, Lemma 3"),
    "quadratics: draws where both bounds and the radius disagree": Expect(0.0, 0.0, "our derivation"),
}
CHANGES = [0.0, 0.05, 0.1, 0.25]
RUNS = {
    "smoke": Study(measure, {"draws": 10, "moves": 100, "changes": [0.25], "steps": 50}),
    "small": Study(measure, {"draws": 400, "moves": 500, "changes": CHANGES, "steps": 1000}, EXPECTED),
    "paper": Study(measure, {"draws": 4000, "moves": 500, "changes": CHANGES, "steps": 1000}, EXPECTED),
}
PANELS = {
    f"{100 * c:g}": Panel(f"numbers changed by up to {100 * c:g} %", "moves", "draws that have left (%)", log="x")
    for c in CHANGES[1:]
}

VERDICT = {
    "small": (
        "partly reproduced",
        "The figure's counts hold as far as its numbers do. Unchanged: 4 moves against 29 to the first point "
        "below -3; but Interpolatron comes back once more, and to stay below -20 it takes 8 moves against 30. "
        "Changed by up to 5 %: it leaves in all of 400 draws, and first in 99.8 %. By up to 10 %: it has not "
        "left after 500 moves in 1.8 %, and is first in 87.5 %. By up to 25 %: not left in 18 %, first in 59 %. "
        "Heavy ball leaves in all draws. So where Interpolatron leaves it is quick (8 moves at the median, "
        "heavy ball 21 to 30), but it does not always leave. The appendix's rate holds in all draws; beta h < 1 "
        "+ 1/alpha_2 alone does not make the radius less than 1 (10 draws of 400), together with the second "
        "bound, for alpha_1 > alpha_2, it does.",
    )
}

if __name__ == "__main__":
    run_definition(__file__)
