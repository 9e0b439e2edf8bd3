#!/usr/bin/env bash
# optax 0.2.8: `MultiSteps(apply_if_finite(tx), k)` never moves again after one micro-batch whose gradient is NaN.
#
# Most expect that the guard skips one update and training goes on, as without accumulation. But the accumulator sits
# outside of the guard: it takes the NaN in, and is cleared after each update by a product with zero, which leaves NaN.
# Each later mean is NaN, so the guard refuses each later update, silently, until it gives up. The other way round,
# `apply_if_finite(MultiSteps(tx, k))`, loses one micro-batch. It matters for long runs in reduced precision, where a
# rare NaN is what the guard is for: the loss stays flat and nothing is raised.
#
# Exit status 0 while that is so, 1 once training goes on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "optax==0.2.8" "jax==0.10.2" "jaxlib==0.10.2"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
import optax

GRADIENTS = [1.0, 1.0, float("nan"), 1.0, *[1.0] * 12]


def follow(tx):
    params = jnp.array(1.0)
    state, path = tx.init(params), []
    for gradient in GRADIENTS:
        updates, state = tx.update(jnp.array(gradient), state, params)
        params = optax.apply_updates(params, updates)
        path.append(round(float(params), 3))
    return path


print(f"optax {optax.__version__}, jax {jax.__version__}; the third gradient of {len(GRADIENTS)} is NaN")
inside = follow(optax.MultiSteps(optax.apply_if_finite(optax.sgd(0.1), 1000), every_k_schedule=2))
outside = follow(optax.apply_if_finite(optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2), 1000))
print("MultiSteps(apply_if_finite(sgd), 2):", inside)
print("apply_if_finite(MultiSteps(sgd, 2)):", outside)
stuck, moving = len(set(inside[3:])) == 1, outside[-1] < outside[3]
sys.exit(0 if stuck and moving else 1)
PYTHON
