#!/usr/bin/env bash
# jax 0.10.2: `lax.custom_root` differentiates its function even where nobody asks for a derivative.
#
# Most expect what jax.custom_jvp and jax.custom_vjp do: the rule, and with it the derivative of the function, is traced
# when something is differentiated. `custom_root` linearises the function at every call, so that plain root finding
# raises for a function without a derivative, which its own solver never needs. It matters for roots of functions that
# call the host (a simulation, a table) or contain an operation without a rule, and it traces every function more often.
#
# Exit status 0 while that is so, 1 once the root comes back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "jax==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def half_of_cosine(x):  # on the host; halved, so that repeating it converges quickly
    return jax.pure_callback(lambda v: np.cos(v) / 2, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def solve(residual, x):
    return lax.fori_loop(0, 40, lambda _, x: x + residual(x), x)


def find(function):
    residual = lambda x: function(x) - x
    return lax.custom_root(residual, jnp.zeros(2), solve, lambda linear, y: y / linear(jnp.ones(2)))


print(f"jax {jax.__version__}, numpy {np.__version__}")
print("a function that jax can differentiate:", find(lambda x: jnp.cos(x) / 2))
print("the solver alone, on the host's:      ", solve(lambda x: half_of_cosine(x) - x, jnp.zeros(2)))
try:
    print("custom_root, on the host's:           ", find(half_of_cosine))
except Exception as error:
    print("custom_root, on the host's:           ", type(error).__name__, "-", str(error).splitlines()[0])
    sys.exit(0)
sys.exit(1)
PYTHON
