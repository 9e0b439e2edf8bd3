"""The self-tuning track: its scorer on made records, its tables from the published ones, and a few steps of it."""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "self_tuning"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(FOLDER))
    try:
        import clock
        import contenders
        import score
        import track
        import track_tasks

        yield SimpleNamespace(clock=clock, contenders=contenders, track_tasks=track_tasks, score=score, track=track)
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("clock", "contenders", "track_tasks", "score", "track"):
            sys.modules.pop(name, None)


def row(task, contender, phase, number, ends, cosine=False, steps=100, start=1.0):
    cells = [[[q, q], [w, w]] for q, w in ends]
    where = {"task": task, "contender": contender, "phase": phase, "number": number, "cosine": cosine, "steps": steps}
    return {**where, "seeds": list(range(len(ends))), "start": start, "ends": cells, "cpu": 0.0}


def made():
    """Two tasks, one reference with rates 1 and 2, and a contender without a setting."""
    rows = []
    for task, best in (("a", 1.0), ("b", 2.0)):
        for number in (1.0, 2.0):
            end = 0.1 if number == best else 0.4
            rows.append(row(task, "Adam", "trial", number, [(0.5, end)]))
            rows.append(row(task, "Adam", "final", number, [(0.5, end), (0.5, 4 * end)]))
    rows.append(row("a", "new", "final", 0.0, [(0.5, 0.1), (0.5, 0.4)]))
    rows.append(row("b", "new", "final", 0.0, [(0.25, float("nan")), (0.25, 10.0)]))
    return rows


def test_settings_are_tuned_on_the_task_and_calibrated_on_the_others(modules):
    score = modules.score
    assert score.tuned(made(), "a", "Adam", 1) == (1.0, False)
    assert score.calibrated(made(), "a", "Adam", 1) == (2.0, False)
    assert score.tuned(made(), "a", "new", 1) is None


def test_ratios_are_those_of_geometric_means_clipped(modules):
    score = modules.score
    cells = score.cells(made(), {"Adam": 1.0, "new": 0.0})
    new = cells["new", "default"]
    assert new["a", "whole"] == pytest.approx(1.0)
    assert new["a", "quarter"] == pytest.approx(1.0)
    assert new["b", "whole"] == pytest.approx(10.0 / 0.2)  # what is not finite has ten times the initial excess
    assert cells["Adam", "calibrated"]["a", "whole"] == pytest.approx(4.0)
    assert cells["Adam", "tuned"]["b", "whole"] == pytest.approx(1.0)
    gm, worst, share = score.summary([0.5, 1.04, 4.0])
    assert gm == pytest.approx((1.04 * 4.0) ** (1 / 3))
    assert (worst, share) == (4.0, pytest.approx(2 / 3))


def test_the_price_of_tuning_is_the_mean_number_of_random_trials(modules):
    """With one good setting of two the first or the second trial finds it, 1.5 on average."""
    score = modules.score
    assert score.attempts(made(), "Adam", "a", 1, 0.11) == pytest.approx(1.5)
    assert score.attempts(made(), "Adam", "a", 1, 0.45) == pytest.approx(1.0)
    assert score.attempts(made(), "Adam", "a", 1, 0.05) == float("inf")
    rows = [r for r in made() if r["task"] == "a"]
    assert score.price(rows, "new", 0.0).splitlines()[-1] == "| Adam | 1.5 | 0% | 2 |"


def test_a_profile_counts_cells_within_factors(modules):
    score = modules.score
    lines = score.profile(made(), {"new": 0.0}).splitlines()
    assert lines[0] == "| contender | setting | r <= 1.05 | r <= 1.5 | r <= 2 | r <= 4 | cells |"
    assert lines[2] == "| new | default | 75% | 75% | 75% | 75% | 4 |"


def test_a_cosine_counts_at_the_end_of_its_own_budget_only(modules):
    score = modules.score
    rows = [row("a", "Adam", "trial", 1.0, [(0.5, 0.3)])]
    rows += [row("a", "Adam", "trial", 1.0, [(9.0, e)], cosine=True, steps=s) for s, e in ((25, 0.4), (100, 0.2))]
    assert score.trials(rows, "a", "Adam", 0) == pytest.approx({(1.0, False): 0.5, (1.0, True): 0.4})
    assert score.trials(rows, "a", "Adam", 1) == pytest.approx({(1.0, False): 0.3, (1.0, True): 0.2})


def wrong(contender, number, ends):
    made = row("a", contender, "error", number, [])
    return {**made, "seeds": list(range(len(ends))), "ends": ends}


