"""Published files and the pages' tables, read without anything of `optaxaccel.report`, on purpose."""

import json
import math
import re
import statistics
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
FILES = sorted(path for path in EXPERIMENTS.glob("*/results/*-small.jsonl") if "first-steps" not in path.name)


class Runs:
    """A file of results, line by line."""

    def __init__(self, path):
        self.header, *self.lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        self.kind = self.header["kind"]

    def setting(self, line):
        """Return all that a run was asked for but its seed, as text."""
        own = self.header["settings"][line["setting"]]["start"].get("spec", {})
        spec = {**self.header["start"]["spec"], **own}
        return json.dumps({name: value for name, value in spec.items() if name != "seed"}, sort_keys=True)

    def of_phase(self, phase):
        """Yield (label, seed, line, calls a step, method_args) of the runs of a phase."""
        for line in self.lines:
            setting = self.header["settings"][line["setting"]]
            start = {**self.header["start"], **setting["start"]}
            spec = {**self.header["start"]["spec"], **setting["start"].get("spec", {})}
            if start["phase"] == phase:
                yield start["label"], line["seed"], line, sum(setting["calls"]), spec["method_args"]


def last(line, kind, column):
    return line[kind][column][-1] if kind in line else None


def shown(values, digits, scale=1.0):
    """Write mean and standard error as the pages do."""
    mean = scale * statistics.fmean(values)
    error = scale * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    if 0 < abs(mean) < (10**-digits if digits < 3 else 10 ** (1 - digits)):
        return f"{mean:.1e}" + ("" if error is None else f" ± {error:.0e}")
    return f"{mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def block(path, name):
    text = (path.parents[1] / "README.md").read_text(encoding="utf-8")
    return re.search(rf"<!-- begin {re.escape(name)} -->\n(.*?)<!-- end", text, re.DOTALL)[1]


def tables(text):
    """Yield tables as lists of rows by heading."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if line.startswith("| ---"):
            head = [cell.strip() for cell in lines[at - 1].strip("|").split("|")]
            rows = []
            for row in lines[at + 1 :]:
                if not row.startswith("|"):
                    break
                cells = re.split(r"(?<!\\)\|", row.strip("|"))
                rows.append(dict(zip(head, (cell.strip().replace("\\|", "|") for cell in cells), strict=True)))
            yield rows


def grid_of(path):
    """Return the lines of every setting by label, and what a line came to, smaller is better; none if it is no grid."""
    runs, settings = Runs(path), {}
    for label, _, line, _, _ in runs.of_phase("grid") if runs.kind == "runs" else ():
        settings.setdefault(label, {}).setdefault(runs.setting(line), []).append(line)
    kinds = {"error": "eval", "train loss": "train_eval", "held-out loss": "eval"}
    said = re.search(r": ([a-z -]+) of every setting", block(path, path.stem))[1] if settings else ""

    def outcome(line):
        if line["end"]["status"] != "done":
            return math.inf
        if said == "error":
            return 1.0 - last(line, "eval", "accuracy")
        return last(line, kinds[said], "loss")

    return settings, outcome
