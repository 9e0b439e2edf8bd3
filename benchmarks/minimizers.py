"""`minimize` against SciPy, optimistix and optax's L-BFGS, in float64: steps, an equation, compiling, many starts.

optimistix is left out where it is not installed. A step of its BFGS may be a trial that it rejects, which is cheaper
than a step of the others.
"""

import importlib
import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import optimize

import optaxaccel
from benchmarks.measure import Row, alternate, rows_of, timed

SIZES = {1_000: 30, 5_000: 2}  # unknowns, and steps: SciPy makes few in a second
SEEDS = 3
WIDTH = 16  # a network of 321 numbers
ENOUGH = 1e-6  # relative error on the equation
STEPS = 1000  # at most, to get there
STARTS = 32


def run(rounds: int) -> list[Row]:
    """Return one row a variant."""
    rounds = max(3, rounds // 8)
    with jax.enable_x64(True):
        rows = [row for size, steps in SIZES.items() for row in _steps(size, steps, rounds)]
        return [*rows, *_equation(rounds), _compile(), *_many(rounds)]


# --- A step -----------------------------------------------------------------------------------------------------------


def chain(x: jax.Array) -> jax.Array:
    """Rosenbrock's function of a chain of unknowns, with a gentle valley."""
    return jnp.sum((x[1:] - x[:-1] ** 2) ** 2) + jnp.sum((1 - x) ** 2) / 10


def _steps(size: int, steps: int, rounds: int) -> list[Row]:
    start = jnp.asarray(np.random.default_rng(0).normal(size=size))

    def ours() -> float:
        return _each(partial(optaxaccel.minimize, chain, start, tol=0.0, max_steps=steps), lambda r: int(r.steps))

    def theirs() -> float:
        return _each(lambda: _scipy(chain, start, steps), lambda r: r.nit)

    variants = {"SciPy, BFGS": theirs, "optaxaccel, bfgs": ours}
    title = f"a step of BFGS on a chain of {size:,} unknowns, losses included, "
    rows = rows_of(
        f"{title}against SciPy around the compiled loss",
        alternate(variants, rounds=rounds, warm_up=1),
        goals={"optaxaccel, bfgs": 0.35},
    )
    if importlib.util.find_spec("optimistix") is None:
        print("minimizers: optimistix is not installed and left out")
        return rows
    variants = {"optimistix, BFGS": _optimistix(start, steps), "optaxaccel, bfgs": ours}
    timings = alternate(variants, rounds=2 * rounds, warm_up=1)
    return rows + rows_of(f"{title}against optimistix", timings, goals={"optaxaccel, bfgs": 0.7})


def _each(call: Callable[[], Any], count: Callable[[Any], int]) -> float:
    """Return the seconds of a step."""
    started = time.perf_counter()
    result = jax.block_until_ready(call())
    return (time.perf_counter() - started) / count(result)


def _scipy(fun: Callable, start: Any, steps: int, method: str = "BFGS", callback: Any = None) -> Any:
    both = _both(fun)
    options = {"maxiter": steps, "gtol": 0.0}
    return optimize.minimize(
        lambda x: tuple(map(np.asarray, both(x))), start, jac=True, method=method, options=options, callback=callback
    )


_COMPILED: dict[Callable, Callable] = {}


def _both(fun: Callable) -> Callable:
    return _COMPILED.setdefault(fun, jax.jit(jax.value_and_grad(fun)))


def _optimistix(start: jax.Array, steps: int) -> Callable[[], float]:
    optx = importlib.import_module("optimistix")
    solver = optx.BFGS(rtol=0.0, atol=0.0)

    @jax.jit
    def solve(start):
        return optx.minimise(lambda x, _: chain(x), solver, start, max_steps=steps, throw=False).value

    return lambda: timed(lambda: solve(start))() / steps


# --- An equation ------------------------------------------------------------------------------------------------------


def _network(flat: jax.Array, x: jax.Array) -> jax.Array:
    w, b, v, c, k, d = jnp.split(flat, np.cumsum([WIDTH, WIDTH, WIDTH * WIDTH, WIDTH, WIDTH]))
    hidden = jnp.tanh(jnp.tanh(x * w + b) @ v.reshape(WIDTH, WIDTH) + c)
    return (hidden @ k + d)[0]


def _u(flat: jax.Array, x: jax.Array) -> jax.Array:
    return x * (jnp.pi - x) * _network(flat, 2 * x / jnp.pi - 1)


def equation(flat: jax.Array) -> jax.Array:
    """The residual of u'' = -sin x on (0, pi) with u = 0 at the ends, a mean square over 60 points."""
    points = (jnp.arange(60) + 0.5) * jnp.pi / 60
    return jnp.mean(jax.vmap(lambda x: jax.grad(jax.grad(_u, 1), 1)(flat, x) + jnp.sin(x))(points) ** 2)


@jax.jit
def error_of(flat: jax.Array) -> jax.Array:
    """The relative error of u against sin x."""
    x = jnp.linspace(0.0, jnp.pi, 501)
    return jnp.linalg.norm(jax.vmap(_u, (None, 0))(flat, x) - jnp.sin(x)) / jnp.linalg.norm(jnp.sin(x))


def start_of(seed: int) -> jax.Array:
    """Kernels drawn as Glorot and Bengio do, biases zero."""
    rng, none = np.random.default_rng(seed), np.zeros(WIDTH)
    w, k = (rng.normal(size=WIDTH) * (2 / (1 + WIDTH)) ** 0.5 for _ in range(2))
    v = rng.normal(size=WIDTH * WIDTH) * (1 / WIDTH) ** 0.5
    return jnp.asarray(np.concatenate([w, none, v, none, k, [0.0]]))


def _lbfgs() -> Callable[[jax.Array, int], jax.Array]:
    tx = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(equation)

    @jax.jit
    def solve(x, steps):
        def step(_, carry):
            x, state = carry
            value, grad = value_and_grad(x, state=state)
            updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=equation)
            return optax.apply_updates(x, updates), state

        return jax.lax.fori_loop(0, steps, step, (x, tx.init(x)))[0]

    return solve