def test_held_out_errors_are_means_over_seeds_and_against_the_reference_tuned_on_the_loss(modules):
    score = modules.score
    rows = [r for r in made() if r["task"] == "a"]
    rows += [wrong("Adam", 1.0, [[0.4, 0.1], [0.2, 0.3]]), wrong("Adam", 2.0, [[0.1, 0.1], [0.1, 0.1]])]
    rows += [wrong("new", 0.0, [[0.6, 0.0], [0.0, 0.0]])]
    assert score.errors(rows, "a", 0) == pytest.approx({("Adam", 1.0, False): 0.3, ("Adam", 2.0, False): 0.1,
        ("new", 0.0, False): 0.3})  # fmt: skip
    assert score.errors(rows, "a", 1)["new", 0.0, False] == score.LEAST
    cells = score.cells(rows, {"Adam": 1.0, "new": 0.0}, score.ERRORS)
    assert cells["new", "default"] == pytest.approx({("a", "quarter"): 1.0, ("a", "whole"): 0.005})
    assert score.error_table(rows, {"Adam": 1.0, "new": 0.0}).splitlines()[2:] == [
        "| Adam | default | 1.00 | 1 | 100% | 2 |",
        "| Adam | tuned | 1.00 | 1 | 100% | 2 |",
        "| new | default | 1.00 | 1 | 100% | 2 |",
    ]


def test_who_did_not_run_on_all_is_not_compared(modules):
    rows = [r for r in made() if r["task"] in ("a", "b")]
    rows += [wrong(name, number, [[0.2] * 2] * 2) for name, number in (("Adam", 1.0), ("Adam", 2.0), ("new", 0.0))]
    rows += [wrong("Adam", number, [[0.1, 0.1], [0.1, 0.1]]) | {"task": "b"} for number in (1.0, 2.0)]
    lines = modules.score.error_table(rows, {"Adam": 1.0, "new": 0.0}).splitlines()[2:]
    settings = ("default", "calibrated", "tuned")
    assert lines == [f"| Adam | {setting} | 1.00 | 1 | 100% | 4 |" for setting in settings]


def test_the_share_of_wrong_examples_is_measured_on_the_test_data(modules, tmp_path):
    task = modules.track.tasks.make("images", size="smoke", model="mlp", batch_size=32, steps=64)
    run = modules.track.program(task, modules.contenders.CONTENDERS["Adam"])
    at = run(0.01, False, 64, 0)
    assert at.shape == (modules.score.POINTS + 1, 3)
    shares = np.asarray(at[:, 2]) * len(task.test["label"])
    np.testing.assert_allclose(shares, np.round(shares), atol=1e-3)
    assert at[-1, 2] < 0.5 < at[0, 2]
    records = modules.track.Records(tmp_path / "records.jsonl")
    about = {"task": "images", "contender": "Adam", "phase": "error", "number": 0.01, "cosine": False, "steps": 64}
    records.add(run, {**about, "seeds": [0]})
    (line,) = modules.score.read(tmp_path / "records.jsonl")
    assert line["ends"] == [pytest.approx([float(at[8, 2]), float(at[32, 2])], rel=1e-3)]


def halved(times_in_a_run):
    """A curve that falls by halves, evenly on a logarithmic scale."""
    return [0.5 ** (times_in_a_run * k / 32) for k in range(33)]


def clocked():
    """Adam halves its excess four times and a step takes 2 us; the new one eight times, and a step takes 6 us."""
    rows = [row("a", "Adam", "trial", 1.0, [(0.5, 1 / 16)])]
    for label, number, halves, microseconds in (("Adam", 1.0, 4, 2.0), ("new", 0.0, 8, 6.0), ("slow", 0.0, 0.5, 1.0)):
        end = row("a", label, "final", number, [(0.5 ** (halves / 4), 0.5**halves)])
        time = {"phase": "time", "microseconds": microseconds}
        rows += [{**end, "curve": halved(halves)}, {**end, **time}]
    return rows


def test_at_equal_seconds_a_dearer_step_has_fewer_of_them(modules):
    """A third of the steps leave the new one at 2^(-8/3) where Adam has 2^-4; a cheap one gains up to its own end."""
    ratios = modules.clock.equal_seconds(clocked(), {"Adam": 1.0, "new": 0.0, "slow": 0.0})
    assert ratios["Adam"] == pytest.approx({("a", "quarter"): 1.0, ("a", "whole"): 1.0})
    assert ratios["new"] == pytest.approx({("a", "quarter"): 2 ** (1 - 8 / 12), ("a", "whole"): 2 ** (4 - 8 / 3)})
    assert ratios["slow"] == pytest.approx({("a", "quarter"): 2 ** (1 - 1 / 4), ("a", "whole"): 2 ** (4 - 1 / 2)})


