"""The self-tuning track: its scorer on made records, its tables from the published ones, and a few steps of it."""

import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "self_tuning"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(FOLDER))
    try:
        import contenders
        import score
        import track

        yield contenders, score, track
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("contenders", "score", "track"):
            sys.modules.pop(name, None)


def row(task, contender, phase, number, ends, cosine=False, steps=100, start=1.0):
    cells = [[[q, q], [w, w]] for q, w in ends]
    where = {"task": task, "contender": contender, "phase": phase, "number": number, "cosine": cosine, "steps": steps}
    return {**where, "seeds": list(range(len(ends))), "start": start, "found": cells, "cpu": 0.0}


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
    _, score, _ = modules
    assert score.tuned(made(), "a", "Adam", 1) == (1.0, False)
    assert score.calibrated(made(), "a", "Adam", 1) == (2.0, False)
    assert score.tuned(made(), "a", "new", 1) is None


def test_ratios_are_those_of_geometric_means_clipped(modules):
    _, score, _ = modules
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
    _, score, _ = modules
    assert score.attempts(made(), "Adam", "a", 1, 0.11) == pytest.approx(1.5)
    assert score.attempts(made(), "Adam", "a", 1, 0.45) == pytest.approx(1.0)
    assert score.attempts(made(), "Adam", "a", 1, 0.05) == float("inf")
    rows = [r for r in made() if r["task"] == "a"]
    assert score.price(rows, "new", 0.0).splitlines()[-1] == "| Adam | 1.5 | 0% | 2 |"


def test_a_profile_counts_cells_within_factors(modules):
    _, score, _ = modules
    lines = score.profile(made(), {"new": 0.0}).splitlines()
    assert lines[0] == "| contender | setting | r <= 1.05 | r <= 1.5 | r <= 2 | r <= 4 | cells |"
    assert lines[2] == "| new | default | 75% | 75% | 75% | 75% | 4 |"


def test_a_cosine_counts_at_the_end_of_its_own_budget_only(modules):
    _, score, _ = modules
    rows = [row("a", "Adam", "trial", 1.0, [(0.5, 0.3)])]
    rows += [row("a", "Adam", "trial", 1.0, [(9.0, e)], cosine=True, steps=s) for s, e in ((25, 0.4), (100, 0.2))]
    assert score.trials(rows, "a", "Adam", 0) == pytest.approx({(1.0, False): 0.5, (1.0, True): 0.4})
    assert score.trials(rows, "a", "Adam", 1) == pytest.approx({(1.0, False): 0.3, (1.0, True): 0.2})


def test_the_page_has_the_tables_of_the_records(modules):
    contenders, score, _ = modules
    rows = score.read(FOLDER / "records.jsonl")
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert score.tables(rows, contenders.DEFAULTS) in page
    assert score.profile(rows, contenders.DEFAULTS) in page
    assert score.price(rows, "tuning_free", 0.0) in page
    assert {row["task"] for row in rows} <= set(modules[2].TASKS)


def test_a_few_steps_and_none_twice(modules, tmp_path):
    contenders, _, track = modules
    task = track.tasks.make("rosenbrock", size="smoke", dimension=2, steps=8)
    run = track.program(task, contenders.CONTENDERS["tuning_free"])
    records = track.Records(tmp_path / "records.jsonl")
    setting = {"task": "rosenbrock", "contender": "tuning_free", "phase": "final", "number": 0.0, "cosine": False}
    for _ in range(2):
        records.add(run, {**setting, "steps": 8, "seeds": [0, 1]})
    (only,) = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert only["start"] == pytest.approx(24.2)
    assert only["found"][0][1][0] < only["start"]
    assert only["found"][0] == only["found"][1]  # everybody begins at the same point, and there is no noise


def test_the_line_of_the_demo_has_a_mean_and_its_error():
    sys.path.insert(0, str(FOLDER))
    try:
        import demo
    finally:
        sys.path.remove(str(FOLDER))
    assert "reaches 92.00 ± 1.00 % with" in demo.line([91.0, 93.0])
    assert "reaches 92.00 % with" in demo.line([92.0])
    assert demo.RUN.method_args == {}
