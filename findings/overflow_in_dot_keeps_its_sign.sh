#!/usr/bin/env bash
# jax and jaxlib 0.10.2 on CPU: an inner product whose terms overflow with both signs is infinite, not NaN, if it is short.
#
# Where some products of entries are too large and of either sign, most expect inf - inf, so NaN, as NumPy gives, and
# guard curvatures, slopes and norms with `isnan`, or with `not (d'g > 0)`. XLA fuses multiplication and addition:
# the product is never rounded to infinity by itself, the first sum that overflows is, and what is added afterwards is
# finite. So d'g of an indefinite direction comes out as +inf, passes for a slope uphill, and its sign is that of
# whichever term came first: turning the order of the entries around turns it. Long vectors, which are summed in lanes,
# give NaN. Entries of 1e20 do in float32. It matters in line searches, trust regions and tests of definiteness: ask
# for `isfinite`.
#
# Exit status 0 while that is so, 1 once short and long inner products agree.
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

np.seterr(all="ignore")
print(f"jax {jax.__version__}, jaxlib {jaxlib.__version__}, numpy {np.__version__}")
seen = {}
for size in (2, 8, 1000):
    gradient = np.full(size, 1e30, np.float32)
    direction = gradient.copy()
    direction[-1] *= -1e5  # the largest term by far is negative: the true sum is
    forth = float(jnp.dot(direction, gradient))
    back = float(jnp.dot(direction[::-1].copy(), gradient))
    seen[size] = forth, back
    print(f"{size} entries: NumPy {np.dot(direction, gradient)}, jax.numpy {forth}, the other way around {back}")
short = all(seen[size] == (float("inf"), float("-inf")) for size in (2, 8))
sys.exit(0 if short and all(map(np.isnan, seen[1000])) else 1)
PYTHON
