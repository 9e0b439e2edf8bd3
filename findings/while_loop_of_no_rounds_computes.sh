#!/usr/bin/env bash
# jax and jaxlib 0.10.2 on CPU: a `lax.while_loop` that makes no round computes what its body does not change.
#
# Most expect a loop that makes no round to cost nothing, and some write work that is seldom due as a loop of no round or
# one: it overwrites its carry in place, and unlike `lax.cond` it does not run for everybody under `jax.vmap`. XLA moves
# out of a loop whatever does not depend on what it carries, and does not ask whether the loop makes a round, nor what
# that costs: a matrix product, even a whole branch inside the body, runs in every call. It matters wherever a search, an
# evaluation or a checkpointed sum is hidden in such a loop, and nothing shows it but the time. What depends on the
# carry, if only by adding its counter, stays inside.
#
# Exit status 0 while that is so, 1 once the loop of no round costs as little as a branch that is not taken.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys
import time

import jax
import jax.numpy as jnp
import jaxlib
from jax import lax

SIZE = 1200


def loop(rounds, x, total):
    return lax.while_loop(lambda c: c[0] < rounds, lambda c: (c[0] + 1, c[1] + x @ x), (0, total))[1]


def loop_that_adds_its_counter(rounds, x, total):
    return lax.while_loop(lambda c: c[0] < rounds, lambda c: (c[0] + 1, c[1] + (x + c[0]) @ x), (0, total))[1]


def branch(rounds, x, total):
    return lax.cond(rounds > 0, lambda: total + x @ x, lambda: total)


print(f"jax {jax.__version__}, jaxlib {jaxlib.__version__}: no round, of a product of two {SIZE} x {SIZE} matrices")
x, total, best = jnp.ones((SIZE, SIZE)), jnp.zeros((SIZE, SIZE)), {}
for function in (branch, loop_that_adds_its_counter, loop):
    program = jax.jit(function).lower(0, x, total).compile()
    entry = next(part for part in program.as_text().split("\n\n") if part.lstrip().startswith("ENTRY"))
    seconds = []
    for _ in range(10):
        started = time.process_time()
        jax.block_until_ready(program(0, x, total))
        seconds.append(time.process_time() - started)
    best[function] = min(seconds)
    where = "in the part that always runs" if "dot_general" in entry else "inside"
    print(f"{function.__name__:28} {1e3 * min(seconds):7.2f} ms, the product is {where}")
sys.exit(0 if best[loop] > 5 * best[branch] else 1)
PYTHON
