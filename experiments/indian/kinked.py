"""What do alpha and beta do to INDIAN on a function with kinks?

Claim:    Fig. 1 of the paper: on J = 100 (t2 - |t1|)^2 + |1 - t1| three choices of (alpha, beta) give three kinds of
          trajectory, and all of them come down; beta damps the oscillations across the valley.
Protocol: nothing is tuned. The paper gives neither start nor hyperparameters; ours are the start (-1, 0.5), the
          constant step 0.005, a tenth of it beside it over the same time, and (alpha, beta) = (0.5, 0.1), (0.5, 0.5),
          (1.3, 0.1). INDIAN starts at zero velocity.
Command:  optaxaccel run experiments/indian/kinked.py --scale small
Cost:     a second. Scales differ in the number of steps.
Expected: all three decrease J; the larger beta, the fewer times the path crosses the valley's floor t2 = |t1|; the
          step 0.02 with beta 0.5, which the published values would allow, explodes.
"""

import numpy as np

from optaxaccel import indian
from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study
from optaxaccel.training.many.trajectory import follow

PAIRS = ((0.5, 0.1), (0.5, 0.5), (1.3, 0.1))
FIGURE = "paper, Fig. 1"


def measure(steps: int, rate: float) -> Measured:
    import jax.numpy as jnp

    def function(t):
        return 100.0 * (t[1] - jnp.abs(t[0])) ** 2 + jnp.abs(1.0 - t[0])

    start = np.array([-1.0, 0.5])
    points, values = [], {"J at the start": float(function(start))}
    for alpha, beta in PAIRS:
        name = f"alpha {alpha}, beta {beta}"

        def path(rate, steps, alpha=alpha, beta=beta):
            return follow(lambda: indian(rate, alpha=alpha, beta=beta), function, start, steps)

        whole, fine = path(rate, steps), path(rate / 10, 10 * steps)
        values[f"lowest J, {name}"] = float(whole.values.min())
        values[f"crossings of the floor, {name}"] = _crossings(whole.points)
        values[f"crossings of the floor, {name}, step / 10"] = _crossings(fine.points)
        values[f"mean |t2 - |t1||, {name}, step / 10"] = float(np.abs(_off(fine.points)).mean())
        every = max(1, steps // 200)
        points += [{"panel": "path", "series": name, "x": float(a), "y": float(b)} for a, b in whole.points[::every]]
        points += [{"panel": "value", "series": name, "x": k, "y": float(v)} for k, v in enumerate(whole.values)]
    wild = follow(lambda: indian(0.02, alpha=0.5, beta=0.5), function, start, 200).values
    values["J after 200 steps of 0.02, alpha 0.5, beta 0.5"] = float(np.nan_to_num(wild[-1], nan=1e300, posinf=1e300))
    return Measured(points, values)


def _off(points: np.ndarray) -> np.ndarray:
    return points[:, 1] - np.abs(points[:, 0])


def _crossings(points: np.ndarray) -> float:
    return float((np.diff(np.sign(_off(points))) != 0).sum())


EXPECTED = {
    **{f"lowest J, alpha {a}, beta {b}": Expect(0.0, 2.0, FIGURE) for a, b in PAIRS},
    "J after 200 steps of 0.02, alpha 0.5, beta 0.5": Expect(1e6, float("inf"), "measured before"),
}
RUNS = {
    "smoke": Study(measure, {"steps": 200, "rate": 0.005}),
    "small": Study(measure, {"steps": 4000, "rate": 0.005}, EXPECTED),
    "paper": Study(measure, {"steps": 4000, "rate": 0.005}, EXPECTED),
}
PANELS = {
    "path": Panel("trajectories from (-1, 0.5)", "theta 1", "theta 2"),
    "value": Panel("the function along them", "steps", "J", log="y"),
}

VERDICT = {
    "small": (
        "partly reproduced",
        "Three choices of (alpha, beta) give three kinds of path and all come down, as in the figure; its "
        "start and hyperparameters are not printed, so nothing closer can be tested. The damping by beta "
        "shows in the distance from the floor (half as large with beta 0.5), not in the number of crossings: "
        "along a kink the discrete path crosses at almost every other step.",
    ),
    "paper": (
        "partly reproduced",
        "The same plan: the small scale has the size of the figure already.",
    ),
}

if __name__ == "__main__":
    run_definition(__file__)
