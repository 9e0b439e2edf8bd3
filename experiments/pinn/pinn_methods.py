"""The contenders on a physics-informed network: each gives its error after so many evaluations and so many seconds."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import scipy.optimize
from jax.flatten_util import ravel_pytree
from pinn_problems import EQUATIONS, Equation, error_of, loss_of, random_points, start

import optaxaccel
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study

CHUNK = 25  # steps between two looks at the error


class Look(NamedTuple):
    """A moment of a run: evaluations and seconds so far, and the error."""

    evaluations: int
    seconds: float
    error: float


class Clock:
    """Adds up the seconds of the method alone."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def run(self, function: Callable[[], Any]) -> Any:
        """Call, wait for the result and count the time."""
        started = time.perf_counter()
        result = jax.block_until_ready(function())
        self.seconds += time.perf_counter() - started
        return result


class Task(NamedTuple):
    """What every contender gets: the loss, the data, a start, a measure and how many evaluations it may take."""

    equation: Equation
    loss: Callable[..., jax.Array]
    error: Callable[[Any], float]
    budget: int


def minimized(make: Callable[[], Any], *, before: int = 0, resample: int = 0):
    """Return a contender that `minimize` runs, after Adam for `before` of the budget, on new points every so often."""
    tx, adam = make(), optax.adam(3e-3)

    def contender(task: Task, params: Any, seed: int) -> Iterator[Look]:
        points, done, clock = task.equation.points, 0, Clock()
        legs = [(adam, task.budget * before // 100)] * bool(before)
        rounds = -(-task.budget // resample) if resample else 1
        legs += [(tx, min(task.budget, (k + 1) * (resample or task.budget))) for k in range(rounds)]
        for leg, (method, end) in enumerate(legs):
            if resample and leg:
                points = random_points(task.equation, len(points), 1000 * seed + leg)
            arguments: dict[str, Any] = {"method": method, "tol": 0.0, "data": {"points": points}}
            optaxaccel.minimize(task.loss, params, max_steps=0, **arguments)  # compiles
            state, begun = None, done
            while done < end:
                steps = min(CHUNK, end - done)
                result = clock.run(
                    lambda s=state, p=params, n=steps, a=arguments: optaxaccel.minimize(
                        task.loss, p, state=s, max_steps=n, **a
                    )
                )
                state, params, done = result.state, result.params, begun + int(result.evaluations)
                yield Look(done, clock.seconds, task.error(params))
                if int(result.status) != optaxaccel.SearchStatus.LIMIT or int(result.steps) == 0:
                    break

    return contender


def optax_lbfgs(task: Task, params: Any, seed: int) -> Iterator[Look]:
    """`optax.lbfgs` as its documentation runs it, with the value and the gradient of its state."""
    tx, points, clock = optax.lbfgs(), task.equation.points, Clock()

    def value_fn(params: Any) -> jax.Array:
        return task.loss(params, points)

    @jax.jit
    def chunk(params: Any, state: Any) -> tuple[Any, Any, jax.Array]:
        def step(_: Any, carry: tuple) -> tuple:
            params, state, calls = carry
            value, grad = optax.value_and_grad_from_state(value_fn)(params, state=state)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=value_fn)
            return optax.apply_updates(params, updates), state, calls + optax.tree.get(state, "num_linesearch_steps")

        return jax.lax.fori_loop(0, CHUNK, step, (params, state, 0))

    state, done = tx.init(params), 1
    chunk.lower(params, state).compile()
    jax.block_until_ready(chunk(params, state))
    while done < task.budget:
        params, state, calls = clock.run(lambda p=params, s=state: chunk(p, s))
        done += int(calls)
        yield Look(done, clock.seconds, task.error(params))


def scipy_lbfgsb(task: Task, params: Any, seed: int) -> Iterator[Look]:
    """SciPy's L-BFGS-B around one compiled function of a flat vector."""
    x, unravel = ravel_pytree(params)
    points = task.equation.points
    function = jax.jit(jax.value_and_grad(lambda x: task.loss(unravel(x), points)))
    jax.block_until_ready(function(x))
    looks, clock, calls = [], Clock(), [0]
    started = [time.perf_counter()]

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        calls[0] += 1
        value, grad = function(x)
        return float(value), np.asarray(grad)

    def look(x: Any) -> None:
        clock.seconds += time.perf_counter() - started[0]
        if not looks or calls[0] - looks[-1].evaluations >= CHUNK:
            looks.append(Look(calls[0], clock.seconds, task.error(unravel(x))))
        started[0] = time.perf_counter()

    options = {"maxiter": task.budget, "maxfun": task.budget, "gtol": 0.0, "ftol": 0.0, "maxcor": 10}
    result = scipy.optimize.minimize(
        evaluate, np.asarray(x), jac=True, method="L-BFGS-B", callback=look, options=options
    )
    clock.seconds += time.perf_counter() - started[0]
    looks.append(Look(calls[0], clock.seconds, task.error(unravel(result.x))))
    yield from looks


CONTENDERS: dict[str, Callable[[Task, Any, int], Iterator[Look]]] = {
    "Adam": minimized(lambda: optax.adam(3e-3)),
    "nesterov": minimized(lambda: optaxaccel.nesterov(1e-4)),
    "anderson": minimized(lambda: optaxaccel.anderson(1e-4)),
    "PAL": minimized(lambda: optaxaccel.pal(measuring_step_size=1e-3)),
    "Adam, then L-BFGS": minimized(optaxaccel.lbfgs, before=50),
    "optax L-BFGS": optax_lbfgs,
    "SciPy L-BFGS-B": scipy_lbfgsb,
    "L-BFGS": minimized(optaxaccel.lbfgs),
    "BFGS": minimized(optaxaccel.bfgs),
    "SSBFGS": minimized(optaxaccel.ssbfgs),
    "SSBroyden": minimized(optaxaccel.ssbroyden),
    "Adam, then SSBroyden": minimized(optaxaccel.ssbroyden, before=25),
    "SSBroyden, new points": minimized(optaxaccel.ssbroyden, resample=250),
}


def measure(equation: str, budget: int, seeds: int, contenders: int) -> Measured:
    """Run contenders on an equation; geometric means over seeds of the last error, and the mean of seconds."""
    with jax.enable_x64(True):
        made = EQUATIONS[equation]()
        task = Task(made, loss_of(made), error_of(made), budget)
        points: list[dict[str, Any]] = []
        values: dict[str, float] = {}
        for name in list(CONTENDERS)[-contenders:]:
            runs = [list(CONTENDERS[name](task, start(made, seed), seed)) for seed in range(seeds)]
            last = np.log([max(run[-1].error, 1e-300) for run in runs])
            values[f"error, {name}"] = float(np.exp(last.mean()))
            values[f"worst error over best, {name}"] = float(np.exp(last.max() - last.min()))
            values[f"seconds, {name}"] = float(np.mean([run[-1].seconds for run in runs]))
            values[f"evaluations, {name}"] = float(np.mean([run[-1].evaluations for run in runs]))
            points += curves(name, runs)
        for name in ("L-BFGS", "BFGS"):
            if f"error, {name}" in values:
                values[f"error of SSBroyden over that of {name}"] = (
                    values["error, SSBroyden"] / values[f"error, {name}"]
                )
        return Measured(points, values)


EXPECTED = {
    "error of SSBroyden over that of L-BFGS": Expect(0.0, 0.1, "Urbán et al., 2025"),
    "error of SSBroyden over that of BFGS": Expect(0.0, 1.0, "Urbán et al., 2025"),
    "error, SSBroyden, new points": Expect(0.0, 1.0, "a network that says zero"),
}
PANELS = {
    "evaluations": Panel("against evaluations", "losses with gradients", "relative L2 error", log="y"),
    "seconds": Panel("against seconds, compiling left out", "seconds", "relative L2 error", log="xy"),
}


def runs(equation: str) -> dict[str, Study]:
    """Return the three scales of an equation's study."""
    sizes = {"smoke": (50, 1, 1), "small": (1000, 5, len(CONTENDERS)), "paper": (5000, 5, len(CONTENDERS))}
    return {
        scale: Study(
            measure, {"equation": equation, "budget": budget, "seeds": seeds, "contenders": contenders}, EXPECTED
        )
        for scale, (budget, seeds, contenders) in sizes.items()
    }


def curves(name: str, runs: list[list[Look]]) -> list[dict[str, Any]]:
    """Return the error, a geometric mean over seeds, against evaluations and against seconds."""
    points = []
    for panel in ("evaluations", "seconds"):
        end = max(getattr(run[-1], panel) for run in runs)
        for x in np.linspace(end / 40, end, 40):
            errors = [_error_at(run, panel, x) for run in runs]
            points.append({"panel": panel, "series": name, "x": float(x), "y": float(np.exp(np.mean(np.log(errors))))})
    return points


def _error_at(run: list[Look], panel: str, x: float) -> float:
    reached = [look for look in run if getattr(look, panel) <= x * (1 + 1e-9)] or run[:1]
    return max(reached[-1].error, 1e-300)
