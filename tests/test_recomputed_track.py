"""The self-tuning track's published scores, computed once more from its records by arrays, without its own scorer."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "self_tuning"
LINE = re.compile(
    r"^\| (?P<label>[^|]+?) \| default \| (?P<score>[\d.e+]+) \| (?P<worst>[\d.e+]+) \| (?P<share>\d+)% \|"
)


def loaded():
    return [json.loads(line) for line in (FOLDER / "records.jsonl").read_text().splitlines()]


def ends(row, budget):
    """Geometric mean over seeds of the training excess at the end of a budget, within 1e-6 and 10 of the start."""
    place = 1 if row["cosine"] else budget
    values = np.array([np.nan if seed[place][0] is None else seed[place][0] for seed in row["ends"]], float)
    values = np.where(np.isfinite(values), values, np.inf)
    return float(np.exp(np.mean(np.log(np.clip(values, 1e-6 * row["start"], 10 * row["start"])))))


def of_budget(row, budget, whole):
    """Whether a run counts for a budget: a cosine only for the one that it was made for."""
    return not row["cosine"] or (row["steps"] == whole) == (budget == 1)


def ratios():
    """Return {contender: [ratio of its default to the better of tuned Adam and momentum, in each task and budget]}."""
    rows, table = loaded(), {}
    for task in {row["task"] for row in rows}:
        here = [row for row in rows if row["task"] == task and row["phase"] != "time"]
        trials, finals = ([row for row in here if row["phase"] == phase] for phase in ("trial", "final"))
        whole = {phase: max(row["steps"] for row in part) for phase, part in (("trial", trials), ("final", finals))}
        for budget in (0, 1):
            best = []
            for label in ("Adam", "momentum SGD"):
                tried = [r for r in trials if r["contender"] == label and of_budget(r, budget, whole["trial"])]
                chosen = min(tried, key=lambda r: (ends(r, budget), r["number"], r["cosine"]))
                same = [
                    r for r in finals if r["contender"] == label and of_budget(r, budget, whole["final"])
                    and (r["number"], r["cosine"]) == (chosen["number"], chosen["cosine"])
                ]  # fmt: skip
                best += [ends(r, budget) for r in same]
            for row in finals:
                if not row["cosine"]:
                    table.setdefault((row["contender"], row["number"]), {})[task, budget] = ends(row, budget) / min(
                        best
                    )
    return table


def published():
    """Return {contender: (score, worst, share)} of the first table."""
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    first = page.split("| contender | setting | training loss |")[1].split("\n\n")[0]
    lines = filter(None, map(LINE.match, first.splitlines()))
    return {m["label"]: tuple(float(m[name]) for name in ("score", "worst", "share")) for m in lines}


def test_every_score_of_a_default_follows_from_the_records():
    table, scores = ratios(), published()
    numbers = {"Adam": 1e-3, "momentum SGD": 0.1, "PAL": 0.1, "schedule-free AdamW": 0.0025, "MoMo-Adam": 0.01}
    numbers |= dict.fromkeys(("AdamW", "NAdamW", "Adam, averaged", "Mechanic around Adam", "INNAprop"), 1e-3)
    numbers |= {"momentum SGD, averaged": 0.1, "schedule-free SGD": 1.0}
    assert len(scores) >= 20
    for label, (score, worst, share) in scores.items():
        r = np.array(list(table[label, numbers.get(label, 0.0)].values()))
        assert score == pytest.approx(np.exp(np.mean(np.log(np.maximum(r, 1)))), rel=5e-3, abs=5e-3), label
        assert worst == pytest.approx(r.max(), rel=6e-3), label
        assert share == pytest.approx(100 * np.mean(r <= 1.05), abs=0.51), label
