#!/usr/bin/env bash
# jax and jaxlib 0.10.2 on CPU: writing one slice of a donated bfloat16 buffer rewrites the whole buffer.
#
# Most expect `dynamic_update_slice` into a donated buffer to cost the slice, and bfloat16 half of what float32 costs. For
# float32 and float16 that is so. XLA's CPU compiler has no bfloat16 for it: it converts the buffer to float32, writes the
# slice and converts all of it back, in one loop over every entry. So the time grows with the buffer, not with the slice.
# `buffer.at[i].set(x)` is the same, as a scatter it also copies the buffer, and a bitcast to uint16 and back, which moves no
# number, takes a pass of its own.
#
# It matters for whatever is kept in bfloat16 to save memory and is written bit by bit: the cache of keys and values of a
# language model that runs on CPU, histories of parameters, replay buffers.
#
# Exit status 0 while that is so, 1 once it is not.
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

SLICE = 1_000_000


def measure(dtype, slots):
    """Return whether the compiled program converts the buffer, and the milliseconds to write one of its slots."""
    buffer, x = jnp.ones((slots, SLICE), dtype), jnp.zeros(SLICE, dtype)
    write = jax.jit(lambda buffer, x, i: lax.dynamic_update_index_in_dim(buffer, x, i, 0), donate_argnums=0)
    program = write.lower(buffer, x, 1).compile()
    converts = f"f32[{slots},{SLICE}]" in program.as_text() and dtype != jnp.float32
    times = []
    for _ in range(10):
        started = time.process_time()
        buffer = jax.block_until_ready(program(buffer, x, 1))
        times.append(time.process_time() - started)
    return converts, 1e3 * min(times)


print(f"jax {jax.__version__}, jaxlib {jaxlib.__version__}: one slot of {SLICE} numbers is written")
converted = {}
for dtype in (jnp.float32, jnp.float16, jnp.bfloat16):
    for slots in (5, 40):
        converted[jnp.dtype(dtype).name, slots], ms = measure(dtype, slots)
        print(f"{jnp.dtype(dtype).name:8s} of {slots:2d}: whole buffer converted: {converted[jnp.dtype(dtype).name, slots]}, {ms:.2f} ms")
same = all(value == (name == "bfloat16") for (name, _), value in converted.items())
sys.exit(0 if same else 1)
PYTHON
