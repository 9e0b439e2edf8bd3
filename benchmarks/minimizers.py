"""`minimize` against SciPy, optimistix and optax's L-BFGS, in float64: steps, an equation, compiling, many starts.

optimistix is left out where it is not installed. Whole solves are compared with it, since a step of its BFGS may be a
trial that it rejects.
"""

import functools
import importlib
import importlib.util
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from scipy import optimize

import optaxaccel
from benchmarks.measure import Row, alternate, rows_of, timed
from optaxaccel.tasks import equations

SIZES = {1_000: 30, 5_000: 2}  # unknowns, and steps: SciPy makes few in a second
SEEDS = 3
WIDTH = 16  # a network of 321 numbers
ENOUGH = 1e-6  # relative error on the equation
SHARE = 0.01  # of the first loss on the chain
STEPS = 1000  # at most, to get there
MORE_STEPS = 32_000  # of optax's L-BFGS, which are short
STARTS = 32
LOSSES = "their losses and gradients alone, together"
POISSON = equations.poisson_1d()


def run(rounds: int) -> list[Row]:
    """Return one row a variant."""
    rounds = max(3, rounds // 8)
    with jax.enable_x64(True):
        rows = [row for size, steps in SIZES.items() for row in _steps(size, steps, rounds)]
        return [*rows, *_equation(rounds), *_compile(), *_many(rounds)]


# --- A step -----------------------------------------------------------------------------------------------------------


def chain(x: jax.Array) -> jax.Array:
    """Rosenbrock's function of a chain of unknowns, with a gentle valley."""
    return jnp.sum((x[1:] - x[:-1] ** 2) ** 2) + jnp.sum((1 - x) ** 2) / 10


def _steps(size: int, steps: int, rounds: int) -> list[Row]:
    start = jnp.asarray(np.random.default_rng(0).normal(size=size))
    ours = functools.partial(optaxaccel.minimize, chain, tol=0.0)
    made = int(ours(start, max_steps=steps).steps), _scipy(chain, start, steps).nit
    variants = {
        "SciPy, BFGS": _each(lambda: _scipy(chain, start, steps).x, made[1]),
        "optaxaccel, bfgs": _each(lambda: ours(start, max_steps=steps).params, made[0]),
    }
    title = f"a step of BFGS on a chain of {size:,} unknowns, losses included, against SciPy around the compiled loss"
    timings = alternate(variants, rounds=rounds, warm_up=1)
    rows = rows_of(title, timings, goals={"optaxaccel, bfgs": 0.35})
    if importlib.util.find_spec("optimistix") is None:
        print("minimizers: optimistix is not installed and left out")
        return rows
    solvers = {"optimistix, BFGS": _optimistix(), "optaxaccel, bfgs": lambda x, n: ours(x, max_steps=n).params}
    needed = {name: _steps_to(solve, start, _share(start), SHARE)[0] for name, solve in solvers.items()}
    variants = {name: timed(functools.partial(solve, start, needed[name])) for name, solve in solvers.items()}
    title = f"BFGS on a chain of {size:,} unknowns to a hundredth of the first loss, against optimistix"
    timings = alternate(variants, rounds=rounds, warm_up=1)
    whole = rows_of(title, timings, goals={"optaxaccel, bfgs": 0.7})
    return rows + [row | {"n": needed[row["variant"]]} for row in whole]


def _share(start: jax.Array) -> Callable[[Any], Any]:
    return lambda x: _both(chain)(x)[0] / _both(chain)(start)[0]


def _each(call: Callable[[], Any], steps: int) -> Callable[[], float]:
    """Return a function that gives the seconds of a step."""
    seconds = timed(call)
    return lambda: seconds() / steps


def _scipy(fun: Callable, start: Any, steps: int, method: str = "BFGS", callback: Any = None) -> Any:
    both = _both(fun)
    options = {"maxiter": steps, "gtol": 0.0}
    return optimize.minimize(
        lambda x: tuple(map(np.asarray, both(x))), start, jac=True, method=method, options=options, callback=callback
    )


_COMPILED: dict[Callable, Callable] = {}


def _both(fun: Callable) -> Callable:
    return _COMPILED.setdefault(fun, jax.jit(jax.value_and_grad(fun)))


def _optimistix() -> Callable[[Any, int], Any]:
    optx = importlib.import_module("optimistix")
    solver = optx.BFGS(rtol=0.0, atol=0.0)

    @functools.partial(jax.jit, static_argnums=1)
    def solve(start, steps):
        return optx.minimise(lambda x, _: chain(x), solver, start, max_steps=steps, throw=False).value

    return solve


# --- An equation ------------------------------------------------------------------------------------------------------


def equation(flat: jax.Array) -> jax.Array:
    """The mean square residual of Poisson's equation on an interval at the points of its task."""
    params = _unflatten(flat)
    return jnp.mean(jax.vmap(lambda x: POISSON.residual(params, x))(jnp.asarray(POISSON.points)) ** 2)


@jax.jit
def error_of(flat: jax.Array) -> jax.Array:
    """The relative error of the solution."""
    params, wanted = _unflatten(flat), jnp.asarray(POISSON.reference)
    solution = jax.vmap(lambda x: POISSON.solution(params, x))(jnp.asarray(POISSON.test_points))
    return jnp.linalg.norm(solution - wanted) / jnp.linalg.norm(wanted)


def _layers(seed: int) -> list[dict[str, jax.Array]]:
    rng, sizes = np.random.default_rng(seed), (1, WIDTH, WIDTH, 1)
    return [
        {"kernel": jnp.asarray(rng.normal(size=(m, n)) * (2.0 / (m + n)) ** 0.5), "bias": jnp.zeros(n)}
        for m, n in itertools.pairwise(sizes)
    ]


def start_of(seed: int) -> jax.Array:
    """A fresh network as one vector, Glorot's scale."""
    return ravel_pytree(_layers(seed))[0]


def _unflatten(flat: jax.Array) -> Any:
    return ravel_pytree(_layers(0))[1](flat)


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
        most = MORE_STEPS if name == "optax.lbfgs" else STEPS
        needed = [_steps_to(solve, start_of(seed), error_of, ENOUGH, most) for seed in range(SEEDS)]
        variants[name] = timed(
            lambda solve=solve, needed=needed: [solve(start_of(k), n) for k, (n, _) in enumerate(needed)]
        )
        errors = [error for _, error in needed]
        rows.append(
            {
                "benchmark": f"largest error of Poisson's equation reached, {SEEDS} starts, after at most n steps",
                "variant": name,
                "error": max(errors),
                "n": max(steps for steps, _ in needed),
            }
        )
    timings = alternate(variants, rounds=rounds, warm_up=1)
    title = f"seconds to a relative error of {ENOUGH:g} on Poisson's equation, 321 numbers, {SEEDS} starts, against "
    ours = {name: 0.25 for name in timings if name.startswith("optaxaccel")}
    both = rows_of(f"{title}SciPy's BFGS", timings, goals=ours)
    over = timings["optax.lbfgs"].seconds
    less = [
        {
            "benchmark": f"{title}optax.lbfgs",
            "variant": name,
            "ratio": timings[name].seconds / over,
            "goal": 0.2,
        }
        for name in ours
    ]
    return [*rows, *both, *less]


def _steps_to(
    solve: Callable[[Any, int], Any], start: Any, measure: Callable[[Any], Any], enough: float, most: int = STEPS
) -> tuple[int, float]:
    """Return how many steps it takes, to a twentieth, and what is measured there; `most` where they do not do."""

    def reached(steps: int) -> float:
        return float(measure(jnp.asarray(solve(start, steps))))

    low, high = 0, 20
    while reached(high) > enough and high < most:
        low, high = high, min(most, 2 * high)
    while high < most and high - low > max(1, high // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) <= enough else (middle, high)
    return high, reached(high)


# --- Compiling, and many starts ---------------------------------------------------------------------------------------


def small(flat: jax.Array) -> jax.Array:
    """A regression on four numbers with sixteen hidden units."""
    x = jnp.linspace(0.0, 1.0, 80).reshape(20, 4)
    hidden = jnp.tanh(x @ flat[:64].reshape(4, 16) + flat[64:80])
    return jnp.mean((hidden @ flat[80:] - jnp.sin(x.sum(1))) ** 2)


def _compile() -> list[Row]:
    rows = []
    for variant, fun, start in (
        ("a network of 96 numbers", small, jnp.ones(96)),
        ("the equation", equation, start_of(0)),
    ):
        seconds = []
        for _ in range(3):
            jax.clear_caches()
            seconds.append(
                timed(lambda fun=fun, x=start: optaxaccel.minimize(lambda y: fun(y), x, max_steps=1).params)()
            )
        row = {
            "benchmark": "seconds to compile `minimize` with bfgs",
            "variant": variant,
            "seconds": float(np.median(seconds)),
        }
        rows.append(row | {"goal": 3.0} if fun is small else row)
    return rows


def _many(rounds: int) -> list[Row]:
    def solve(x):
        return optaxaccel.minimize(equation, x, tol=0.0, max_steps=100)

    starts = jnp.stack([start_of(seed) for seed in range(STARTS)])
    together, alone = jax.jit(jax.vmap(lambda x: solve(x).params)), jax.jit(lambda x: solve(x).params)
    evaluations = round(float(jnp.mean(jax.jit(jax.vmap(lambda x: solve(x).evaluations))(starts))))
    both = jax.vmap(jax.value_and_grad(equation))

    @jax.jit
    def losses(x):  # each at another point, so that none is the last one's
        return jax.lax.fori_loop(0, evaluations, lambda _, x: x - 1e-6 * both(x)[1], x)

    variants = {
        "one after another": timed(lambda: [alone(x) for x in starts]),
        "together": timed(lambda: together(starts)),
        LOSSES: timed(lambda: losses(starts)),
    }
    timings = alternate(variants, rounds=rounds, warm_up=1)
    title = f"100 steps of bfgs from {STARTS} starts, 321 numbers"
    return rows_of(title, timings, goals={"together": 0.25}, limits={"together": timings[LOSSES].ratio})
