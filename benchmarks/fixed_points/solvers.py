"""The solvers that the maps are given to: ours, what a textbook says, and peers where they are installed.

Each is made for a map, F and x0, and a goal, |F(x) - x| <= tolerance |F(x)|, and returns (point, evaluations) when
called. Peers stop at tolerance |x*|, in their own norm or in this one where it can be chosen.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import optaxaccel
from optaxaccel.numerics import differences

BUDGET = 5000  # evaluations
PLAIN_BUDGET = 20000
DENSE = 1100  # unknowns for which Newton's dense Jacobian is made


class Run(NamedTuple):
    """A solver ready to run."""

    call: Callable[[], tuple[Any, Any]]
    compiled: bool


Make = Callable[[Callable[[Any], Any], Any, float, float], Run]


def _ours(method: Any = "anderson", budget: int = BUDGET, **options: Any) -> Make:
    def make(fun, x0, tolerance, scale):
        @jax.jit
        def solve(x0):
            r = optaxaccel.fixed_point(fun, x0, method=method, rtol=tolerance, max_maps=budget, **options)
            unmet = r.status != optaxaccel.FixedPointStatus.CONVERGED  # then the value takes another evaluation
            return r.value, r.maps - unmet

        return Run(lambda: solve(x0), True)

    return make


def _textbook(fun, x0, tolerance, scale, history: int = 10) -> Run:
    """Anderson's type II as the textbook has it: every step, no safeguard; the same least squares as ours."""

    def turn(carry):
        x, _, r, images, moves, maps, _ = carry
        y = fun(x)
        q = y - x
        slot = (maps - 1) % history
        push = maps > 0
        place = jnp.where(push, slot, history)
        moves = moves.at[place].set(q - r, mode="drop")
        images = images.at[place].set(y - carry[1], mode="drop")
        flat = moves.reshape(history, -1)
        gram, along = jnp.real(flat.conj() @ flat.T), jnp.real(flat.conj() @ q.reshape(-1))
        gamma = differences.weights(gram, along, jnp.arange(history) < maps)
        following = y - jnp.tensordot(gamma.astype(images.dtype), images, 1)
        done = jnp.linalg.norm(q) <= tolerance * jnp.linalg.norm(y)
        return following.astype(x.dtype), y, q, images, moves, maps + 1, done

    @jax.jit
    def solve(x0):
        ring = jnp.zeros((history, *x0.shape), x0.dtype)
        carry = (x0, x0, x0, ring, ring, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
        end = lax.while_loop(lambda c: ~c[6] & (c[5] < BUDGET), turn, carry)
        return end[1], end[5]

    return Run(lambda: solve(x0), True)


class _EnoughError(Exception):
    """Raised by a counted map when the goal is met or the budget spent."""


class _Counted:
    """F for NumPy, which counts and ends the run; `point` is the best so far."""

    def __init__(self, fun, tolerance, dtype):
        self.fun, self.tolerance, self.dtype = jax.jit(fun), tolerance, dtype
        self.maps, self.point, self.met = 0, None, False

    def __call__(self, x):
        y = np.array(self.fun(jnp.asarray(x, self.dtype)))
        self.maps += 1
        with np.errstate(over="ignore", invalid="ignore"):
            self.met = bool(np.linalg.norm(y - x) <= self.tolerance * np.linalg.norm(y) < np.inf)
        self.point = y
        if self.met or self.maps >= BUDGET:
            raise _EnoughError
        return y


def _on_host(loop: Callable[[Callable[[Any], Any], np.ndarray], None]) -> Make:
    def make(fun, x0, tolerance, scale):
        def call():
            counted = _Counted(fun, tolerance, x0.dtype)
            try:
                with np.errstate(all="ignore"):
                    loop(counted, np.array(x0))
            except Exception as error:  # scipy gives up with several
                if not isinstance(error, _EnoughError) and not _gave_up(error):
                    raise
            return counted.point, counted.maps

        return Run(call, False)

    return make


def _gave_up(error: Exception) -> bool:
    return type(error).__name__ in ("NoConvergence", "LinAlgError", "ValueError", "FloatingPointError")


def _squarem(fun, x):
    """SQUAREM's third scheme (Varadhan and Roland 2008), steps bounded by 4^k, taken back where the residual soars."""
    bound = 1.0
    while True:
        y = fun(x)
        r = y - x
        z = fun(y)
        v = z - y - r
        step = min(max(np.sqrt(np.real(np.vdot(r, r)) / max(np.real(np.vdot(v, v)), 1e-300)), 1.0), bound)
        ahead = x + 2 * step * r + step**2 * v
        image = fun(ahead)
        good = np.all(np.isfinite(image)) and np.linalg.norm(image - ahead) <= np.linalg.norm(
            z - y
        ) + 1 + np.linalg.norm(x)
        if step == bound:
            bound = 4 * bound if good else max(bound / 4, 1.0)
        x = image if good else z


def _cvxgrp(fun, x):
    accelerator = importlib.import_module("aa").AndersonAccelerator(x.size, 10, type1=False)
    x = x.astype(np.float64)
    last = x
    for turn in range(2 * BUDGET):
        if turn:
            accelerator.apply(x, last)
        last = x.copy()
        x = np.array(fun(last), np.float64)
        accelerator.safeguard(x, last)


def _scipy(fun, x):
    anderson = importlib.import_module("scipy.optimize").anderson
    anderson(lambda x: fun(x) - x, x, M=10, f_tol=0.0, maxiter=2 * BUDGET)


def _jaxopt(ridge: float = 1e-5, history: int = 5) -> Make:
    def make(fun, x0, tolerance, scale):
        jaxopt = importlib.import_module("jaxopt")
        goal = tolerance * scale

        @jax.jit
        def solve(x0):
            solver = jaxopt.AndersonAcceleration(
                fun, history_size=history, ridge=ridge, tol=goal, maxiter=BUDGET, implicit_diff=False
            )
            x, state = solver.run(x0)
            return x, state.iter_num

        return Run(lambda: solve(x0), True)

    return make


def _optimistix(kind: str) -> Make:
    def make(fun, x0, tolerance, scale):
        optx = importlib.import_module("optimistix")
        options = {"rtol": tolerance, "atol": tolerance * scale, "norm": optx.two_norm}
        plain = kind == "FixedPointIteration"
        solver = getattr(optx, kind)(**options)

        @jax.jit
        def solve(x0):
            steps = PLAIN_BUDGET if plain else 100
            run = optx.fixed_point if plain else optx.root_find
            solution = run(lambda x, _: fun(x) - (0 if plain else x), solver, x0, max_steps=steps, throw=False)
            return solution.value, solution.stats["num_steps"]

        return Run(lambda: solve(x0), True)

    return make


OURS = "anderson"
SOLVERS: dict[str, Make] = {
    "anderson": _ours(),
    "anderson, history 5": _ours(history=5),
    "acx": _ours("acx"),
    "plain": _ours("plain", PLAIN_BUDGET),
    "textbook Anderson": _textbook,
    "SQUAREM": _on_host(_squarem),
    "jaxopt": _jaxopt(),
    "jaxopt, ridge 1e-10": _jaxopt(1e-10),
    "scipy anderson": _on_host(_scipy),
    "cvxgrp/aa": _on_host(_cvxgrp),
    "optimistix FixedPointIteration": _optimistix("FixedPointIteration"),
    "optimistix Newton": _optimistix("Newton"),
    "optimistix Chord": _optimistix("Chord"),
}
NEEDS = {"jaxopt": "jaxopt", "scipy": "scipy", "cvxgrp/aa": "aa", "optimistix": "optimistix"}
UNCOUNTED = ("optimistix Newton", "optimistix Chord")  # an iteration of theirs is a Jacobian, not an evaluation


def available() -> tuple[dict[str, Make], list[str]]:
    """Return the solvers at hand, and a word on each that is not."""
    contenders, missing = {}, []
    for name, make in SOLVERS.items():
        package = next((package for start, package in NEEDS.items() if name.startswith(start)), None)
        if package is None or importlib.util.find_spec(package) is not None:
            contenders[name] = make
        else:
            missing.append(f"{name}: {package} is not installed")
    return contenders, missing


@functools.cache
def takes(name: str, complex_: bool, size: int) -> bool:
    """Return whether a solver takes such unknowns."""
    if name in UNCOUNTED:
        return size <= DENSE and not complex_
    return not (complex_ and name in ("scipy anderson", "cvxgrp/aa"))
