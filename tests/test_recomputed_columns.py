"""The other columns and tables of the experiments' pages, computed a second time from the committed files.

As in `test_recomputed`, nothing of `optaxaccel.report` is used.
"""

import json
import math
import re
import statistics
from itertools import pairwise

import pytest
from read_again import EXPERIMENTS, FILES, Runs, block, grid_of, last, shown, tables

PAPER = sorted(EXPERIMENTS.glob("*/results/*-paper-first-steps.jsonl"))
by_file = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")


def finals_of(runs):
    """Return (label -> [(seed, line, oracle calls a step)]) of the final runs."""
    finals = {}
    for label, seed, line, calls, _ in runs.of_phase("final") if runs.kind == "runs" else ():
        finals.setdefault(label, []).append((seed, line, calls))
    return finals


def members_of(runs, line):
    """Return how many runs were trained at once with this one."""
    return {**runs.header["start"], **runs.header["settings"][line["setting"]]["start"]}.get("members", 1)


def done(lines):
    return [(seed, line, calls) for seed, line, calls in lines if line["end"]["status"] == "done"]


@by_file
def test_seconds_lowest_errors_and_what_is_paired(path):
    runs = Runs(path)
    finals = finals_of(runs)
    if not finals:
        return
    text = block(path, path.stem)
    table = next(rows for rows in tables(text) if "accuracy %" in rows[0])
    ranked = re.search(r"ranked by ([a-z ]+)", text)
    by = ranked[1] if ranked else "accuracy"

    def value(line):
        if by == "accuracy":
            return 1.0 - last(line, "eval", "accuracy")
        return last(line, "train_eval" if by == "train loss" else "eval", "loss")

    first = {seed: value(line) for seed, line, _ in done(finals[table[0]["method"]])}
    for row in table:
        lines = done(finals[row["method"]])
        seconds = [last(line, "eval", "seconds") for _, line, _ in lines]
        together = any(members_of(runs, line) > 1 for _, line, _ in lines)  # equal shares, which have no error
        assert row["seconds"] == shown([statistics.fmean(seconds)] if together and seconds else seconds, 1)
        if "lowest error %" in row:
            plain = [1.0 - max(line["eval"]["accuracy"]) for _, line, _ in lines]
            assert row["lowest error %"] == shown(plain, 2, 100)
            beside = [1.0 - max(line["extrapolation"]["accuracy"]) for _, line, _ in lines if "extrapolation" in line]
            assert row["extrapolated"] == (shown(beside, 2, 100) if beside else "-")
        behind = row.get(f"{by} behind the first, paired by seed")
        if behind is not None and row is not table[0]:
            differences = [value(line) - first[seed] for seed, line, _ in lines if seed in first]
            text = shown(differences, 2, 100) + " %" if by == "accuracy" else shown(differences, 4)
            assert behind == text
    _check_equal_calls(table, finals, by)


def _check_equal_calls(table, finals, by):
    """What each method had come to, by its last evaluation, when the cheapest one ended."""

    def steps(line):
        return max(last(line, kind, "step") for kind in ("train", "eval") if kind in line)

    (column,) = [name for name in table[0] if re.fullmatch(rf"{by} at [\d,]+ calls", name)] or [None]
    ends = {
        label: [calls * last(line, "eval", "step") for _, line, calls in done(lines)]
        for label, lines in finals.items()
        if done(lines)
    }
    means = [statistics.fmean(each) for each in ends.values()]
    assert (column is not None) == (max(means) > 1.001 * min(means))
    if column is None:
        return
    fewest = min(means)
    assert column == f"{by} at {fewest:,.0f} calls"
    for row in table:
        reached = []
        for _, line, calls in done(finals[row["method"]]):
            kind = "train_eval" if by == "train loss" else "eval"
            paid = [k for k, step in enumerate(line[kind]["step"]) if step * calls <= 1.001001 * fewest]
            if paid:
                reached.append(line[kind]["accuracy" if by == "accuracy" else "loss"][paid[-1]])
        want = "-" if not reached else shown(reached, 2, 100) if by == "accuracy" else shown(reached, 4)
        assert row[column] == want, row["method"]


@by_file
def test_the_table_of_training_times(path):
    finals = finals_of(Runs(path))
    timed = [rows for rows in tables(block(path, path.stem)) if "seconds an epoch" in rows[0]]
    if not timed:
        return
    (table,) = timed
    runs = Runs(path)
    per_epoch = {}
    for label, lines in finals.items():
        for seed, line, _ in done(lines):
            setting = {**runs.header["start"], **runs.header["settings"][line["setting"]]["start"]}
            epochs = round(last(line, "eval", "step") / setting["steps_per_epoch"], 6)
            per_epoch.setdefault(label, {})[seed] = (epochs, last(line, "eval", "seconds") / epochs)
    (over,) = [name for name in table[0] if name.startswith("over ")]
    base = per_epoch[over.removeprefix("over ")]
    for row in table:
        measured = per_epoch[row["method"]]
        assert row["epochs"] == shown([epochs for epochs, _ in measured.values()], 2)
        assert row["seconds an epoch"] == shown([seconds for _, seconds in measured.values()], 3)
        ratios = [seconds / base[seed][1] for seed, (_, seconds) in measured.items() if seed in base]
        assert row[over] == shown(ratios, 2)


