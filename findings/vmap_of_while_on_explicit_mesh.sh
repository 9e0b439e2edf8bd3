#!/usr/bin/env bash
# jax 0.10.2: on an explicit mesh `jax.vmap` of a `lax.while_loop` fails where a leaf of the carry starts the same for all.
#
# Most expect that a loop which runs under `jax.vmap` runs so for sharded arrays, too, once the mesh has explicit axes
# (what `jax.make_mesh` gives by default): types then only say where things lie. But with members that stop for
# themselves, the rule for batches gives a leaf that starts unbatched, a counter or zeros, the sharding of the batch on no
# mesh at all: "Resource axis: d of P('d',) is not found in mesh: ()". The same loop runs where every leaf starts batched,
# and on a mesh of automatic axes. It matters to every solver and search with a counter in its carry. A way round:
# `jnp.where(goes_on, leaf, leaf)` with the batched condition of the loop, which makes each leaf a batch and costs nothing.
#
# Exit status 0 while that is so, 1 once the loop with the counter runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "jax==0.10.2" "jaxlib==0.10.2"
JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=2 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def doublings(x, way_round=False):
    """Return how often x has to be doubled to reach 10."""

    def unfinished(carry):
        return carry[0] < 10

    begin = (x, 0)
    if way_round:
        begin = jax.tree.map(lambda leaf: jnp.where(unfinished(begin), leaf, leaf), begin)
    return lax.while_loop(unfinished, lambda carry: (2 * carry[0], carry[1] + 1), begin)[1]


def outcome(kind, **options):
    mesh = jax.make_mesh((2,), ("d",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.array([1.0, 2.0, 3.0, 9.0]), NamedSharding(mesh, PartitionSpec("d")))
        try:
            return jax.jit(jax.vmap(lambda x: doublings(x, **options)))(x).tolist()
        except ValueError as error:
            return f"ValueError: {str(error).splitlines()[0]}"


print(f"jax {jax.__version__}")
automatic, explicit = outcome(AxisType.Auto), outcome(AxisType.Explicit)
mended = outcome(AxisType.Explicit, way_round=True)
print("automatic axes:          ", automatic)
print("explicit axes:           ", explicit)
print("explicit, leaves batched:", mended)
sys.exit(0 if automatic == mended == [4, 3, 2, 1] and str(explicit).startswith("ValueError") else 1)
PYTHON
