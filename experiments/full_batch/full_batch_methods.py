"""The contenders on a full-batch problem: equal grids to begin with, wider ones for who stands at an end of his.

What counts is what a method has reached after so many oracle calls: a call is one evaluation of the loss, with or
without its gradient; a product with the Hessian counts as two. Then fresh starts with the best setting.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from full_batch_contenders import CONTENDERS, NATURAL_ENDS, Contender, grid_at_first, middle_of_best, widened
from full_batch_problems import PROBLEMS, Problem

from optaxaccel.methods import contract
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study
from optaxaccel.training.many.trajectory import QUICK

ROUNDS = 8  # of widening a grid
TUNING_SEED = 1000  # and those after it
TARGET = 1e-8
FLOOR = 1e-16  # of an excess loss over the first one: rounding


class Choice(NamedTuple):
    """The best setting, among how many, and whether its main and its other value stand at an end of what was tried."""

    main: float
    second: float
    tried: int
    main_at_end: bool
    second_at_end: bool


class Outcome(NamedTuple):
    """What a setting reached from every start: the excess loss over that of the start, after every step, and calls."""

    excess: np.ndarray
    calls: np.ndarray

    def within(self, budget: int) -> np.ndarray:
        """The excess after the last step that the budget pays for, by start; 1 for who ends above it."""
        last = (self.calls <= budget).sum(axis=1) - 1
        reached = self.excess[np.arange(len(last)), last]
        return np.where(np.isfinite(reached), np.clip(reached, FLOOR, 1.0), 1.0)

    def calls_to(self, target: float, budget: int) -> float:
        """Mean of the calls until the excess is at most `target`, over starts; the budget where it never is."""
        there = np.where((self.excess <= target) & (self.calls <= budget), self.calls, budget)
        return float(there.min(axis=1).mean())


def run(contender: Contender, problem: Problem, settings: list[tuple[float, float]], starts: np.ndarray, steps: int):
    """Make `steps` updates with every setting from the start beside it, together."""

    def one(lane: tuple[Any, Any, jax.Array]):
        main, second, start = lane
        return _one(contender.make(main, settings[0][1] if contender.static else second), problem, start, steps)

    every = jax.vmap(one) if not contender.searches else lambda lanes: jax.lax.map(one, lanes)
    together = jax.jit(every, compiler_options=QUICK)
    mains, seconds = (jnp.asarray(values) for values in zip(*settings, strict=True))
    values, calls = jax.device_get(together((mains, seconds, jnp.asarray(starts))))
    first = np.asarray(jax.vmap(problem.loss)(jnp.asarray(starts)))[:, None] - problem.lowest
    return Outcome((values - problem.lowest) / first, calls)


def _one(tx: Any, problem: Problem, start: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    """The loss at the iterate to evaluate, and the calls so far, at the start and after every step."""
    tx = optax.with_extra_args_support(tx)

    def step(carry, _):
        x, state, calls = carry
        value, grad = jax.value_and_grad(problem.loss)(x)
        updates, new = tx.update(grad, state, x, value=value, grad=grad, value_fn=problem.loss)
        x = optax.apply_updates(x, updates)
        calls = calls + _calls(new, state)
        return (x, new, calls), (problem.loss(contract.eval_params(new, x)), calls)

    _, (values, calls) = jax.lax.scan(step, (start, tx.init(start), jnp.zeros(())), length=steps)
    return jnp.concatenate([problem.loss(start)[None], values]), jnp.concatenate([jnp.zeros(1), calls])


def _calls(state: Any, before: Any) -> Any:
    """Oracle calls of a step: trials of a line search; else a gradient, PAL's second loss, searches of curvature."""
    line = contract.line_calls(state, before)
    if line is not None:
        return (line[0] + line[1]).astype(float)
    searches = (contract.search_attempts(state) - contract.search_attempts(before)).astype(float)
    return 1.0 + _measures(state) + searches * (2 * 16 + 2)  # Lanczos: 16 products; a gradient and a loss at the jump


def _measures(state: Any) -> float:
    from optaxaccel.methods import states

    return float(len(states.find(state, states.Measures)) and not len(states.find(state, states.Searches)))


