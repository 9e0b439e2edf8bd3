import json

from made import record

from optaxaccel import cli


def test_a_folder_with_runs_of_images_and_of_a_task_shows_both(tmp_path, capsys):
    record(tmp_path / "image.jsonl", "of images", [3.0, 1.0])
    path = tmp_path / "task.jsonl"
    record(path, "of a task", [3.0, 1.0], task="rosenbrock")
    first, *rest = path.read_text().splitlines()
    score = {"score": {"metric": "loss", "higher_is_better": False}}
    path.write_text("\n".join([json.dumps({**json.loads(first), **score}), *rest]) + "\n")
    assert cli.run(["report", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "rosenbrock: loss" in said
    assert "mlp on digits" in said
    assert {file.name for file in tmp_path.glob("*.png")} == {"figure.png", "figure-tasks.png"}


def test_a_run_of_images_that_changed_counts_once(tmp_path, capsys):
    """Its specification is the same, so that both cannot be averaged."""
    for name, data_hash in (("one", "0" * 12), ("two", "1" * 12)):
        path = tmp_path / f"{name}.jsonl"
        record(path, "of images", [3.0, 1.0])
        first, *rest = path.read_text().splitlines()
        path.write_text("\n".join([json.dumps({**json.loads(first), "data_hash": data_hash}), *rest]) + "\n")
    assert cli.run(["report", str(tmp_path)]) == 0
    assert "Left out, since the same run has another record" in capsys.readouterr().out
