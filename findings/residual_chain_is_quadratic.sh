#!/usr/bin/env bash
# jax and jaxlib 0.10.2 on CPU: a residual network costs the square of its depth to compile, and more than its depth to
# run, since every block's input is summed again from all blocks before it.
#
# Most expect x = relu(f(x) + x) to be computed once a block: a network of twice the depth compiles in about twice the
# time. XLA's CPU compiler counts sums and maxima as cheap and copies them into every reader, so the kernel before block
# k holds k sums and reads k outputs of convolutions, and there are d (d + 1) / 2 sums in the compiled forward pass of d
# blocks. `lax.optimization_barrier`, which one reaches for, changes nothing: it is taken out before kernels are fused.
# A `jax.jit` around the sum with the attribute inlineable="false" makes the program linear in d again.
#
# It matters where deep residual networks are trained or tested on CPUs: of 48 blocks (ResNet-98, version 1, with batch
# normalisation) a training step takes 17 s of processor time to compile, and 4.5 s with the attribute.
#
# Exit status 0 while that is so, 1 once it is not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import re
import sys
import time

import jax
import jax.numpy as jnp
import jaxlib
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

relu_of_sum = lambda y, x: jnp.maximum(y + x, 0)
called = jax.jit(relu_of_sum)


def kept(y, x):
    with set_xla_metadata(inlineable="false"):
        return called(y, x)


def barred(y, x):
    return lax.optimization_barrier(relu_of_sum(y, x))


def program(link, depth):
    """Return the number of sums in a compiled forward pass, and the seconds to compile that with its gradient."""

    def network(kernels, x):
        for kernel in kernels:
            x = link(lax.conv(x, kernel, (1, 1), "SAME"), x)
        return x

    kernels, x = [jnp.ones((4, 4, 3, 3))] * depth, jnp.ones((2, 4, 8, 8))
    text = jax.jit(network).lower(kernels, x).compile().as_text()
    gradient = jax.jit(jax.grad(lambda k, x: jnp.sum(network(k, x) ** 2))).lower(kernels, x)
    started = time.process_time()
    gradient.compile()
    return len(re.findall(r" add\(", text)), time.process_time() - started


print(f"jax {jax.__version__}, jaxlib {jaxlib.__version__}")
sums = {}
for name, link in (("plain", relu_of_sum), ("optimization_barrier", barred), ("not inlined", kept)):
    for depth in (8, 16, 32):
        sums[name, depth], seconds = program(link, depth)
        print(f"{name:20s} {depth:2d} blocks: {sums[name, depth]:3d} sums forward, {seconds:.1f} s to compile the gradient")
expected = {name: [d * (d + 1) // 2 for d in (8, 16, 32)] for name in ("plain", "optimization_barrier")}
expected["not inlined"] = [8, 16, 32]
same = all([sums[name, d] for d in (8, 16, 32)] == counts for name, counts in expected.items())
sys.exit(0 if same else 1)
PYTHON
