"""Every solver on every map: evaluations, seconds, and whether it came to the right point."""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optaxaccel
from benchmarks.fixed_points import further, maps, solvers

SETS = {"first": maps.ALL, "further": further.FURTHER}
ROUNDS = 9
SECONDS = 1.0  # a run longer than this is timed once
EXACT = 1e-8  # tolerance of what points are compared with
APART = 1e-2  # relative distance from which a point is another one


def rows(
    dtype: Any, tolerance: float, cases: Sequence[maps.Map], some: list[str] | None, timed: bool
) -> Iterator[dict[str, Any]]:
    """Measure one row a map."""
    contenders = {name: make for name, make in solvers.available()[0].items() if some is None or name in some}
    for case in cases:
        fun, start = case.make(dtype)
        complex_ = np.iscomplexobj(start)
        x0 = jnp.asarray(start, jnp.promote_types(dtype, jnp.complex64) if complex_ else dtype)
        row = _row(case, fun, x0, tolerance, contenders, timed)
        counts = {name: cell.get("maps") or cell["status"] for name, cell in row["solvers"].items()}
        print(case.name, x0.size, counts, flush=True)
        yield row


def _row(case: maps.Map, fun, x0, tolerance: float, contenders, timed: bool) -> dict[str, Any]:
    wanted = _reference(case)
    scale = float(np.linalg.norm(wanted))
    cells, timings = {}, {}
    for name, make in contenders.items():
        if not solvers.takes(name, np.iscomplexobj(x0), x0.size):
            continue
        run = make(fun, x0, tolerance, scale)
        point, count = jax.block_until_ready(run.call())
        cells[name] = _judged(case, fun, np.asarray(point), x0.dtype, wanted, tolerance)
        if name not in solvers.UNCOUNTED:
            cells[name]["maps"] = int(count)
        if timed and run.compiled and cells[name]["status"] == "solved":
            timings[name] = run
    for _ in range(ROUNDS):  # all in turn, so that a busy moment hits them alike
        for name, run in timings.items():
            taken = cells[name].setdefault("rounds", [])
            if taken and taken[0] > SECONDS:
                continue
            jax.block_until_ready(run.call())  # so that each finds its own code and arrays in the caches, not another's
            started = time.perf_counter()
            jax.block_until_ready(run.call())
            taken.append(time.perf_counter() - started)
    for cell in cells.values():
        if "rounds" in cell:
            cell["seconds"] = float(np.median(cell.pop("rounds")))
    return {"map": case.name, "unknowns": int(x0.size), "solvers": cells}


def _reference(case: maps.Map) -> np.ndarray:
    """Return plain iteration's fixed point where it has one, else that of the default rule; always of float64.

    A slow map stops far from its fixed point when the residual is small: one found in float32 to 1e-5 is itself off by
    as much as tells two points apart here.
    """
    method = "plain" if case.plain else "anderson"
    with jax.enable_x64(True):
        fun, start = case.make(jnp.float64)
        x0 = jnp.asarray(start, jnp.complex128 if np.iscomplexobj(start) else jnp.float64)
        solution = optaxaccel.fixed_point(fun, x0, method=method, rtol=EXACT, max_maps=solvers.PLAIN_BUDGET)
        return np.asarray(solution.value)


def _judged(case: maps.Map, fun, point, dtype, wanted, tolerance: float) -> dict[str, Any]:
    """Return whether a point is a fixed point to ten times the tolerance, and the right one."""
    image = np.asarray(fun(jnp.asarray(point, dtype)))
    residual, size = np.linalg.norm(image - point), np.linalg.norm(image)
    if not (np.isfinite(residual) and residual <= 10 * tolerance * size):
        return {"status": "failed"}
    ideal, got = case.essence(wanted), case.essence(point)
    apart = float(np.linalg.norm(got - ideal) / np.linalg.norm(ideal))
    other = case.plain and apart > APART
    return {"status": "other" if other else "solved"}


def main() -> None:
    """Measure in one precision and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", choices=("float64", "float32"), required=True)
    parser.add_argument("--set", choices=SETS, default="first")
    parser.add_argument("--maps", nargs="+")
    parser.add_argument("--solvers", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="keep the maps that --out already holds")
    options = parser.parse_args()
    double = options.precision == "float64"
    jax.config.update("jax_enable_x64", double)
    dtype, tolerance = (jnp.float64, 1e-8) if double else (jnp.float32, 1e-5)
    table = json.loads(options.out.read_text()) if options.resume and options.out.exists() else []
    known = {row["map"] for row in table}
    cases = [case for case in SETS[options.set] if case.name not in known]
    cases = [case for case in cases if options.maps is None or case.name in options.maps]
    for row in rows(dtype, tolerance, cases, options.solvers, timed=double):
        table.append(row)  # written after every map, so that what was measured is not lost
        options.out.write_text(json.dumps(table))


if __name__ == "__main__":
    main()
