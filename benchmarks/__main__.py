"""`python -m benchmarks [--quick] [--only GROUP ...] [--against PATH] [--out FOLDER]`: measure, print and write tables.

Each group is a module beside this one, measured in two processes; `--quick` makes fewer rounds of five in one process;
`epochs` trains whole epochs, `targets` until an accuracy is reached, `deep` compiles deep networks, `minimizers` solves
whole problems, `sweeps` trains many runs; these run only when named. With `--against` the package of another checkout
is measured as well, in turns; what became slower is told, and is the exit status.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax

from benchmarks import against, goals, group
from benchmarks.compare import JUDGED
from benchmarks.measure import CHOSEN, CLOCKS, stay_on_one_core
from optaxaccel.training.keeping.records import provenance

GROUPS = (
    "updates",
    "plain",
    "peers",
    "extrapolation",
    "curvature",
    "networks",
    "engine",
    "cards",
    "scaling",
    "startup",
    "reading",
    "half",
)
QUICK = ("updates", "extrapolation", "curvature", "networks", "startup")
PROCESSES = 2
SLOW = ("epochs", "targets", "deep", "minimizers", "sweeps")
COLUMNS = (
    "ms",
    "ratio",
    "quartiles",
    "limit",
    "count",
    "share %",
    "seconds",
    "MB",
    "searches",
    "reached",
    "n",
    "temporary MB",
    "state copies",
    "compile s",
    "error",
)


def table(rows: list[dict]) -> str:
    """Return one Markdown table a benchmark; a goal is compared with the first of its row's numbers after the time."""
    lines: list[str] = []
    for title in dict.fromkeys(row["benchmark"] for row in rows):
        chosen = [row for row in rows if row["benchmark"] == title]
        shown = [name for name in COLUMNS if any(row.get(name) is not None for row in chosen)]
        judged = next((name for name in JUDGED if name in shown), "")
        lines += [f"\n## {title}\n", f"| variant | {' | '.join([*shown, 'goal', 'met'])} |"]
        lines += ["| --- |" + " ---: |" * (len(shown) + 2)]
        for row in chosen:
            goal, measured = row.get("goal"), row.get(judged)
            met = "" if goal is None or measured is None else ("yes" if measured <= goal else "no")
            cells = [*(_cell(row.get(name)) for name in shown), _cell(goal), met]
            lines.append(f"| {row['variant']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (tuple, list)):
        return "-".join(f"{v:.2f}" for v in value)
    if isinstance(value, float):
        return f"{value:.2f}" if value == 0 or abs(value) >= 0.005 else f"{value:.1e}"
    return str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and five groups unless others are named")
    parser.add_argument("--only", nargs="+", choices=(*GROUPS, *SLOW), help="some groups")
    parser.add_argument(
        "--against", type=Path, help="another checkout, whose package is measured in turns with this one"
    )
    parser.add_argument(
        "--clock", choices=(*CLOCKS,), default="wall", help="processor: what other work hardly moves, on one core"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of bench.json and bench.md")
    options = parser.parse_args(arguments)
    os.environ[CHOSEN] = options.clock
    if options.clock == "processor":
        stay_on_one_core()
    commit = provenance("")["commit"]  # of what is measured, whatever is committed meanwhile
    names = options.only or (QUICK if options.quick else GROUPS)
    other = None if options.against is None else against.check(options.against)
    rows, before, failed = [], [], {}
    for name in names:
        started = time.perf_counter()
        once = options.quick or name in SLOW  # which have few rounds to share
        rounds = 7 if options.quick else 40 if once else 20
        if other is None:
            rows += group.measure(name, rounds, 1 if once else PROCESSES)
        else:
            sides = against.measure([name], rounds, other)
            rows, before, failed = rows + sides.here, before + sides.there, failed | sides.failed
        print(f"measured {name} in {time.perf_counter() - started:.0f} s", flush=True)
    device = jax.devices()[0]
    about = provenance(f"{device.platform} {device.device_kind}") | {"commit": commit}
    origin = about | {"load": _load(), "clock": options.clock}
    text = f"{header(origin)}\n{table(rows)}\n"
    if reached := goals.table(rows, before):
        text += f"\n## Goals\n\n{reached}\n"
    sides = against.Sides(rows, before, failed)
    if other is not None:
        text += f"\n## Against {options.against}\n\n{against.table(sides)}\n"
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    written = {"provenance": origin, "rows": rows} | ({"before": before} if other is not None else {})
    (options.out / "bench.json").write_text(json.dumps(written, indent=1) + "\n")
    (options.out / "bench.md").write_text(text)
    print(f"written: {options.out / 'bench.json'} and {options.out / 'bench.md'}")
    return 1 if other is not None and against.regressed(sides) else 0


def _load() -> float | None:
    """Return how many processes wanted a core in the last minutes, where the system tells."""
    return round(os.getloadavg()[2], 1) if hasattr(os, "getloadavg") else None


def header(origin: dict) -> str:
    """Return where the figures come from, and how to read them."""
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    return (
        f"{origin['device']}, {origin['machine']}; commit {origin['commit'][:9]}{' and changes' * origin['dirty']}; "
        f"{versions}; {origin['time']}; load {origin.get('load')}, {origin.get('clock')} time.\n\n"
        f"Times and ratios, to the first variant of a table, are medians over rounds and then over {PROCESSES} "
        "processes (one of --quick, epochs and targets); quartiles are over rounds, the outermost of all processes. "
        "A limit is the least ratio that is possible; a goal is the largest that is good enough."
    )


if __name__ == "__main__":
    sys.exit(main())
