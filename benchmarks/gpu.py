"""`python -m benchmarks.gpu [--tiny] [--only GROUP ...] [--out FOLDER]`: what a card makes of the package, in one JSON.

Needs no network and no data but the digits. The figures are seconds, ratios within a round, and shares of what the card
can do: the bandwidth of a copy, measured beside. `--tiny` makes all sizes small, to see that it runs; on a CPU its
figures say nothing.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxaccel
from benchmarks.measure import Donated, Row, alternate, interleave, rows_of
from benchmarks.updates import ARRAYS, stepper, variants
from optaxaccel import models
from optaxaccel.training.keeping.records import provenance
from optaxaccel.training.many import sweep
from optaxaccel.training.run.spec import Run

PRECISIONS = {"float32": "highest", "TF32": "default", "bfloat16": "default"}
"""The precision of products that each kind of step asks for; bfloat16 also rounds parameters and images."""


def updates(tiny: bool, rounds: int) -> list[Row]:
    """The update of every method that needs no loss: bytes a second over those of a copy."""
    count = 4_000 if tiny else 64_000_000
    params = {f"{i}": jnp.ones(count // 8) for i in range(8)}
    chosen = {"copy": _copy(params)} | {name: stepper(tx, params) for name, (tx, _) in variants().items()}
    timings = interleave(chosen, rounds=rounds)
    rows = rows_of(f"update alone, {count:,} parameters", timings)
    for row in rows:
        moved = 4 * count * ARRAYS.get(row["variant"], 2)
        row["GB/s"] = moved / row["ms"] / 1e6
        row["bandwidth over a copy's"] = row["GB/s"] / rows[0]["GB/s"]
    return rows


def _copy(tree: Any) -> Callable[[], Any]:
    return Donated(lambda tree: jax.tree.map(lambda a: a + 1.0, tree), jax.tree.map(jnp.copy, tree))


def steps(tiny: bool, rounds: int) -> list[Row]:
    """Training steps in float32, TF32 and bfloat16: images a second."""
    sizes = [("cnn", 8, {"width": 0.1})] if tiny else [("cnn", 1024, {}), ("resnet18_cifar", 512, {})]
    rows = []
    for name, batch, arguments in sizes:
        side = 8 if tiny else 32
        chosen = {kind: _step(name, arguments, batch, side, kind) for kind in PRECISIONS}
        made = rows_of(f"training step of {name}, batch {batch}", interleave(chosen, rounds=rounds))
        rows += [row | {"images/s": 1e3 * batch / row["ms"]} for row in made]
    return rows


def _step(name: str, arguments: dict, batch: int, side: int, kind: str, tx: Any = None) -> Callable[[], Any]:
    dtype = jnp.bfloat16 if kind == "bfloat16" else jnp.float32
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(batch, side, side, 3)), dtype)
    label = jnp.asarray(random.integers(0, 10, batch))
    net = models.make(name, classes=10, input_shape=x.shape[1:], **arguments)
    params, net_state = net.init(jax.random.key(0), x[:1].astype(jnp.float32))
    tx = optax.with_extra_args_support(tx or optax.sgd(1e-3, momentum=0.9))

    def loss(params, net_state):
        lower = jax.tree.map(lambda p: p.astype(dtype), params)
        logits, new = net.apply(lower, net_state, x, train=True)
        logits = logits.astype(jnp.float32)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label)), new

    def step(carry):
        params, net_state, opt_state = carry
        (value, new), grad = jax.value_and_grad(loss, has_aux=True)(params, net_state)
        new = jax.tree.map(lambda a, b: a.astype(b.dtype), new, net_state)
        extra = {"value": value, "grad": grad, "value_fn": lambda p: loss(p, net_state)[0]}
        moved, opt_state = tx.update(grad, opt_state, params, **extra)
        return optax.apply_updates(params, moved), new, opt_state

    with jax.default_matmul_precision(PRECISIONS[kind]):
        return Donated(step, (params, net_state, tx.init(params)))


def search(tiny: bool, rounds: int) -> list[Row]:
    """PAL's step over momentum SGD's, and how wrong TF32 makes a slope and a curvature along a line."""
    batch, side, arguments = (8, 8, {"width": 0.1}) if tiny else (1024, 32, {})
    chosen = {
        "optax.sgd(momentum)": _step("cnn", arguments, batch, side, "float32"),
        "pal": _step("cnn", arguments, batch, side, "float32", optaxaccel.pal()),
    }
    rows = rows_of(f"step of the 3-conv network with a line search, batch {batch}", interleave(chosen, rounds=rounds))
    n = 64 if tiny else 4096
    a = jax.random.normal(jax.random.key(0), (n, n)) / n**0.5
    w, d = jax.random.normal(jax.random.key(1), (2, n))

    def curvature(distance: float, precision: str) -> float:
        with jax.default_matmul_precision(precision):
            line = jax.jit(lambda t: 0.5 * jnp.mean((a @ (w + t * d)) ** 2))
            f0, f1, slope = line(0.0), line(distance), jax.jit(jax.grad(line))(0.0)
        return float(2 * (f1 - f0 - slope * distance) / distance**2)

    exact = float(np.mean((np.asarray(a, np.float64) @ np.asarray(d, np.float64)) ** 2))
    for distance in (1e-1, 1e-2, 1e-3):
        for name, precision in (("float32", "highest"), ("TF32", "default")):
            error = abs(curvature(distance, precision) / exact - 1.0)
            variant = f"{name}, distance {distance:g}"
            rows.append({"benchmark": "relative error of a measured curvature", "variant": variant, "error": error})
    return rows


def extrapolation(tiny: bool, rounds: int) -> list[Row]:
    """`extrapolate` of eleven iterates, in copies of the history."""
    count = 4_000 if tiny else 16_000_000
    history = {f"{i}": jax.random.normal(jax.random.key(i), (11, count // 8)) for i in range(8)}
    call = jax.jit(lambda h: optaxaccel.extrapolate(h, stacked=True))
    chosen = {"copy of the history": _copy(history), "extrapolate": lambda: call(history)}
    return rows_of(f"extrapolation, K=10, {count:,} parameters", interleave(chosen, rounds=rounds))


def fixed_points(tiny: bool, rounds: int) -> list[Row]:
    """One turn of the fixed-point solver without its map, over a copy of its history."""
    n = 1_000 if tiny else 10_000_000
    x = jnp.linspace(0.0, 1.0, n)
    history = jnp.zeros((20, n))

    def turn(carry):
        x, state = carry
        return optaxaccel.anderson_update(0.5 * x + 0.1 * x**2, x, state)

    chosen = {
        "copy of two histories of 10": _copy(history),
        "a turn, history 10": Donated(turn, (x, optaxaccel.anderson_init(x, history=10))),
    }
    return rows_of(f"fixed point, {n:,} unknowns", interleave(chosen, rounds=rounds))


def quasi_newton(tiny: bool, rounds: int) -> list[Row]:
    """The dense update in float64, over a copy of the matrix."""
    n = 64 if tiny else 8_000
    with jax.enable_x64(True):
        matrix = jnp.eye(n)
        s, y, g = jax.random.normal(jax.random.key(0), (3, n))
        y = jnp.where(jnp.vdot(s, y) > 0, y, -y)
        rows = []
        for method in ("bfgs", "ssbroyden"):
            update = Donated(lambda h, m=method: optaxaccel.quasi_newton_update(h, s, y, g, 1.0, method=m), matrix + 0)
            chosen = {"copy of the matrix": _copy(matrix), method: update}
            rows += rows_of(f"quasi-Newton update, n = {n:,}, float64", interleave(chosen, rounds=rounds))
    return rows


def sweeps(tiny: bool, rounds: int) -> list[Row]:
    """Sixteen small runs together over one after another, both warm."""
    count, length = (2, 4) if tiny else (16, 440)
    base = Run(model="mlp", data="digits", batch_size=64, steps=length, eval_every=1e9, method="optax.sgd")
    runs = [base.replace(seed=k, method_args={"learning_rate": 0.01 * (k + 1)}) for k in range(count)]

    def trained(vectorize: bool) -> Callable[[], float]:
        def seconds() -> float:
            with tempfile.TemporaryDirectory() as folder:
                paths = [Path(folder) / f"{k}.jsonl" for k in range(count)]
                started = time.perf_counter()
                sweep.train_many(runs, paths, vectorize=vectorize)
                return time.perf_counter() - started

        return seconds

    chosen = {"together": trained(True), "one after another": trained(False)}
    return rows_of(f"{count} runs of {length} steps", alternate(chosen, rounds=max(1, rounds // 4), warm_up=1))


GROUPS = {each.__name__: each for each in (updates, steps, search, extrapolation, fixed_points, quasi_newton, sweeps)}


def measure(names: list[str], *, tiny: bool, rounds: int) -> dict[str, Any]:
    """Return provenance and rows of some groups; a group that fails is a row that says how."""
    rows: list[Row] = []
    for name in names:
        started = time.perf_counter()
        try:
            rows += GROUPS[name](tiny, rounds)
        except Exception as error:  # the other groups are worth their time on a card that is lent
            rows.append({"benchmark": name, "variant": f"failed: {type(error).__name__}: {error}"[:500]})
        print(f"measured {name} in {time.perf_counter() - started:.0f} s", flush=True)
    device = jax.devices()[0]
    return {"provenance": provenance(f"{device.platform} {device.device_kind}"), "tiny": tiny, "rows": rows}


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write gpu.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--only", nargs="+", choices=tuple(GROUPS), default=list(GROUPS), help="some groups")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of each comparison")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of gpu.json")
    options = parser.parse_args(arguments)
    measured = measure(options.only, tiny=options.tiny, rounds=options.rounds)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.json").write_text(json.dumps(measured, indent=1) + "\n")
    for row in measured["rows"]:
        print(json.dumps(row))
    return int(any(row["variant"].startswith("failed: ") for row in measured["rows"]))


if __name__ == "__main__":
    raise SystemExit(main())
