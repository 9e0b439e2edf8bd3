"""What a turn, a batch and a gradient cost, as ratios that are taken in turn in one process."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optaxaccel
from benchmarks.fixed_points import equations, learning, maps, statistics
from benchmarks.measure import Donated, alternate, interleave, second_call
from optaxaccel.numerics import sums

MEMBERS = 256


def all_rows(rounds: int = 15) -> list[dict[str, Any]]:
    """Return one row a figure: what, value, goal."""
    return [_turn(rounds), *_batch(rounds), *_gradients(rounds)]


def _turn(rounds: int, size: int = 10**6, history: int = 10) -> dict[str, Any]:
    """Two turns without F, a plain one and an extrapolation, against two passes over the history and a write."""
    x0 = jnp.zeros(size)
    state = optaxaccel.anderson_init(x0, history=history)
    image = jnp.linspace(0.0, 1.0, size)

    def two_turns(carry):
        x, state = carry
        for k in (1.0, 2.0):  # the same work whatever x is: the image depends on it through one addition
            x, state = optaxaccel.anderson_update(0.5 * x + k * image, x, state, rtol=0.0)
        return x, state

    def two_passes(carry):
        # The fewest bytes that such a turn can move: both rings read twice, a pair written. Done for two turns.
        images, moves, count, x = carry
        for _ in range(2):
            images, moves = images.at[count % history].set(x), moves.at[count % history].set(x)
            for _ in range(2):
                products = sums.inner_products(images, x) + sums.inner_products(moves, x)
                x = x.at[0].set(jnp.max(products) * 1e-9)  # so that the second pass has to wait for the first
            count = count + 1
        return images, moves, count, x

    rings = tuple(jnp.zeros((history, size)) for _ in range(2))
    variants = {
        "passes": Donated(two_passes, (*rings, jnp.zeros((), jnp.int32), jnp.ones(size))),
        "turns": Donated(two_turns, (jnp.copy(x0), state)),
    }
    timing = interleave(variants, rounds=rounds)["turns"]
    what = "a turn without F, 10^6 unknowns, history 10, float32, over two passes through the history and a write"
    return {"what": what, "value": timing.ratio, "goal": 1.3}


def _batch(rounds: int) -> list[dict[str, Any]]:
    """All members at once against a Python loop over compiled calls, and over calls of fixed_point itself."""
    shift = jnp.asarray(np.random.default_rng(0).normal(size=(MEMBERS, 8)), jnp.float32)

    def image(x, b):
        return 0.9 * jnp.tanh(x + b)

    def solve(b):
        return optaxaccel.fixed_point(image, jnp.zeros(8), b, rtol=1e-5).value

    together, alone = jax.jit(jax.vmap(solve)), jax.jit(solve)
    members = list(shift)
    variants: dict[str, Callable[[], Any]] = {
        "vmap": lambda: together(shift),
        "compiled": lambda: [alone(b) for b in members],
        "eager": lambda: [solve(b) for b in members],
    }
    timings = interleave(variants, rounds=rounds)
    kinds = {"compiled": "compiled calls", "eager": "calls of fixed_point"}
    return [
        {
            "what": f"{MEMBERS} small problems, a loop of {words} over all at once under vmap",
            "value": timings[k].ratio,
            "floor": 10.0,
        }
        for k, words in kinds.items()
    ]


def _gradients(rounds: int) -> list[dict[str, Any]]:
    """The implicit gradient of a loss, solve included, less the solve, over the solve."""
    makers = {
        "deq_0.9": learning.deq,
        "value_iteration": statistics.value_iteration,
        "chandrasekhar": equations.chandrasekhar,
    }
    lines = []
    for name, make in makers.items():
        assert any(case.name == name and case.plain for case in maps.ALL)
        fun, start = make(jnp.float32)
        x0 = jnp.asarray(start, jnp.float32)

        def loss(a, fun=fun, x0=x0):
            return jnp.sum(optaxaccel.fixed_point(lambda x: fun(x) * a, x0, rtol=1e-5).value ** 2)

        forward, both = jax.jit(loss), jax.jit(jax.grad(loss))
        calls = {"solve": lambda f=forward: f(0.999), "gradient": lambda g=both: g(0.999)}
        # A millisecond each: many rounds, and each finds its own code and arrays in the caches, as maps have it.
        ratio = alternate({what: second_call(call) for what, call in calls.items()}, rounds=4 * rounds)
        row = {"what": f"implicit gradient over its solve, {name}", "value": ratio["gradient"].ratio - 1, "goal": 1.5}
        lines.append(row)
    return lines


def main() -> None:
    """Write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.parse_args().out.write_text(json.dumps(all_rows()))


if __name__ == "__main__":
    main()
