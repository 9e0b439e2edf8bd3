"""How cost grows: with the number of parameters, the length of a history, the devices, and the settings of a sweep.

The devices are virtual ones of one machine, which a process has to ask for before it starts: `python -m
benchmarks.scaling ROUNDS`, a process of its own, measures them and prints the rows.
"""

import json
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

import optaxaccel
from benchmarks.measure import Donated, Row, interleave, rows_of
from benchmarks.updates import stepper
from optaxaccel import models
from optaxaccel.training import allocation

SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
LENGTHS = (2, 3, 5, 10, 20)
SETTINGS = (1, 4, 16, 64)
DEVICES = (1, 2, 4)


def run(rounds: int) -> list[Row]:
    """Return one row a variant; the largest sizes get few rounds."""
    return [
        *(row for size in SIZES for row in _parameters(size, max(3, min(rounds, 3 * 10**7 // size)))),
        *_histories(max(3, rounds // 4)),
        *_in_a_process_of_its_own(max(3, rounds // 4)),
        *_sweep(max(3, rounds // 4)),
    ]


def _vectors(size: int) -> dict[str, jax.Array]:
    """Return about `size` parameters in ten leaves."""
    rng = np.random.default_rng(0)
    return {str(i): jnp.asarray(rng.normal(size=size // 10).astype(np.float32)) for i in range(10)}


def _parameters(size: int, rounds: int) -> list[Row]:
    """Update alone; 10^8 parameters with Anderson's four copies take 2 GB."""
    params = _vectors(size)
    chosen = {
        "optax.sgd(momentum)": optax.sgd(0.01, momentum=0.9),
        "indian": optaxaccel.indian(0.01),
        "agd": optaxaccel.agd(0.01),
        "interpolatron k=2": optaxaccel.interpolatron(0.01),
        "anderson k=2": optaxaccel.anderson(0.01),
    }
    timings = interleave({name: stepper(tx, params) for name, tx in chosen.items()}, rounds=rounds)
    return rows_of(f"update alone, 10^{round(math.log10(size))} parameters in ten leaves", timings)


def _histories(rounds: int) -> list[Row]:
    """Methods with a history and the extrapolation, at a million parameters, by the length of the history."""
    params, variants = _vectors(10**6), {}
    variants["optax.sgd(momentum)"] = stepper(optax.sgd(0.01, momentum=0.9), params)
    for k in LENGTHS:
        weights = (1.0 / k,) * k
        variants[f"interpolatron, {k} pairs"] = stepper(optaxaccel.interpolatron(0.01, coefficients=weights), params)
        variants[f"anderson, {k} pairs"] = stepper(optaxaccel.anderson(0.01, history=k), params)
        stacked = {name: p + 0.01 * jnp.arange(k + 1.0)[:, None] ** 1.5 for name, p in params.items()}
        extrapolate = jax.jit(lambda stacked: optaxaccel.extrapolate(stacked, stacked=True)).lower(stacked).compile()
        variants[f"extrapolate, K = {k}"] = lambda call=extrapolate, stacked=stacked: call(stacked)
    return rows_of("by length of the history, 10^6 parameters", interleave(variants, rounds=rounds))


def _in_a_process_of_its_own(rounds: int) -> list[Row]:
    """Return the rows by number of devices."""
    command = [sys.executable, "-m", "benchmarks.scaling", str(rounds)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _devices(rounds: int) -> list[Row]:
    """The same step, its batch cut over virtual devices of one machine."""
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(128, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, 128)
    net = models.make("cnn", classes=10, input_shape=(32, 32, 3))
    params, state = net.init(jax.random.key(0), jnp.asarray(x[:1]))
    tx = optaxaccel.pal()

    def step(carry, x, label):
        params, opt_state = carry

        def loss_fn(params):
            logits, _ = net.apply(params, state, x, train=False)
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))

        value, grad = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = tx.update(grad, opt_state, params, value=value, grad=grad, value_fn=loss_fn)
        return optax.apply_updates(params, updates), opt_state

    variants = {}
    for count in DEVICES:
        axis = (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((count,), ("data",), devices=jax.devices()[:count], axis_types=axis)
        whole, cut = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("data")))
        carry = jax.device_put(jax.tree.map(jnp.copy, (params, tx.init(params))), whole)
        variants[f"{count} device{'s' * (count > 1)}"] = Donated(step, carry, *jax.device_put((x, label), cut))
    return rows_of("pal on the three-convolution network by number of devices", interleave(variants, rounds=rounds))


def _sweep(rounds: int) -> list[Row]:
    """A hundred steps of many settings of a small network in one program, against one setting after the other."""
    rng = np.random.default_rng(0)
    x, label = jnp.asarray(rng.normal(size=(64, 64)).astype(np.float32)), jnp.asarray(rng.integers(0, 10, 64))
    start = {
        "w": jnp.asarray(0.1 * rng.normal(size=(64, 32)).astype(np.float32)),
        "v": jnp.asarray(0.1 * rng.normal(size=(32, 10)).astype(np.float32)),
    }

    def loss_fn(params):
        logits = jax.nn.relu(x @ params["w"]) @ params["v"]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))

    def train(rate, params):
        tx = optaxaccel.pal(measuring_step_size=rate)

        def step(carry, _):
            params, state = carry
            value, grad = jax.value_and_grad(loss_fn)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss_fn)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, tx.init(params)), length=100)[1][-1]

    one, many = jax.jit(train), jax.jit(jax.vmap(train, in_axes=(0, None)))
    rows = []
    for settings in SETTINGS:
        rates = jnp.linspace(0.01, 0.1, settings)
        variants = {
            "one after another": lambda rates=rates: [one(rate, start) for rate in rates],
            "in one program": lambda rates=rates: many(rates, start),
        }
        title = f"sweep of {settings} settings of a small network, 100 steps of pal"
        rows += rows_of(title, interleave(variants, rounds=rounds))
    return rows


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    allocation.keep_freed_memory(one_arena=True)
    print(json.dumps(_devices(int(sys.argv[1]))))
