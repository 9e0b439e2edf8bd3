#!/usr/bin/env bash
# jax 0.10.2 and 0.12.0.1: inside `jax.shard_map`, `lax.custom_linear_solve` fails where its functions close over a number
# that is the same on all devices.
#
# `shard_map` tracks which values vary over a mesh axis (`check_vma=True`, the default), and JAX's own operations cast what
# does not vary where it meets what does. Most expect that of a product with a replicated coefficient wherever it is
# written. The functions handed to `lax.custom_linear_solve` are traced apart from that: a coefficient that the matrix or
# the solver closes over has lost its type there, the cast is put in all the same, and evaluating it raises a ValueError
# of `pvary`, which nobody called, already for the value, before any derivative. The same program without the check is
# right, value and gradient, and so is one whose coefficient was cast to vary by hand. It matters to implicit
# differentiation on several devices: equilibrium layers, solvers and physics whose step sizes, temperatures or weights
# are replicated parameters.
#
# Exit status 0 while that is so, 1 once it works with the check.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/solve.py" <<'PYTHON'
import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

MESH = jax.make_mesh((2,), ("i",), axis_types=(AxisType.Auto,))
SIDE, COEFFICIENT = jnp.array([2.0, 4.0]), jnp.array(2.0)


def solution(side, coefficient):
    """The solution of coefficient * u = side."""
    return lax.custom_linear_solve(lambda u: coefficient * u, side, lambda _, b: b / coefficient, symmetric=True)


def cast(side, coefficient):
    return solution(side, lax.pcast(coefficient, "i", to="varying"))


def both(function, check):
    """Return the solution and a gradient, or what was raised."""
    mapped = jax.shard_map(function, mesh=MESH, in_specs=(P("i"), P()), out_specs=P("i"), check_vma=check)
    try:
        value = mapped(SIDE, COEFFICIENT)
        gradient = jax.grad(lambda b: jnp.sum(mapped(b, COEFFICIENT)))(SIDE)
    except ValueError as error:
        return f"ValueError: {str(error)[:50]}..."
    return f"{value.tolist()}, gradient {gradient.tolist()}"


def plain_division(side, coefficient):
    return side / coefficient


right = "[1.0, 2.0], gradient [0.5, 0.5]"
seen = {
    "a plain division, checked": both(plain_division, True),
    "custom_linear_solve, not checked": both(solution, False),
    "custom_linear_solve, coefficient cast by hand, checked": both(cast, True),
    "custom_linear_solve, checked": both(solution, True),
}
print(f"jax {jax.__version__}")
for what, said in seen.items():
    print(f"  {what}: {said}")
*others, last = seen.values()
sys.exit(0 if all(said == right for said in others) and last.startswith("ValueError: pvary") else 1)
PYTHON
run() {  # Python, version
  "$1" -m venv --clear "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "jax==$2" "jaxlib==$2"
  JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/solve.py"
}
run python3 0.10.2
newer=""
for candidate in python3 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then newer="$candidate"; fi
done
[ -z "$newer" ] || run "$newer" 0.12.0.1
echo "What custom_linear_solve closes over must vary over the mesh, or the check has to be off."