def test_time_to_target_is_told_in_the_reference_s_own(modules):
    """1.05 times a half: half of the steps of Adam, 3/2 of its seconds; the slow one never gets there."""
    clock, defaults = modules.clock, {"Adam": 1.0, "new": 0.0, "slow": 0.0}
    times = clock.times_to_target(clocked(), defaults)
    part = -math.log2(1.05 / 2)
    assert times["Adam"]["a"] == pytest.approx((part, part))
    assert times["new"]["a"] == pytest.approx((part / 2, 3 * part / 2))
    assert times["slow"]["a"] == (math.inf, math.inf)
    assert clock.target_table(clocked(), defaults).splitlines()[2:] == [
        "| new | 100% | 100% | 100% | 100% | 0% | 0% | 100% | 100% | 1 |",
        "| Adam | 0% | 100% | 100% | 100% | 0% | 100% | 100% | 100% | 1 |",
        "| slow | 0% | 0% | 0% | 0% | 0% | 0% | 0% | 0% | 1 |",
    ]
    assert clock.over(clocked(), "new") == "3.00 (3.00 to 3.00)"


def test_the_page_has_the_tables_of_the_records(modules):
    score, clock, defaults = modules.score, modules.clock, modules.contenders.DEFAULTS
    rows = score.read(FOLDER / "records.jsonl")
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for names in (modules.track_tasks.TASKS, modules.track_tasks.FIRST, modules.track_tasks.SECOND):
        assert score.scores(rows, defaults, names) in page
    for table in (score.each(rows, defaults), score.profile(rows, defaults), score.price(rows, "tuning_free", 0.0)):
        assert table in page
    assert score.error_table(rows, defaults) in page
    assert clock.seconds_table(rows, defaults) in page
    assert clock.target_table(rows, defaults) in page
    assert {row["task"] for row in rows} <= set(modules.track_tasks.TASKS)


def test_a_few_steps_and_none_twice(modules, tmp_path):
    task = modules.track.tasks.make("rosenbrock", size="smoke", dimension=2, steps=64)
    run = modules.track.program(task, modules.contenders.CONTENDERS["tuning_free"])
    records = modules.track.Records(tmp_path / "records.jsonl")
    setting = {"task": "rosenbrock", "contender": "tuning_free", "phase": "final", "number": 0.0, "cosine": False}
    for _ in range(2):
        records.add(run, {**setting, "steps": 64, "seeds": [0, 1]})
        records.times({"tuning_free": run}, "rosenbrock", 16)
    only, timed = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert only["start"] == only["curve"][0] == pytest.approx(24.2)
    assert only["ends"][0][1][0] < only["start"]
    assert only["ends"][0] == only["ends"][1]  # everybody begins at the same point, and there is no noise
    assert only["curve"][8::24] == pytest.approx([pair[0] for pair in only["ends"][0]], rel=1e-3)
    assert timed["microseconds"] > 0


def test_a_shorter_run_is_the_beginning_of_a_longer_one(modules):
    """Where no schedule knows the length; batches and their order are those of the step."""
    task = modules.track_tasks.make("images, wrong labels")
    run = modules.track.program(task, modules.contenders.CONTENDERS["Adam"])
    long, short = (np.asarray(run(0.01, False, steps, 3)) for steps in (64, 32))
    np.testing.assert_allclose(long[:17], short[::2], rtol=1e-6)  # step 2 k of 64 stands in row k, of 32 in row 2 k
    assert (long[0] > 2 * long[-1]).all()


def test_wrong_labels_are_a_fifth_of_nine_in_ten_and_the_test_is_right(modules):
    from optaxaccel import data

    digits, task = data.load("digits"), modules.track_tasks.make("images, wrong labels")
    wrong = (task.train["label"] != digits.train.label).mean()
    assert wrong == pytest.approx(0.2 * 0.9, abs=0.03)  # a tenth of those drawn anew are right by chance
    assert (task.test["label"] == digits.test.label).all()


def test_the_line_of_the_demo_has_a_mean_and_its_error():
    sys.path.insert(0, str(FOLDER))
    try:
        import demo
    finally:
        sys.path.remove(str(FOLDER))
    assert "reaches 92.00 ± 1.00 % with" in demo.line([91.0, 93.0])
    assert "reaches 92.00 % with" in demo.line([92.0])
    assert demo.RUN.method_args == {}