@by_file
def test_the_distribution_over_a_grid(path):
    settings, outcome = grid_of(path)
    if not settings:
        return
    (table, *_) = tables(block(path, path.stem))

    def mean(lines):
        return sum(map(outcome, lines)) / len(lines)

    everything = sorted(mean(lines) for by_setting in settings.values() for lines in by_setting.values())
    for row in table:
        values = sorted(mean(lines) for lines in settings[row["method"]].values())
        low, middle, high = (values[min(len(values) - 1, len(values) * k // 4)] for k in (1, 2, 3))
        quarter = values[: math.ceil(len(values) / 4)]
        assert row["median"] == _written(middle)
        assert row["quartiles"] == f"{_written(low)} to {_written(high)}"
        assert row["best quarter"] == _written(statistics.median(quarter))
        assert row["rank"] == str(1 + sum(value < values[0] for value in everything))
        best = min(settings[row["method"]].values(), key=mean)
        logs = [line["end"]["mean_log_loss"] for line in best]
        assert row["mean log10 loss"] == shown(logs, 2)


def _written(value):
    if math.isinf(value):
        return "diverged"
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"


@by_file
def test_the_table_of_a_study(path):
    """What stands there was measured, and "yes" only where it lies in the range that the row itself gives."""
    runs = Runs(path)
    if runs.kind != "study":
        return
    (table, *_) = tables(block(path, path.stem))
    measured = runs.lines[-1]["values"]
    assert [row["quantity"] for row in table] == list(measured)
    for row in table:
        value = measured[row["quantity"]]
        assert row["measured"] == ("-" if value is None else f"{value:.6g}")
        assert (row["as expected"] == "-") == (row["expected"] == "-")
        if row["expected"] != "-":
            low, high = _range(row["expected"])
            inside = value is not None and low - 1e-5 * abs(low) <= value <= high + 1e-5 * abs(high)
            assert row["as expected"] == ("yes" if inside else "NO"), row


def _range(text):
    if text.startswith("at least "):
        return float(text.removeprefix("at least ")), math.inf
    if text.startswith("at most "):
        return -math.inf, float(text.removeprefix("at most "))
    if " to " in text:
        low, high = map(float, text.split(" to "))
        return low, high
    middle, _, half = text.partition(" ± ")
    wide = 1.05 * float(half or 0)  # it is written with two digits
    return float(middle) - wide, float(middle) + wide


def test_the_overview_gives_numbers_of_the_tables():
    """A number of the overview is one of the first row of its experiment's table."""
    text = (EXPERIMENTS / "README.md").read_text(encoding="utf-8")
    (overview,) = [rows for rows in tables(text) if "one number" in rows[0]]
    seen = 0
    for row in overview:
        name = re.match(r"\[([^\]]+)\]", row["experiment"])[1]
        folder, _, stem = name.partition("/")
        path = EXPERIMENTS / folder / "results" / f"{stem}-{row['scale']}.jsonl"
        if not path.exists():
            continue
        first = next(tables(block(path, path.stem)))
        number = row["one number"]
        if "as expected" in number:
            kept, _, many = number.split()[0], "of", number.split()[2]
            judged = [each["as expected"] for each in first if each["as expected"] != "-"]
            assert int(kept) == judged.count("yes"), name
            assert int(many) >= len(judged), name
        elif not number.endswith("measured"):
            label, _, statement = number.partition(": ")
            cells = {cell for row in first if row["method"] == label for cell in row.values()}
            for figure in re.findall(r"\d[\d.e+-]*(?: ± [\d.e+-]+)?", statement):
                assert figure in cells, (name, figure)
            seen += 1
    assert seen > 10


def test_the_table_of_first_steps():
    text = (EXPERIMENTS / "README.md").read_text(encoding="utf-8")
    (table,) = [rows for rows in tables(text) if "a step (s)" in rows[0]]
    assert len(table) == len(PAPER)
    row_of = {row["experiment"]: row for row in table}
    for path in PAPER:
        header, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        row = row_of[f"{path.parents[1].name}/{path.name.removesuffix('-paper-first-steps.jsonl')}"]
        assert row["contenders"] == str(len(lines))
        for column, key, unit, form in (
            ("compiling (s)", "compile_seconds", 1, ".0f"),
            ("a step (s)", "step_seconds", 1, ".2g"),
            ("memory (GiB)", "peak_bytes", 2**30, ".1f"),
        ):
            low, high = (format(pick(line[key] / unit for line in lines), form) for pick in (min, max))
            assert row[column] == (low if low == high else f"{low} to {high}")
        assert row["batch"] == str(header["start"]["spec"]["batch_size"])


def test_defaults_and_the_worst_problem_of_not_tuning():
    """The order is that of the one setting; its worst problem is no better than its mean."""
    path = EXPERIMENTS / "arena" / "results" / "all_digits-small.jsonl"
    table = next(rows for rows in tables(block(path, "across")) if "tuned for each" in rows[0])
    means = [float(row["one setting, from the other problems"].split()[0]) for row in table]
    assert all(a <= b for a, b in pairwise(means))
    assert all(float(row["worst problem"].split()[0]) >= mean for row, mean in zip(table, means, strict=True))
