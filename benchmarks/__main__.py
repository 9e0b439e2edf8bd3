"""`python -m benchmarks [--quick] [--only GROUP] [--out FOLDER]`: measure, print Markdown tables, write JSON."""

import argparse
import importlib
import json
from pathlib import Path

from optaxaccel.training.records import provenance

GROUPS = ("updates", "steps", "extrapolation", "curvature", "networks", "engine")  # each a module beside this one


def table(rows: list[dict]) -> str:
    """Return one Markdown table a benchmark; a goal is compared with the first of its row's numbers after the time."""
    lines: list[str] = []
    columns = ("ms", "ratio", "quartiles", "limit", "count", "share %", "temporary MB", "compile s")
    for title in dict.fromkeys(row["benchmark"] for row in rows):
        chosen = [row for row in rows if row["benchmark"] == title]
        shown = [name for name in columns if any(row.get(name) is not None for row in chosen)]
        judged = next((name for name in ("ratio", "count", "share %", "compile s") if name in shown), "")
        lines += [f"\n### {title}\n", f"| variant | {' | '.join([*shown, 'goal', 'met'])} |"]
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
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", choices=GROUPS, help="one group")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of bench.json and bench.md")
    options = parser.parse_args()
    import jax

    rows = []
    for name in GROUPS:
        if options.only in (None, name):
            print(f"measuring {name} ...", flush=True)
            rows += importlib.import_module(f"benchmarks.{name}").run(rounds=7 if options.quick else 40)
    device = jax.devices()[0]
    origin = provenance(f"{device.platform} {device.device_kind}")
    text = table(rows)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bench.json").write_text(json.dumps({"provenance": origin, "rows": rows}, indent=1) + "\n")
    (options.out / "bench.md").write_text(f"{json.dumps(origin)}\n{text}\n")
    print(f"\nwritten: {options.out / 'bench.json'} and {options.out / 'bench.md'}")


if __name__ == "__main__":
    main()
