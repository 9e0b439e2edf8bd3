import math

import numpy as np
import pytest
from made import record

from optaxaccel.report import figures, tables
from optaxaccel.training.keeping import records


def test_lines_rank_by_accuracy_and_count_divergence_apart(tmp_path):
    record(tmp_path / "a1.jsonl", "a", [3.0, 1.0], accuracy=0.5, seed=1)
    record(tmp_path / "a2.jsonl", "a", [3.0, 2.0], accuracy=0.7, seed=2)
    record(tmp_path / "a3.jsonl", "a", [], status="diverged", seed=3)
    record(tmp_path / "a4.jsonl", "a", [], status="failed", seed=4)
    record(tmp_path / "b.jsonl", "b", [3.0, 0.5], accuracy=0.9)
    record(tmp_path / "t.jsonl", "a", [0.0], phase="tune", accuracy=1.0)
    b, a = tables.lines(records.read_all(tmp_path))
    assert (b.name, a.name) == ("b", "a")
    assert a.loss == pytest.approx((1.5, 0.5, 2))
    assert a.accuracy == pytest.approx((0.6, 0.1, 2))
    assert a.group.lost == {"diverged": 1, "failed": 1}
    assert b.accuracy.error is None
    assert a.calls == 3.0
    assert "2 (+1 diverged, 1 failed)" in tables.cells(a, 2)


def test_means_over_minibatches_stand_for_no_training_loss(tmp_path):
    """Who is ranked by training loss is ranked by the evaluated one, or by held-out loss if a run has none."""
    record(tmp_path / "a.jsonl", "a", [3.0, 1.0], trained=0.25)
    record(tmp_path / "b.jsonl", "b", [3.0, 0.5], trained=0.75)
    table = tables.contenders(records.read_all(tmp_path), "train loss")
    column = table.columns.index("train loss")
    assert [(row[1], row[column]) for row in table.rows] == [("a", "0.2500"), ("b", "0.7500")]
    assert "ranked by train loss" in table.title
    record(tmp_path / "b.jsonl", "b", [3.0, 0.5], trained=False)
    table = tables.contenders(records.read_all(tmp_path), "train loss")
    assert [(row[1], row[column]) for row in table.rows] == [("b", "-"), ("a", "0.2500")]
    assert "ranked by loss" in table.title
    record(tmp_path / "a.jsonl", "a", [3.0, 1.0], trained=False)
    table = tables.contenders(records.read_all(tmp_path), "train loss")
    assert "train loss" not in table.columns
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert "not evaluated" in table.note


def test_oracle_calls_are_the_mean_over_the_runs(tmp_path):
    """Seconds end runs at different steps, and searches are not as many with every seed."""
    for seed, steps in ((1, 1), (2, 4)):
        record(tmp_path / f"{seed}.jsonl", "a", [1.0] * steps, seed=seed)
    (line,) = tables.lines(records.read_all(tmp_path))
    assert line.calls == (1.5 + 6.0) / 2


def test_a_contender_that_always_diverges_stays_in_the_table(tmp_path):
    record(tmp_path / "a.jsonl", "a", [], status="diverged")
    (line,) = tables.lines(records.read_all(tmp_path))
    assert tables.cells(line, 1)[:3] == ["-", "a", "-"]
    assert math.isnan(line.loss.mean)


def test_curves_meet_on_one_grid_and_are_thinned(tmp_path):
    record(tmp_path / "a1.jsonl", "a", list(np.linspace(1, 0, 1000)), seed=1)
    record(tmp_path / "a2.jsonl", "a", list(np.linspace(3, 2, 1000)), seed=2)
    grid, values = figures.curves(records.read_all(tmp_path), "train", "loss", lambda row: row["step"])
    assert values.shape == (2, figures.DRAWN)
    np.testing.assert_allclose(values[1] - values[0], 2.0, rtol=1e-9)
    np.testing.assert_allclose(values[0], 1 - (grid - 1) / 999, atol=1e-9)


def test_axes_are_named_by_what_the_final_runs_were_measured_on(tmp_path, monkeypatch):
    """Tuning is judged on validation images; its rows do not name the axes of the final runs."""
    record(tmp_path / "1.jsonl", "a", [3.0, 2.0, 1.0], phase="tune", split="validation")
    record(tmp_path / "2.jsonl", "a", [3.0, 2.0, 1.0])
    labels = []
    monkeypatch.setattr(figures, "log_if_wide", lambda axis, *_: labels.append(axis.get_ylabel()), raising=True)
    figures.draw(records.read_all(tmp_path), tmp_path / "1.png")
    assert "test loss (nats)" in labels
    assert not any("validation" in label for label in labels)


def test_the_figure_is_drawn_and_is_the_same_twice(tmp_path):
    record(tmp_path / "a.jsonl", "a", [3.0, 1.0])
    record(tmp_path / "b.jsonl", "b", [3.0, 0.5])
    everything = records.read_all(tmp_path)
    first = figures.draw(everything, tmp_path / "1.png").read_bytes()
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert first == figures.draw(everything, tmp_path / "2.png").read_bytes()


def test_equal_calls_stand_beside_equal_steps(tmp_path):
    record(tmp_path / "a.jsonl", "a", [4.0, 3.0], accuracy=0.9)
    record(tmp_path / "b.jsonl", "b", [4.0, 3.0, 2.0, 1.0], accuracy=0.9)
    table = tables.contenders(records.read_all(tmp_path), "loss")
    assert table.columns[-1] == "loss at 3 calls"
    assert {row[1]: row[-1] for row in table.rows} == {"a": "3.0000", "b": "3.0000"}


def test_who_shares_no_seed_with_the_first_is_behind_by_nothing(tmp_path):
    for seed in (1, 2):
        record(tmp_path / f"a{seed}.jsonl", "a", [1.0, 0.5], seed=seed)
        record(tmp_path / f"b{seed}.jsonl", "b", [1.0, 0.75], seed=seed + 2)
    for by in ("accuracy", "loss"):
        table = tables.contenders(records.read_all(tmp_path), by)
        (place,) = (i for i, name in enumerate(table.columns) if "behind the first" in name)
        assert [row[place] for row in table.rows] == ["-", "-"]


@pytest.mark.parametrize(("members", "expected"), [(1, "0.2 ± 0.1"), (3, "0.2")])
def test_equal_shares_of_seconds_have_no_error(members, expected, tmp_path):
    for seed in (1, 2, 3):
        losses = [1.0] * (1 if members == 1 and seed < 3 else 2 if members > 1 else 4)
        record(tmp_path / f"{seed}.jsonl", "a", losses, seed=seed, members=members)
    table = tables.contenders(records.read_all(tmp_path))
    assert table.rows[0][table.columns.index("seconds")] == expected
