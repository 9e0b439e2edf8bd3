#!/usr/bin/env bash
# optax 0.2.8: the state that `optax.lbfgs().init` returns cannot be donated: two of its fields are one buffer.
#
# Most expect that the state of any transformation can be donated to the compiled step, as every training loop does to
# save a copy: `jax.jit(step, donate_argnums=(0, 1))` works with Adam from the first step on. With L-BFGS the first call is
# refused by the runtime ("Attempt to donate the same buffer twice"), since `init` puts the same array of zeros into two
# fields; from the second state on donation works. It matters where it saves most: the memory of L-BFGS is twenty copies
# of the parameters. A copy of the fresh state (`jax.tree.map(jnp.copy, state)`) is accepted.
#
# Exit status 0 while that is so, 1 once a fresh state can be donated.
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


def loss(params):
    return jnp.sum((params - 1.0) ** 2)


def first_step(tx, copied):
    params = jnp.zeros(3)
    state = tx.init(params)
    state = jax.tree.map(jnp.copy, state) if copied else state

    def step(params, state):
        value, grad = jax.value_and_grad(loss)(params)
        extra = {"value": value, "grad": grad, "value_fn": loss}
        updates, state = optax.with_extra_args_support(tx).update(grad, state, params, **extra)
        return optax.apply_updates(params, updates), state

    try:
        jax.block_until_ready(jax.jit(step, donate_argnums=(0, 1))(params, state))
    except Exception as error:  # the runtime's error has no public type of its own
        return f"refused: {str(error).splitlines()[0][:72]}"
    return "donated"


print(f"optax {optax.__version__}, jax {jax.__version__}")
adam, fresh = first_step(optax.adam(0.1), False), first_step(optax.lbfgs(), False)
copied = first_step(optax.lbfgs(), True)
print("adam, fresh state: ", adam)
print("lbfgs, fresh state:", fresh)
print("lbfgs, copied state:", copied)
sys.exit(0 if (adam, copied) == ("donated", "donated") and fresh.startswith("refused") else 1)
PYTHON
