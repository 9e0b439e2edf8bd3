"""`python -m benchmarks [--quick] [--only GROUP ...] [--out FOLDER]`: measure, print Markdown tables, write JSON.

Each group is a module beside this one, measured in two processes; `--quick` makes fewer rounds of five in one process;
`epochs` trains whole epochs, `targets` until an accuracy is reached; both run only when named.
"""

import argparse
import json
import time
from pathlib import Path

import jax

from benchmarks import group
from optaxaccel.training.keeping.records import provenance

GROUPS = ("updates", "peers", "extrapolation", "curvature", "networks", "engine", "cards", "scaling", "startup")
QUICK = ("updates", "extrapolation", "curvature", "networks", "startup")
PROCESSES = 2
SLOW = ("epochs", "targets")
COLUMNS = (
    "ms",
    "ratio",
    "quartiles",
    "limit",
    "count",
    "share %",
    "seconds",
    "searches",
    "reached",
    "n",
    "temporary MB",
    "state copies",
    "compile s",
)
JUDGED = ("ratio", "count", "share %", "seconds", "compile s")


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
            goal, found = row.get("goal"), row.get(judged)
            met = "" if goal is None or found is None else ("yes" if found <= goal else "no")
            cells = [*(_cell(row.get(name)) for name in shown), _cell(goal), met]
            lines.append(f"| {row['variant']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (tuple, list)):
        return "-".join(f"{v:.2f}" for v in value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and five groups unless others are named")
    parser.add_argument("--only", nargs="+", choices=(*GROUPS, *SLOW), help="some groups")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of bench.json and bench.md")
    options = parser.parse_args()
    rows = []
    for name in options.only or (QUICK if options.quick else GROUPS):
        started = time.perf_counter()
        once = options.quick or name in SLOW  # which have few rounds to share
        rounds = 7 if options.quick else 40 if once else 20
        rows += group.measure(name, rounds, 1 if once else PROCESSES)
        print(f"measured {name} in {time.perf_counter() - started:.0f} s", flush=True)
    device = jax.devices()[0]
    origin = provenance(f"{device.platform} {device.device_kind}")
    text = f"{header(origin)}\n{table(rows)}\n"
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bench.json").write_text(json.dumps({"provenance": origin, "rows": rows}, indent=1) + "\n")
    (options.out / "bench.md").write_text(text)
    print(f"written: {options.out / 'bench.json'} and {options.out / 'bench.md'}")


def header(origin: dict) -> str:
    """Return where the figures come from, and how to read them."""
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    return (
        f"{origin['device']}, {origin['machine']}; commit {origin['commit'][:9]}{' and changes' * origin['dirty']}; "
        f"{versions}; {origin['time']}.\n\n"
        f"Times and ratios, to the first variant of a table, are medians over rounds and then over {PROCESSES} "
        "processes (one of --quick, epochs and targets); quartiles are over rounds, the outermost of all processes. "
        "A limit is the least ratio that is possible; a goal is the largest that is good enough."
    )


if __name__ == "__main__":
    main()
