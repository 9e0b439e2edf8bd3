"""`python -m benchmarks [--quick] [--only GROUP] [--out FOLDER]`: measure, print Markdown tables, write JSON."""

import argparse
import json
from pathlib import Path

from benchmarks import extrapolation, steps, updates
from optaxaccel.training.records import provenance

GROUPS = {"updates": updates.run, "steps": steps.run, "extrapolation": extrapolation.run}


def table(rows: list[dict]) -> str:
    """Return one Markdown table a benchmark."""
    lines: list[str] = []
    for title in dict.fromkeys(row["benchmark"] for row in rows):
        lines += [f"\n### {title}\n", "| variant | ms | ratio | quartiles | goal | met | temporary MB | compile s |"]
        lines += ["| --- |" + " ---: |" * 7]
        for row in (row for row in rows if row["benchmark"] == title):
            low, high = row["quartiles"]
            goal = row.get("goal")
            met = "" if goal is None else ("yes" if row["ratio"] <= goal else "no")
            numbers = [
                f"{row['ms']:.2f}",
                f"{row['ratio']:.2f}",
                f"{low:.2f}-{high:.2f}",
                "" if goal is None else f"{goal:.2f}",
                met,
            ]
            extra = ["" if row.get(key) is None else f"{row[key]:.2f}" for key in ("temporary MB", "compile s")]
            lines.append(f"| {row['variant']} | {' | '.join([*numbers, *extra])} |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds (about two minutes)")
    parser.add_argument("--only", choices=sorted(GROUPS), help="one group")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of bench.json and bench.md")
    options = parser.parse_args()
    import jax

    rows = []
    for name, run in GROUPS.items():
        if options.only in (None, name):
            print(f"measuring {name} ...", flush=True)
            rows += run(rounds=7 if options.quick else 40)
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
