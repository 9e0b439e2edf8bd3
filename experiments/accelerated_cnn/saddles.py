"""Do GOSE and ANCM leave true saddles that momentum SGD cannot leave within the same budget?

Claim:    GOSE and ANCM escape saddle points along negative curvature (the papers that the report builds on). The
          report's own finder, 16 power iterations, is said to find the direction; its runs never called it.
Protocol: exact saddles, where the gradient vanishes: x^2/2 - y^2/2 + y^4/4 from (0, 0), and the factorisation of a
          random 3 x 4 matrix of rank one from zero. Every method gets the same number of gradients and Hessian
          products, counted (one search of Lanczos is 16 products, a product counts as two gradients). Rate 0.1, jump
          0.5 (factorisation 0.05 and 0.5). Then the same from a start 1e-6 beside the saddle. And the number of
          products that the published finder (shifted power iteration, rate 0.5, shift 5) and Lanczos need to find
          curvature -1 within 10 % in 68,000 dimensions, with the other curvatures uniform in [0, 5].
Command:  optaxaccel run experiments/accelerated_cnn/saddles.py --scale small
Cost:     under a minute. Scales differ in the dimension of the last part.
Expected: from the exact saddle momentum SGD and AGD do not move at all, GOSE, ANCM and the combined method reach the
          minimum; the published finder needs about 86 products where it has 16, Lanczos 6 to 10.
"""

from typing import Any

import numpy as np
import optax

from optaxaccel import agd, ancm, gose_agd, gose_sgd, lanczos, shifted_power
from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study, about
from optaxaccel.training.many.trajectory import Trajectory, follow

THEORY = "Carmon et al. 2018; Yu et al. 2017"
BUDGET = 400  # gradients, of which a Hessian product counts as two and a loss as a third

METHODS = {
    "momentum SGD": lambda rate: optax.sgd(rate, momentum=0.9),
    "AGD": lambda rate: agd(rate),
    "GOSE": lambda rate: gose_sgd(rate),
    "combined": lambda rate: gose_agd(rate),
    "ANCM": lambda rate: ancm(rate, period=50),
}


def measure(dimension: int, problems: list[str], distances: list[float], counts: dict[str, list[int]]) -> Measured:
    import jax.numpy as jnp

    target = np.outer(np.array([1.0, -2.0, 0.5]), np.array([1.0, 0.5, -1.0, 2.0]))

    def saddle(p):
        return p[0] ** 2 / 2 - p[1] ** 2 / 2 + p[1] ** 4 / 4

    def factorisation(p):
        return 0.5 * jnp.sum((p[:3, None] * p[None, 3:] - target) ** 2)

    known = {"saddle": (saddle, 2, 0.1, -0.25), "factorisation": (factorisation, 7, 0.05, 0.0)}
    points, values = [], {}
    for problem in problems:
        loss, size, rate, least = known[problem]
        for distance in distances:
            start = distance * np.random.default_rng(0).normal(size=size)
            for name, make in METHODS.items():
                path = follow(lambda make=make, rate=rate: make(rate), loss, start, BUDGET, watch=_searches)
                calls = _calls(path)
                kept = calls <= BUDGET
                gap = float(path.values[kept][-1] - least)
                where = "from the saddle" if distance == 0 else "from 1e-6 beside it"
                values[f"{problem} {where}: f - min f, {name}"] = gap
                if distance == 0:
                    moved = [float(np.abs(p - start).max()) for p in path.points[kept]]
                    values[f"{problem} {where}: moved, {name}"] = moved[-1]
                points += [
                    {"panel": f"{problem} {distance:g}", "series": name, "x": float(c), "y": float(v - least)}
                    for c, v in zip(calls[kept], path.values[kept], strict=True)
                ]
    values |= _products(dimension, counts)
    return Measured(points, values)


def _searches(state) -> Any:
    """Return the searches so far. ANCM searches again after every jump of an update."""
    return getattr(state, "num_searches", 0) + (state.num_jumps if hasattr(state, "position") else 0)


