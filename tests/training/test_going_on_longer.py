"""A run of one epoch that goes on to two is the run of two epochs."""

import json

from optaxaccel import cli
from optaxaccel.training.keeping import records

TOLD_ONCE = {*records.TIMED, "went_on_from", "steps", "dirty", "commit"}
IMAGES = ["--method", "nesterov", "--method-args", "learning_rate=0.1", "--model-args", "hidden=(4,)"]
TASK = ["--task", "rosenbrock", "--method", "nesterov", "--method-args", "learning_rate=0.0001", "--log-every", "5"]


def rows(folder):
    made = [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TOLD_ONCE} for row in made]


def test_a_run_goes_on_to_more_epochs(tmp_path, capsys):
    command = ["train", *IMAGES, "--out", str(tmp_path / "short")]
    assert cli.run([*command, "--epochs", "1"]) == 0
    assert cli.run([*command, "--epochs", "2"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert cli.run([*command, "--epochs", "2", "--resume"]) == 0
    assert cli.run(["train", *IMAGES, "--out", str(tmp_path / "long"), "--epochs", "2"]) == 0
    assert rows(tmp_path / "short") == rows(tmp_path / "long")
    first = json.loads((tmp_path / "short" / "record.jsonl").read_text().splitlines()[0])
    assert len(first["went_on_from"]) == 1
    assert cli.run([*command, "--epochs", "1", "--resume"]) == 2
    assert "has made 22 updates already" in capsys.readouterr().err


def test_a_task_goes_on_and_a_schedule_is_told_of(tmp_path, capsys):
    command = ["train", *TASK, "--out", str(tmp_path / "short")]
    assert cli.run([*command, "--steps", "20"]) == 0
    assert cli.run([*command, "--steps", "40", "--resume"]) == 0
    record = records.read(tmp_path / "short" / "record.jsonl")
    assert (record.status, record.end["step"], record.start["spec"]["steps"]) == ("done", 40, 40)
    slow = ["--schedule", "learning_rate=cosine_decay_schedule(decay_steps=20)", "--out", str(tmp_path / "slow")]
    assert cli.run(["train", *TASK, *slow, "--steps", "20"]) == 0
    assert cli.run(["train", *TASK, *slow, "--steps", "40", "--resume"]) == 2
    assert "last value" in capsys.readouterr().err