def _equation(rounds: int) -> list[Row]:
    """Seconds to a relative error, over some starts, each solver with as many steps as it needs."""
    solvers = {
        "SciPy, BFGS": lambda x, steps: _scipy(equation, x, steps).x,
        "SciPy, L-BFGS-B": lambda x, steps: _scipy(equation, x, steps, "L-BFGS-B").x,
        "optax.lbfgs": _lbfgs(),
        "optaxaccel, bfgs": lambda x, steps: optaxaccel.minimize(equation, x, tol=0.0, max_steps=steps).params,
        "optaxaccel, ssbroyden": lambda x, steps: (
            optaxaccel.minimize(equation, x, method="ssbroyden", tol=0.0, max_steps=steps).params
        ),
    }
    variants, rows = {}, []
    for name, solve in solvers.items():
        needed = [_steps_to(solve, start_of(seed)) for seed in range(SEEDS)]
        variants[name] = timed(
            lambda solve=solve, needed=needed: [solve(start_of(k), n) for k, (n, _) in enumerate(needed)]
        )
        errors = [error for _, error in needed]
        rows.append(
            {
                "benchmark": f"largest relative error reached on Poisson's equation, {SEEDS} starts",
                "variant": name,
                "error": max(errors),
            }
        )
    timings = alternate(variants, rounds=rounds, warm_up=1)
    title = f"seconds to a relative error of {ENOUGH:g} on Poisson's equation, 321 numbers, {SEEDS} starts, against "
    ours = {name: 0.25 for name in timings if name.startswith("optaxaccel")}
    both = rows_of(f"{title}SciPy's BFGS", timings, goals=ours)
    over = timings["optax.lbfgs"].seconds
    less = [
        {
            "benchmark": f"{title}{STEPS} steps of optax.lbfgs",
            "variant": name,
            "ratio": timings[name].seconds / over,
            "goal": 0.2,
        }
        for name in ours
    ]
    return [*rows, *both, *less]


def _steps_to(solve: Callable[[jax.Array, int], Any], start: jax.Array) -> tuple[int, float]:
    """Return how many steps it takes, to a tenth, and the error there; STEPS where they do not do."""
    error, steps = np.inf, 20
    while True:
        error = float(error_of(jnp.asarray(solve(start, steps))))
        if error <= ENOUGH or steps == STEPS:
            return steps, error
        steps = min(STEPS, round(1.1 * steps))


# --- Compiling, and many starts ---------------------------------------------------------------------------------------


def _compile() -> Row:
    jax.clear_caches()
    seconds = timed(lambda: optaxaccel.minimize(lambda x: equation(x), start_of(0), max_steps=1).params)()
    return {
        "benchmark": "seconds to compile `minimize`",
        "variant": "bfgs, 321 numbers",
        "seconds": seconds,
        "goal": 3.0,
    }


def _many(rounds: int) -> list[Row]:
    def solve(x):
        return optaxaccel.minimize(equation, x, tol=0.0, max_steps=100).params

    starts = jnp.stack([start_of(seed) for seed in range(STARTS)])
    together, alone = jax.jit(jax.vmap(solve)), jax.jit(solve)
    variants = {
        "one after another": timed(lambda: [alone(x) for x in starts]),
        "together": timed(lambda: together(starts)),
    }
    title = f"100 steps of bfgs from {STARTS} starts, 321 numbers"
    return rows_of(title, alternate(variants, rounds=rounds, warm_up=1), goals={"together": 0.25})