def measure(
    problem: str, sizes: dict[str, Any], budget: int, tuning: int, seeds: int, contenders: list[str], every: int
) -> Measured:
    """Tune each contender from some starts, then run it from `seeds` others: geometric means of what is reached."""
    with jax.enable_x64(True):
        made = PROBLEMS[problem](**sizes)
        points: list[dict[str, Any]] = []
        values: dict[str, float] = {}
        for name in contenders:
            outcome, choice = _tuned(name, made, budget, tuning, seeds, every)
            reached = outcome.within(budget)
            values[f"excess, {name}"] = float(np.exp(np.log(reached).mean()))
            values[f"worst excess, {name}"] = float(reached.max())
            values[f"calls to an excess of {TARGET:g}, {name}"] = outcome.calls_to(TARGET, budget)
            values[f"starts from which nothing is gained, {name}"] = float((reached >= 1.0).sum())
            values[f"settings tried, {name}"] = float(choice.tried)
            if CONTENDERS[name].first is not None:
                values[f"main value, {name}"] = choice.main
                values[f"main value at an end of its grid, {name}"] = float(choice.main_at_end)
            if CONTENDERS[name].seconds:
                values[f"other value, {name}"] = choice.second
                values[f"other value at an end of its grid, {name}"] = float(choice.second_at_end)
            points += _curve(name, outcome, budget)
        for name in ("Anderson", "PAL", "RNA at every step"):
            if name in contenders:
                ratio = values[f"excess, {name}"] / values["excess, heavy ball"]
                values[f"excess of {name} over heavy ball's"] = ratio
        return Measured(points, values)


def _tuned(name: str, problem: Problem, budget: int, tuning: int, seeds: int, every: int) -> tuple[Outcome, Choice]:
    contender, starts = CONTENDERS[name], np.stack([problem.start(seed) for seed in range(seeds)])
    first = np.stack([problem.start(TUNING_SEED + k) for k in range(tuning)])
    tried, scores = grid_at_first(contender, every), {}
    for more in reversed(range(ROUNDS)):
        fresh = [setting for setting in tried.settings() if setting not in scores]
        for group in ([s for s in fresh if s[1] == b] for b in tried.seconds) if contender.static else [fresh]:
            lanes = [setting for setting in group for _ in range(tuning)]
            if lanes:
                reached = run(contender, problem, lanes, np.concatenate([first] * len(group)), budget).within(budget)
                means = np.log(reached).reshape(len(group), tuning).mean(axis=1)
                scores |= dict(zip(group, means, strict=True))
        best = middle_of_best(scores)
        exponents = {float(10.0**a): a for a in tried.mains}
        wider = widened(contender, tried, exponents[best[0]], best[1])
        if wider == tried or every > 1 or not more:
            break
        tried = wider
    main_at_end = _stands_at_end(sorted(exponents), best[0])
    second_at_end = _stands_at_end(tried.seconds, best[1]) and best[1] not in NATURAL_ENDS
    choice = Choice(best[0], best[1], len(scores), main_at_end, second_at_end)
    return run(contender, problem, [best] * seeds, starts, budget), choice


def _stands_at_end(values: Sequence[float], best: float) -> bool:
    return len(values) > 1 and best in (values[0], values[-1])


def _curve(name: str, outcome: Outcome, budget: int) -> list[dict[str, Any]]:
    """The geometric mean over starts after so many calls."""
    rows = []
    for calls in np.linspace(0, budget, 61):
        y = float(np.exp(np.log(outcome.within(int(calls))).mean()))
        rows.append({"panel": "calls", "series": name, "x": float(int(calls)), "y": y})
    return rows


OUTSIDE = "measured elsewhere, with tuned rivals"
BELOW = {
    f"excess of {name} over heavy ball's": Expect(0.0, 1e-2, OUTSIDE)
    for name in ("Anderson", "PAL", "RNA at every step")
}
SADDLES = "a zero gradient; Carmon et al. 2018; Yu et al. 2017"
LEAVES = {f"excess, {name}": Expect(0.0, 1e-3, SADDLES) for name in ("GOSE", "ANCM")} | {
    "worst excess, heavy ball": Expect(0.5, 1.0, SADDLES)
}
PANELS = {"calls": Panel("reached, geometric mean over starts", "oracle calls", "excess loss / first", log="y")}


def runs(
    problem: str, sizes: dict[str, Any], smoke: dict[str, Any], expected: Mapping[str, Expect], tuning: int = 3
) -> dict[str, Study]:
    """The three scales of a problem's study: 300 calls and five starts, or 3,000 and ten at paper scale."""

    def study(sizes: dict[str, Any], budget: int, tuning: int, seeds: int, contenders: list[str], every: int) -> Study:
        arguments = {"budget": budget, "tuning": tuning, "seeds": seeds, "contenders": contenders, "every": every}
        return Study(measure, {"problem": problem, "sizes": sizes, **arguments}, expected)

    return {
        "smoke": study(smoke, 6, 1, 1, ["heavy ball", "PAL"], 10),
        "small": study(sizes, 300, tuning, 5, list(CONTENDERS), 1),
        "paper": study(sizes, 3000, tuning, 10, list(CONTENDERS), 1),
    }
