"""`python -m benchmarks.fixed_points [--set SET] [--maps NAME ...] [--out FOLDER] [--resume]`: measure every row anew.

The set `first` has the maps that the rule was chosen with and writes results.json and table.md, with costs and goals;
`further` has maps that were not used for that, and writes further.json and further.md. Each precision and the costs run
in a process of their own; with `--resume` what an earlier command left under `--out` stays, where it was measured on
the same commit. Peers that are not installed (jaxopt, optimistix, scipy, anderson-acceleration) are left out with a
word. The first set takes about eleven minutes on two quiet cores.
"""

import argparse
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.fixed_points import solvers, table
from optaxaccel.training.keeping.records import provenance

RESULTS = Path(__file__).parents[1] / "results" / "fixed_points"
FILES = {"first": ("results.json", "table.md"), "further": ("further.json", "further.md")}  # of each set
PEERS = ("jaxopt", "optimistix", "scipy", "anderson-acceleration")


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the measurements and the tables, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fixed_points", description=__doc__)
    parser.add_argument("--set", choices=FILES, default="first", help="the set of maps")
    parser.add_argument("--maps", nargs="+", help="some maps of it")
    parser.add_argument("--out", type=Path, default=Path("runs/fixed_points"), help="folder of what is written")
    parser.add_argument("--resume", action="store_true", help="go on with what an interrupted command left under --out")
    options = parser.parse_args(arguments)
    for word in solvers.available()[1]:
        print(word)
    first = options.set == "first"
    parts = options.out / ("parts" if first else f"parts_{options.set}")
    origin = _begin(parts, options.resume)
    measured: dict[str, Any] = {
        precision: _measure(precision, parts, options.set, options.maps, options.resume)
        for precision in ("float64", "float32")
    }
    if first:
        if not (parts / "costs.json").exists():
            _run("benchmarks.fixed_points.costs", "--out", str(parts / "costs.json"))
        measured["costs"] = json.loads((parts / "costs.json").read_text())
    measured["provenance"] = origin
    numbers, words = (options.out / name for name in FILES[options.set])
    text = page(measured) if first else further_page(measured)
    numbers.write_text(json.dumps(thinned(measured), indent=1) + "\n")
    words.write_text(text)
    print(text)
    print(f"written: {numbers} and {words}")


def _begin(parts: Path, resume: bool) -> dict[str, Any]:
    """Return where the measurements come from: now, or where the interrupted command began."""
    now, path = provenance("cpu") | {"peers": _peers()}, parts / "provenance.json"
    if resume and path.exists():
        began = json.loads(path.read_text())
        for what in ("commit", "versions", "peers", "machine"):
            if began[what] != now[what]:
                sys.exit(f"--resume: {parts} was measured with {what} {began[what]}, not {now[what]}. Leave it out.")
        return began
    parts.mkdir(parents=True, exist_ok=True)
    for old in parts.glob("*.json"):
        old.unlink()
    path.write_text(json.dumps(now))
    return now


def _measure(precision: str, parts: Path, set_: str, chosen: list[str] | None, resume: bool) -> table.Rows:
    out = parts / f"{precision}.json"
    options = ["--set", set_, *(["--maps", *chosen] if chosen else []), *(["--resume"] if resume else [])]
    _run("benchmarks.fixed_points.measure", "--precision", precision, "--out", str(out), *options)
    return json.loads(out.read_text())


def _run(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-m", module, *arguments], check=True)


def _peers() -> dict[str, str]:
    versions = {}
    for name in PEERS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def thinned(value: Any) -> Any:
    """Return the measurements with three digits."""
    if isinstance(value, dict):
        return {key: thinned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [thinned(item) for item in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def page(measured: dict[str, Any]) -> str:
    """Return the first set's tables as Markdown, with what they mean, the goals, and where they come from."""
    double, single = measured["float64"], measured["float32"]
    parts = [
        *_tables(double, single),
        "### Goals",
        table.markdown(["figure", "measured", "goal", "met"], table.goals(double, single, measured["costs"])),
        _source(measured["provenance"], "python -m benchmarks.fixed_points"),
    ]
    return "\n\n".join(parts) + "\n"


def further_page(measured: dict[str, Any]) -> str:
    """Return the further set's tables as Markdown, with what they mean and where they come from."""
    parts = [
        "None of these maps was used in choosing the solver's rule. They are of other kinds than those of the first\n"
        "set, and are as their sources define them.",
        *_tables(measured["float64"], measured["float32"], "further "),
        _source(measured["provenance"], "python -m benchmarks.fixed_points --set further"),
    ]
    return "\n\n".join(parts) + "\n"


def _tables(double: table.Rows, single: table.Rows, kind: str = "") -> list[str]:
    sizes = sorted(row["unknowns"] for row in double)
    comma = ", further maps" if kind else ""
    return [
        f"### Solvers, float64{comma}",
        f"{len(double)} {kind}maps of {sizes[0]} to {sizes[-1]:,} unknowns, to |F(x) - x| <= 1e-8 |F(x)| within 5,000\n"
        "evaluations (plain iteration 20,000). Another point: not the one that plain iteration finds. Evaluations:\n"
        "the geometric mean of a solver's count over the fewest of all solvers, where a failure counts 8; Newton and\n"
        "Chord make Jacobians, which are no evaluations. Seconds: compiled, on maps that both solve, geometric mean\n"
        "of medians of nine runs in turn, each after one that is not timed.",
        table.of_solvers(double),
        *filter(None, [table.over_jaxopt(double)]),
        f"### Evaluations of F, float64{comma}",
        "F: failed. o: another fixed point.",
        table.of_maps(double),
        f"### Solvers, float32 to 1e-5, {len(single)} {kind}maps",
        table.of_solvers(single),
    ]


def _source(origin: dict[str, Any], command: str) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in (origin["versions"] | origin["peers"]).items())
    return (
        f"`{command}` measures every row anew. {origin['machine']}; commit\n"
        f"{origin['commit'][:9] or 'unknown'}; {versions}; {origin['time'][:10]}. {origin.get('note', '')}"
    ).rstrip()


if __name__ == "__main__":
    main()
