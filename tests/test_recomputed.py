"""The numbers of the experiments' pages, computed a second time from the committed files by other code.

Nothing of `optaxaccel.report` is used here, on purpose: files are read as JSON, and means, standard errors, ranks and
orders are taken from their textbook formulas. What a page says has to be what comes out, as it is written there.
"""

import json
import math
import re
import statistics

import pytest
from read_again import EXPERIMENTS, FILES, Runs, block, grid_of, last, shown, tables


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_the_table_of_contenders(path):
    runs = Runs(path)
    finals = {}
    for label, _, line, calls, _ in runs.of_phase("final") if runs.kind == "runs" else ():
        finals.setdefault(label, []).append((line, calls))
    if not finals:
        return
    text = block(path, path.stem)
    table = next(rows for rows in tables(text) if "accuracy %" in rows[0])
    assert {row["method"] for row in table} == set(finals)
    keys = []
    for row in table:
        lines = finals[row["method"]]
        done = [line for line, _ in lines if line["end"]["status"] == "done"]
        assert row["accuracy %"] == shown([last(line, "eval", "accuracy") for line in done], 2, 100)
        assert row["loss"] == shown([last(line, "eval", "loss") for line in done], 4)
        trained = [last(line, "train_eval", "loss") for line in done if "train_eval" in line]
        assert row.get("train loss", "-") == (shown(trained, 4) if trained else "-")
        each = [calls * max(last(line, k, "step") for k in ("train", "eval")) for line, calls in lines if line in done]
        assert float(row["oracle calls"].replace(",", "")) == pytest.approx(sum(each) / len(each), abs=0.51)
        lost = len(lines) - len(done)
        assert row["n"].startswith(str(len(done)))
        assert ("+" in row["n"]) == bool(lost)
        by = re.search(r"ranked by ([a-z ]+)", text)
        columns = {"train loss": ("train_eval", "loss", 1), "loss": ("eval", "loss", 1)}
        where, column, sign = columns.get(by[1] if by else "", ("eval", "accuracy", -1))
        values = [sign * last(line, where, column) for line in done]
        keys.append((lost / len(lines), round(sum(values) / len(values), 9)))
    assert keys == sorted(keys)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_the_table_of_a_grid(path):
    settings, outcome = grid_of(path)
    if not settings:
        return
    (table, *_) = tables(block(path, path.stem))

    for row in table:
        by_setting = settings[row["method"]]
        assert row["settings"] == str(len(by_setting))
        values = [[outcome(line) for line in lines] for lines in by_setting.values()]
        best = min(values, key=sum)
        assert row["best"] == shown(best, 4)
        failed = sum(math.isinf(value) for seeds in values for value in seeds)
        assert row["failed runs"] == f"{failed} of {sum(map(len, values))}"


def test_the_ranks_over_problems():
    """Ties share ranks, and the error of a mean rank is that over problems."""
    path = EXPERIMENTS / "arena" / "results" / "all_digits-small.jsonl"
    (table, *_) = tables(block(path, "across"))
    names = [name for name in table[0] if name.startswith("all_")]
    row_of = {label: row["method"] for row in table for label in row["method"].split(", ")}
    ranks = {row["method"]: [] for row in table}
    for name in names:
        runs = Runs(path.with_name(f"{name}-small.jsonl"))
        convex = "softmax" in name
        seeds = {}
        for label, seed, line, _, _ in runs.of_phase("final"):
            kind = "train_eval" if convex else "eval"
            value = last(line, kind, "loss") if convex else -last(line, "eval", "accuracy")
            worse = line["end"]["status"] != "done"
            seeds.setdefault(seed, {})[row_of[label]] = math.inf if worse else value
        per_row = {}
        for outcomes in seeds.values():
            for label, value in outcomes.items():
                below = sum(other < value for other in outcomes.values())
                ties = sum(other == value for other in outcomes.values())
                per_row.setdefault(label, []).append(below + (1 + ties) / 2)
        for row in table:
            if row["method"] in per_row:
                assert row[name] == shown(per_row[row["method"]], 1), (row["method"], name)
                ranks[row["method"]].append(statistics.fmean(per_row[row["method"]]))
    for row in table:
        if len(ranks[row["method"]]) == len(names):
            assert row["mean rank"] == shown(ranks[row["method"]], 1), row["method"]


def test_what_not_tuning_costs():
    """One setting from the other problems, scored by another seed than the one that chose."""
    path = EXPERIMENTS / "arena" / "results" / "all_digits-small.jsonl"
    text = block(path, "across")
    table = next(rows for rows in tables(text) if "tuned for each" in rows[0])
    names = re.search(r"Geometric means over ([\w, ]+);", text)[1].split(", ")
    chosen, scored = {}, {}
    for name in names:
        runs = Runs(path.with_name(f"{name}-small.jsonl"))
        for phase, into in (("tune", chosen), ("score", scored)):
            tried = {}
            for label, _, line, calls, args in runs.of_phase(phase):
                tried.setdefault(label, []).append((args, _value(name, line, calls)))
            worst = max(v for values in tried.values() for _, v in values if v < math.inf)
            into[name] = {label: _by_value(values) for label, values in tried.items()}, worst
    worst = {name: max(chosen[name][1], scored[name][1], _worst_default(path, name)) for name in names}
    place = {
        phase: {
            name: {
                label: {tried: min(worst[name], v) for tried, v in values.items()}
                for label, values in by_label[name][0].items()
            }
            for name in names
        }
        for phase, by_label in (("tune", chosen), ("score", scored))
    }
    labels = [row["method"] for row in table]
    tuned = {n: {m: place["score"][n][m][_least(place["tune"][n][m])] for m in labels} for n in names}
    best = {n: min(tuned[n].values()) for n in names}
    for row in table:
        own = [tuned[n][row["method"]] / best[n] for n in names]
        one = []
        for name in names:
            others = [place["tune"][other][row["method"]] for other in names if other != name]
            everywhere = set.intersection(*(set(place["tune"][n][row["method"]]) for n in names))
            sums = {tried: sum(math.log(settings[tried]) for settings in others) for tried in everywhere}
            one.append(place["score"][name][row["method"]][_least(sums)] / best[name])
        assert row["tuned for each"] == _geometric(own), row["method"]
        assert row["one setting, from the other problems"] == _geometric(one), row["method"]


def _by_value(tried):
    """Return the outcome at each value of the one hyperparameter that was varied."""
    names = {name for args, _ in tried for name in args}
    (name,) = (n for n in names if len({json.dumps(args.get(n)) for args, _ in tried}) > 1)
    return {args[name]: value for args, value in tried}


def _value(name, line, calls):
    if line["end"]["status"] != "done":
        return math.inf
    if "calls_to" in line["end"]:
        (reached,) = line["end"]["calls_to"].values()
        return reached or calls * max(line[kind]["step"][-1] for kind in ("train", "eval"))
    if "softmax" in name:
        return last(line, "train_eval", "loss")
    return 1.0 - last(line, "eval", "accuracy")


def _worst_default(path, name):
    runs = Runs(path.with_name(f"{name}-small.jsonl")).of_phase("default")
    return max((v for _, _, line, calls, _ in runs if (v := _value(name, line, calls)) < math.inf), default=0.0)


def _least(settings):
    """Return the best value of the hyperparameter, the smallest of equals."""
    return min(settings, key=lambda tried: (settings[tried], tried))


def _geometric(factors):
    logs = [math.log(factor) for factor in factors]
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return f"{math.exp(statistics.fmean(logs)):.2f} */ {math.exp(error):.2f}"
