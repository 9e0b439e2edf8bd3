#!/usr/bin/env bash
# jax and jaxlib 0.10.2 on CPU: `lax.empty`, the array of uninitialised values, is filled with zeros.
#
# Most expect it to cost an allocation and no pass over memory, as `numpy.empty` does, and take it for a buffer that a
# branch may or may not fill, or whose entries are all written later. Its documentation leaves it to the backend whether
# the values are initialised; the CPU writes them all, in a kernel of its own, and a program with `lax.empty` is that
# with `jnp.zeros`. It matters where a result needs a fresh buffer that is seldom written, such as the update of an
# optimiser that now and then jumps: there is no cheaper one to be had from it.
#
# Exit status 0 while that is so, 1 once the compiled program no longer fills it.
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
import numpy as np
from jax import lax

SIZE = 20_000_000


def seconds(function):
    times = []
    for _ in range(10):
        started = time.process_time()
        jax.block_until_ready(function())
        times.append(time.process_time() - started)
    return min(times)


print(f"jax {jax.__version__}, jaxlib {jaxlib.__version__}: {SIZE} float32 of which one is written")
filled = {}
for name, make in (("lax.empty", lax.empty), ("jnp.zeros", jnp.zeros)):
    program = jax.jit(lambda i, make=make: make((SIZE,), jnp.float32).at[i].set(1.0)).lower(0).compile()
    filled[name] = f"f32[{SIZE}]{{0}} broadcast(" in program.as_text()
    values = np.asarray(program(0))[1:]
    print(f"{name}: filled {filled[name]}, all zeros {not values.any()}, {1e3 * seconds(lambda: program(0)):.1f} ms")


def of_numpy():
    array = np.empty(SIZE, np.float32)
    array[0] = 1.0


print(f"numpy.empty: {1e3 * seconds(of_numpy):.1f} ms")
sys.exit(0 if filled["lax.empty"] else 1)
PYTHON