def _calls(path: Trajectory) -> np.ndarray:
    """Return gradients used up to every point: one a step and, a search, 16 products and the check of the jump."""
    return np.arange(len(path.points)) + (2 * 16 + 1 + 1 / 3) * path.watched


def _products(dimension: int, counts: dict[str, list[int]]) -> dict[str, float]:
    """Return how many Hessian products two finders need for an estimate within 10 % of -1."""
    import jax
    import jax.numpy as jnp

    curvatures = jnp.concatenate([jnp.array([-1.0]), jnp.linspace(0.0, 5.0, dimension - 1)])

    def loss(p):
        return 0.5 * jnp.sum(curvatures * p**2)

    result = {}
    finders = {"shifted power": lambda n: shifted_power(epochs=1, inner=n), "Lanczos": lanczos}
    for name, make in finders.items():
        estimates = {n: float(make(n).find(loss, jnp.zeros(dimension), jax.random.key(0))[0]) for n in counts[name]}
        good = [n for n, e in estimates.items() if e < -0.9]
        result[f"products of {name} to find -1 within 10 %"] = float(good[0]) if good else float("inf")
        if name == "shifted power":
            result["estimate of shifted power after the published 16"] = estimates[16]
    return result


ESCAPES = ("GOSE", "combined", "ANCM")
EXPECTED = {
    **{
        f"{p} from the saddle: f - min f, {m}": Expect(0.0, 1e-3, THEORY)
        for p in ("saddle", "factorisation")
        for m in ESCAPES
    },
    **{
        f"{p} from the saddle: moved, {m}": about(0.0, 0.0, "a zero gradient")
        for p in ("saddle", "factorisation")
        for m in ("momentum SGD", "AGD")
    },
    "products of shifted power to find -1 within 10 %": Expect(60.0, 120.0, "measured before: 63 to 113"),
    "products of Lanczos to find -1 within 10 %": Expect(2.0, 12.0, "measured before: 6 to 10"),
    "estimate of shifted power after the published 16": Expect(0.0, float("inf"), "measured before: finds nothing"),
}
COUNTS = {
    "shifted power": [16, 40, 50, 60, 70, 75, 80, 85, 90, 100, 120],
    "Lanczos": [2, 4, 5, 6, 7, 8, 9, 10, 12, 16],
}
SIZES = {"dimension": 68_000, "problems": ["saddle", "factorisation"], "distances": [0.0, 1e-6], "counts": COUNTS}
FEW = {"shifted power": [16], "Lanczos": [16]}
RUNS = {
    "smoke": Study(measure, {"dimension": 100, "problems": ["saddle"], "distances": [0.0], "counts": FEW}),
    "small": Study(measure, SIZES, EXPECTED),
    "paper": Study(measure, {**SIZES, "dimension": 68_106}, EXPECTED),
}
PANELS = {
    "saddle 0": Panel("x^2/2 - y^2/2 + y^4/4 from (0, 0)", "gradients (a product counts 2)", "f - min f", log="y"),
    "saddle 1e-06": Panel("from 1e-6 beside it", "gradients (a product counts 2)", "f - min f", log="y"),
    "factorisation 0": Panel("factorisation from 0", "gradients (a product counts 2)", "f - min f", log="y"),
    "factorisation 1e-06": Panel("from 1e-6 beside it", "gradients (a product counts 2)", "f - min f", log="y"),
}

VERDICT = {
    "small": (
        "reproduced",
        "Where a search really runs, GOSE, ANCM and their combination leave both saddles that momentum SGD "
        "and AGD never leave. From a start 1e-6 beside the saddle momentum leaves as well within the budget, "
        "so what counts is the exact saddle. The published finder's 16 power iterations find no negative "
        "curvature; 70 would.",
    ),
    "paper": (
        "reproduced",
        "As at the small scale, now with as many parameters as the 3-conv network for CIFAR-10 has: the "
        "published finder would need 70 products, Lanczos 9.",
    ),
}

if __name__ == "__main__":
    run_definition(__file__)
