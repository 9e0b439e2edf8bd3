"""What is averaged and ranked together: runs of one setting on one problem, each once."""

import pytest
from made import record

from optaxaccel import cli
from optaxaccel.report import figures, grids, grouping, tables
from optaxaccel.training.keeping import records


@pytest.fixture
def mixed(tmp_path):
    """A folder as `train` leaves it: two rates, two networks on two sets, a copied record, labels all alike."""
    folder = tmp_path / "runs"
    for seed in (1, 2):
        record(folder / f"fast{seed}.jsonl", "sgd", [1.0, 0.2 * seed], accuracy=0.9, rate=0.1, seed=seed)
        record(folder / f"slow{seed}.jsonl", "sgd", [2.0, 1.0], accuracy=0.2, rate=1e-5, seed=seed)
        record(folder / f"cnn{seed}.jsonl", "sgd", [1.0, 0.5], accuracy=0.7, rate=0.1, seed=seed, model="cnn", data="x")
    record(folder / "later" / "fast1.jsonl", "sgd", [1.0, 9.0], accuracy=0.0, rate=0.1, seed=1)
    return folder


def test_settings_are_rows_and_problems_are_sections(mixed):
    everything = records.read_all(mixed)
    sections = grouping.problems(everything)
    assert list(sections) == ["cnn on x", "mlp on digits"]
    table = tables.contenders(sections["mlp on digits"])
    rows = [(row[1], row[2], row[7]) for row in table.rows]
    names = ("sgd (learning_rate=0.1)", "sgd (learning_rate=1e-05)")
    assert rows == [(names[0], "90.00 ± 0.00", "2"), (names[1], "20.00 ± 0.00", "2")]
    assert "same run has another record: " in table.note
    assert [row[1] for row in tables.contenders(sections["cnn on x"]).rows] == ["sgd"]
    with pytest.raises(ValueError, match="cnn on x and mlp on digits are not ranked together"):
        tables.contenders(everything)


def test_runs_of_other_lengths_and_batches_are_ranked_with_a_column_and_a_word(tmp_path):
    record(tmp_path / "long.jsonl", "a", [1.0, 0.1], accuracy=0.9, epochs=50, batch_size=32)
    record(tmp_path / "short.jsonl", "b", [1.0, 0.5], accuracy=0.8, epochs=2.5, batch_size=128, seed=2)
    table = tables.contenders(records.read_all(tmp_path))
    assert list(table.columns[-2:]) == ["epochs", "batch size"]
    assert [(row[1], *row[-2:]) for row in table.rows] == [("a", "50", "32"), ("b", "2.5", "128")]
    assert "not trained alike" in table.note
    record(tmp_path / "same" / "a.jsonl", "a", [1.0, 0.1], epochs=5, batch_size=32)
    record(tmp_path / "same" / "b.jsonl", "b", [1.0, 0.1], epochs=5, batch_size=32, seed=2)
    alike = tables.contenders(records.read_all(tmp_path / "same"))
    assert "batch size" not in alike.columns
    assert "alike" not in alike.note


def test_what_is_measured_on_other_images_has_a_section_of_its_own(tmp_path):
    for share in (0.0, 0.2):
        record(tmp_path / f"{share}.jsonl", "a", [1.0], accuracy=1 - share, validation=share)
    record(tmp_path / "tune.jsonl", "a", [1.0], phase="tune", validation=0.3)
    sections = grouping.problems(records.read_all(tmp_path))
    titles = ["mlp on digits, measured on test", "mlp on digits, measured on 0.2 of train"]
    assert list(sections) == titles
    assert [len(members) for members in sections.values()] == [2, 2]
    assert [tables.contenders(members).rows[0][2] for members in sections.values()] == ["100.00", "80.00"]


def test_the_command_makes_a_table_of_each(mixed, tmp_path, capsys):
    assert cli.run(["report", str(mixed), "--figure", str(tmp_path / "f.png")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "cnn on x, test images" in said
    assert "mlp on digits, test images" in said
    assert "Left out" in said
    assert (tmp_path / "f-1.png").exists()
    assert (tmp_path / "f-2.png").exists()


def test_what_differs_is_not_averaged(mixed):
    everything = records.read_all(mixed)
    fast, slow = (next(r for r in everything if r.path.name == name) for name in ("fast1.jsonl", "slow1.jsonl"))
    with pytest.raises(ValueError, match="differ in method_args are not averaged"):
        grouping.one_setting([fast, slow])
    with pytest.raises(ValueError, match="Two records of one run"):
        grouping.one_setting([fast, fast])


def test_a_grid_over_any_field_has_its_settings(tmp_path):
    for decay in (0.0, 3.0, 9.0):
        for seed in (1, 2):
            path = tmp_path / f"{decay}-{seed}.jsonl"
            record(path, "a", [1.0, 0.1 + decay], phase="grid", seed=seed, weight_decay=decay)
    (row,) = grids.grid(records.read_all(tmp_path), "train loss").rows
    assert row[1:3] == ["3", "0.1000 ± 0.0000"]
    assert row[8] == "2"


def test_of_two_records_of_a_run_the_finished_one_stands(tmp_path):
    record(tmp_path / "1.jsonl", "a", [1.0], status="unfinished")
    record(tmp_path / "2.jsonl", "a", [2.0])
    kept, said = grouping.once(records.read_all(tmp_path))
    assert [r.path.name for r in kept] == ["2.jsonl"]
    assert "1.jsonl" in said


def test_who_loses_runs_is_behind_who_does_not(tmp_path):
    for seed in range(1, 6):
        lucky = "done" if seed == 1 else "diverged"
        record(tmp_path / f"lucky{seed}.jsonl", "lucky", [0.1], accuracy=0.99, seed=seed, status=lucky)
        record(tmp_path / f"steady{seed}.jsonl", "steady", [0.5], accuracy=0.8, seed=seed)
        record(tmp_path / f"never{seed}.jsonl", "never", [], seed=seed, status="failed")
    rows = tables.contenders(records.read_all(tmp_path)).rows
    assert [(row[1], row[7]) for row in rows] == [
        ("steady", "5"),
        ("lucky", "1 (+4 diverged)"),
        ("never", "0 (+5 failed)"),
    ]


def test_the_best_at_an_end_of_its_grid_is_marked(tmp_path):
    for rate, accuracy in ((0.1, 0.5), (0.2, 0.6), (0.4, 0.9)):
        record(tmp_path / f"{rate}.jsonl", "a", [1.0], phase="tune", rate=rate, accuracy=accuracy)
    record(tmp_path / "final.jsonl", "a", [1.0], rate=0.4)
    record(tmp_path / "b.jsonl", "b", [1.0], rate=0.2)
    settings = {row[1]: row[8] for row in tables.contenders(records.read_all(tmp_path)).rows}
    assert settings == {"a": "learning_rate=0.4 (at an end of its grid: learning_rate)", "b": "learning_rate=0.2"}


def test_an_error_is_drawn_where_an_error_is_said(tmp_path):
    record(tmp_path / "a.jsonl", "a", [1.0, 1.0], accuracy=0.9)
    _, values = figures.curves(records.read_all(tmp_path), "eval", "error", lambda row: row["step"])
    assert values.tolist() == [[pytest.approx(0.1)] * 2]


def test_a_logarithmic_axis_needs_a_decade_and_no_zero():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for values, scale in (([1.0, 9.0], "linear"), ([1.0, 11.0], "log"), ([0.0, 11.0], "linear")):
        figure, axis = plt.subplots()
        axis.plot([1, 2], values)
        figures.log_if_wide(axis)
        assert axis.get_yscale() == scale
        plt.close(figure)
