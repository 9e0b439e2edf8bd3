"""Whole training steps on the three-convolution network, batch 128: what a method costs beside the network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxaccel
from benchmarks.measure import Donated, Row, interleave, rows_of
from optaxaccel import models


def run(rounds: int, model: str = "cnn", shape: tuple[int, ...] = (32, 32, 3)) -> list[Row]:
    """Return one row a variant; the limit of a line search is (SGD step + forward pass) / SGD step."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(128, *shape)).astype(np.float32))
    label = jnp.asarray(rng.integers(0, 10, 128))
    net = models.make(model, classes=10, input_shape=shape)
    params, net_state = net.init(jax.random.key(0), x[:1])

    def loss_fn(params):
        logits, _ = net.apply(params, net_state, x, train=False)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))

    def stepper(tx):
        def step(carry):
            params, state = carry
            value, grad = jax.value_and_grad(loss_fn)(params)
            tx_ = optax.with_extra_args_support(tx)
            updates, state = tx_.update(grad, state, params, value=value, grad=grad, value_fn=loss_fn)
            return optax.apply_updates(params, updates), state

        return Donated(step, (jax.tree.map(jnp.copy, params), tx.init(params)))

    rate = 1e-4  # small steps: every round does the same work
    variants = {
        "optax.sgd(momentum)": stepper(optax.sgd(rate, momentum=0.9)),
        "forward pass": lambda call=jax.jit(loss_fn): call(params),
        "optax.adam": stepper(optax.adam(rate)),
        "optax.polyak_sgd": stepper(optax.polyak_sgd(rate)),
        "optax.sgd + backtracking, one trial": stepper(
            optax.chain(optax.sgd(rate), optax.scale_by_backtracking_linesearch(max_backtracking_steps=1))
        ),
        "indian": stepper(optaxaccel.indian(rate)),
        "agd": stepper(optaxaccel.agd(rate)),
        "interpolatron": stepper(optaxaccel.interpolatron(rate)),
        "anderson": stepper(optaxaccel.anderson(rate)),
        "pal": stepper(optaxaccel.pal(measuring_step_size=rate, max_step_size=rate)),
        "gose_sgd, no search": stepper(optaxaccel.gose_sgd(rate, gradient_threshold=1e-9)),
    }
    timings = interleave(variants, rounds=rounds)
    limit = 1 + timings["forward pass"].ratio
    goals = {"pal": limit + 0.05, "gose_sgd, no search": 1.05}
    rows = rows_of(f"whole step, {model}, batch 128", timings, goals=goals, limits={"pal": limit})
    for row in rows:
        step = variants[row["variant"]]
        if isinstance(step, Donated):
            row.update({"temporary MB": step.temporary_bytes / 1e6, "compile s": step.compile_seconds})
    return rows
