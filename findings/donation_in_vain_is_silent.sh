#!/usr/bin/env bash
# jax and jaxlib 0.10.2 (and 0.12.0.1), CPU devices: a donation that does nothing is mostly not told.
#
# A step donates its state, and JAX warns "Some donated buffers were not usable" where that is in vain. So most take a
# run without this warning for one in which the old state's memory is used again. But it comes only where JAX itself
# decides, and no output that is left over has as many entries as the donated array. Two usual mistakes are silent:
# * a state that comes back in another dtype (moments kept in bfloat16 that the step returns in float32, or the other
#   way round): as many entries, so JAX leaves it to XLA, which cannot use the memory, and nobody looks whether it did;
# * anything at all on several devices of a mesh with automatic axes, where JAX leaves every donation to XLA, unless the
#   shardings of all results are given.
# Both states then lie in memory, where it matters: large states on several accelerators. What tells is
# `compiled.memory_analysis().alias_size_in_bytes`, or `is_deleted()` of what was donated.
#
# Exit status 0 while that is so, 1 once one of the silent cases warns or reuses the memory.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
export JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=2
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import jax
import jax.numpy as jnp
import jaxlib
from jax.sharding import AxisType, NamedSharding, PartitionSpec

SIZE = 1024


def seen(devices, before, after, size_after):
    """Return whether a donated state is warned of, and how many of its bytes are used again."""
    mesh = jax.make_mesh((devices,), ("data",), (AxisType.Auto,), devices=jax.devices()[:devices])
    state = jax.device_put(jnp.zeros(SIZE, before), NamedSharding(mesh, PartitionSpec("data")))
    step = jax.jit(lambda state: (0.9 * state[:size_after] + 0.1).astype(after), donate_argnums=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled = step.lower(state).compile()
        jax.block_until_ready(step(state))
    warned = any("donated buffers were not usable" in str(one.message) for one in caught)
    return warned, compiled.memory_analysis().alias_size_in_bytes, state.is_deleted()


print(f"jax {jax.__version__}, jaxlib {jaxlib.__version__}: a state of {SIZE} entries is donated")
as_expected = True
for words, arguments, expected in (
    ("one device, same dtype", (1, "float32", "float32", SIZE), (False, 4 * SIZE)),
    ("one device, half of it comes back", (1, "float32", "float32", SIZE // 2), (True, 0)),
    ("one device, bfloat16 comes back as float32", (1, "bfloat16", "float32", SIZE), (False, 0)),
    ("one device, float32 comes back as bfloat16", (1, "float32", "bfloat16", SIZE), (False, 0)),
    ("two devices, half of it comes back", (2, "float32", "float32", SIZE // 2), (False, 0)),
):
    warned, reused, gone = seen(*arguments)
    print(f"{words}: warned {warned}, bytes used again {reused}, old state gone {gone}")
    as_expected &= (warned, reused) == expected
sys.exit(0 if as_expected else 1)
PYTHON
