#!/usr/bin/env bash
# jax and jaxlib 0.10.2 (and 0.12.0.1) on CPU: under `jax.jit` NaN passes the test `jnp.abs(x) >= 0`.
#
# Most know that every comparison with NaN is false, and use one as a test: `jnp.where(jnp.abs(d) >= 0, d, 0)` to drop
# what inf - inf left, `x * x >= 0` or `jnp.exp(x) >= 0` in a guard of a step. Called as it is, each is False for NaN, as
# in NumPy. In a compiled function the simplifier takes an absolute value, a square, an exponential, a maximum with 0 for
# non-negative and the comparison for True, so NaN goes through and the guard is gone from the program, which runs as
# fast as without one. `x == x`, `jnp.isnan(x)` and `jnp.abs(x) < jnp.inf` are kept. It matters for every guard of an
# update, a loss scale or a residual that was tried out line by line and then compiled.
#
# Exit status 0 while compiled and plain calls differ so, 1 once they agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

TESTS = {
    "jnp.abs(x) >= 0": lambda x: jnp.abs(x) >= 0,
    "x * x >= 0": lambda x: x * x >= 0,
    "jnp.exp(x) >= 0": lambda x: jnp.exp(x) >= 0,
    "jnp.maximum(x, 0) >= 0": lambda x: jnp.maximum(x, 0) >= 0,
    "x == x": lambda x: x == x,
    "jnp.abs(x) < jnp.inf": lambda x: jnp.abs(x) < jnp.inf,
    "~jnp.isnan(x)": lambda x: ~jnp.isnan(x),
}
x = jnp.array([jnp.nan, 1.0, -2.0])
print(f"jax {jax.__version__}, jaxlib {jaxlib.__version__}: x = {x}")
differ = []
for words, test in TESTS.items():
    plain, compiled = np.asarray(test(x)), np.asarray(jax.jit(test)(x))
    print(f"{words:24s} called {plain}  compiled {compiled}")
    if (plain != compiled).any():
        differ.append(words)
guarded = jax.jit(lambda a, b: jnp.where(jnp.abs(a - b) >= 0, a - b, 0.0))
print(f"inf - inf, dropped by the first of them: called 0, compiled {guarded(jnp.inf, jnp.inf)}")
print(f"different under jit: {len(differ)} of {len(TESTS)}")
sys.exit(0 if differ == list(TESTS)[:4] else 1)
PYTHON
