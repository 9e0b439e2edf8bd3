#!/usr/bin/env bash
# optax 0.2.8: `optax.scale_by_backtracking_linesearch` stops for ever at the first search whose trials all overflow.
#
# Losses with exponentials or logarithms are infinite or NaN where a first trial of length 1 leads. A search that has
# found no finite loss in `max_backtracking_steps` trials makes no step, as is right, and most expect the next search to
# begin further in, or where this one ended. But the state keeps a learning rate of exactly 0, and the next search starts
# from it times `increase_factor`: at 0. It "succeeds" with a step of length 0, and so do all that follow. Nothing is
# raised, and the loss stays finite: that of the start. `increase_factor=inf`, documented to start every search from
# `max_learning_rate`, does not help, as infinity times 0 is NaN. More trials a search, or a smaller `max_learning_rate`,
# do. It matters in Poisson regression, log-likelihoods and barriers; with 15 trials, as in its own examples, the shortest
# is 0.035.
#
# Exit status 0 while that is so, 1 once searches recover.
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

# Poisson regression: counts of some hundreds against one feature and an intercept.
FEATURE = jnp.linspace(0.0, 5.0, 50)
INPUTS = jnp.stack([jnp.ones(50), FEATURE], axis=1)
COUNTS = jnp.round(jnp.exp(2.0 + 0.9 * FEATURE))


def loss(params):
    return jnp.mean(jnp.exp(INPUTS @ params) - COUNTS * (INPUTS @ params))


def run(trials, factor=1.5, steps=500):
    search = optax.scale_by_backtracking_linesearch(trials, increase_factor=factor)
    tx = optax.chain(optax.sgd(1.0), search)
    params = jnp.zeros(2)
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        value, grad = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(params, updates), state

    rates = []
    for _ in range(steps):
        params, state = step(params, state)
        rates.append(float(state[-1].learning_rate))
    return float(loss(params)), rates


print(f"optax {optax.__version__}, jax {jax.__version__}; loss at the start {float(loss(jnp.zeros(2))):.2f}")
results = {}
for trials, factor in ((15, 1.5), (15, float("inf")), (60, 1.5)):
    value, rates = run(trials, factor)
    results[trials, factor] = value, set(rates)
    print(f"{trials} trials, increase_factor {factor}: loss {value:.2f} after 500 steps, rates {rates[:2]} ... {rates[-1]:.1e}")
start = float(loss(jnp.zeros(2)))
stuck = all(results[15, factor] == (start, {0.0}) for factor in (1.5, float("inf")))
sys.exit(0 if stuck and results[60, 1.5][0] < start - 100 else 1)
PYTHON
