#!/usr/bin/env bash
# jaxlib 0.12.0.1 on CPU (0.10.2 did not): a matrix padded and written into place is compiled as a concatenation.
#
# A concatenation whose parts are computed is one fused loop that asks for each entry which part it is of, and inside a
# loop over blocks it is shared between threads, so that every turn waits for them. Who knows that writes
# `dynamic_update_slice(pad(first), second, ...)` instead, and most expect that an update in place stays one: it takes
# the loop of each part and no question. XLA of jaxlib 0.12 simplifies the pair to `concatenate` where the place is a
# constant, so the program, unchanged, takes half as much processor time again or twice as much, and the profile shows
# an operation that nobody wrote. A barrier between the padding and the update keeps it. It matters in anything that
# assembles blocks of rows by hand: histories, Gram matrices, key-value caches, halo exchanges.
#
# Needs a Python that jaxlib 0.12 is built for (3.12 or newer); seconds are printed, the compiled program is judged.
# Exit status 0 while that is so, 1 once the update stays one, or 0.10.2 does the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=""
for candidate in python3 python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then python="$candidate"; fi
done
[ -n "$python" ] || { echo "no Python of 3.12 or newer was found"; exit 2; }
cat > "$folder/look.py" <<'PYTHON'
import sys
import time

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax import lax

ROWS, BLOCK, BLOCKS = 11, 4096, 400


def apart(newer, older):
    return jnp.where(newer == older, 0.0, newer - older)


def program(how):
    def products(rows, weights):
        def add(i, total):
            cut = lambda first, number: lax.dynamic_slice(rows, (first, i * BLOCK), (number, BLOCK))
            steps, closing = apart(cut(1, ROWS - 1), cut(0, ROWS - 1)), apart(cut(0, 1), cut(ROWS - 1, 1))
            if how == "concatenated":
                matrix = jnp.concatenate([steps, closing])
            else:
                matrix = jnp.pad(steps, ((0, 1), (0, 0)))
                if how == "written behind a barrier":
                    matrix = lax.optimization_barrier(matrix)
                matrix = lax.dynamic_update_slice(matrix, closing, (ROWS - 1, 0))
            turned = weights @ matrix
            return total + turned @ turned.T

        return lax.fori_loop(0, BLOCKS, add, jnp.zeros((ROWS, ROWS)))

    return products


random = np.random.default_rng(0)
rows = jnp.asarray(random.normal(size=(ROWS, BLOCK * BLOCKS)), jnp.float32)
weights = jnp.asarray(random.normal(size=(ROWS, ROWS)), jnp.float32)
compiled = {
    how: jax.jit(program(how)).lower(rows, weights).compile()
    for how in ("concatenated", "written", "written behind a barrier")
}
seconds = {how: [] for how in compiled}
for _ in range(13):
    for how, call in compiled.items():
        started = time.process_time()
        jax.block_until_ready(call(rows, weights))
        seconds[how].append(time.process_time() - started)
print(f"jax {jax.__version__}, jaxlib {jaxlib.__version__}, Python {sys.version.split()[0]}")
stays = {}
for how, call in compiled.items():
    text = call.as_text()
    stays[how] = "dynamic-update-slice(" in text and "concatenate(" not in text
    kept = "an update in place" if stays[how] else "a concatenation"
    print(f"{how}: compiled as {kept}, {1e3 * np.median(seconds[how][3:]):.0f} ms of processor time")
wanted = {"concatenated": False, "written": sys.argv[1] == "stays", "written behind a barrier": True}
sys.exit(0 if stays == wanted else 1)
PYTHON
for pair in "0.10.2 stays" "0.12.0.1 goes"; do
  read -r version place <<<"$pair"
  "$python" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check \
    "jax==$version" "jaxlib==$version" "numpy==2.4.6"
  JAX_PLATFORMS=cpu "$folder/$version/bin/python" "$folder/look.py" "$place"
done
