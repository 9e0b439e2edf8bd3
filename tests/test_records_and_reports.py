"""Damaged and foreign records end in one message with file and line; reports run nobody's code."""

import json

import pytest

from optaxaccel import cli
from optaxaccel.report import figures
from optaxaccel.training.keeping import records

SPEC = {
    "method": "pal",
    "method_args": {},
    "schedule": {},
    "model": "mlp",
    "data": "digits",
    "seed": 1,
    "batch_size": 32,
}
START = {"kind": "start", "spec": SPEC, "label": "pal", "phase": "final", "digest": "d", "data_note": ""}
ROW = {"kind": "eval", "split": "test", "step": 3, "epoch": 1.0, "seconds": 0.5, "loss": 0.3, "accuracy": 0.9}
ROW |= {"value_calls": 3.0, "grad_calls": 3.0, "hvp_calls": 0.0}
TRAIN = {**{k: v for k, v in ROW.items() if k != "split"}, "kind": "train", "grad_norm": 1.0}
END = {"kind": "end", "status": "done", "step": 3, "seconds": 0.5}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *arguments, **options: None)


WRONG = (None, "[/x]", [], {}, True, 10**400)
DAMAGED = [
    *(([value, ROW, END], "no record of a run") for value in (None, '"text"', [], 3, {}, True)),
    *(([START, value, END], "line 2: a row is a JSON object") for value in (None, '"text"', [], 3, {}, {"kind": 3})),
    *(([{**START, "spec": value}, ROW, END], "line 1: 'spec'") for value in (None, "x", [], 3)),
    *(([{**START, "spec": {**SPEC, "seed": value}}, ROW], "line 1, spec: 'seed'") for value in WRONG),
    *(([{**START, name: value}, ROW], f"line 1: '{name}'") for name in ("label", "phase") for value in (None, [], 3)),
    *(([START, {**ROW, "step": value}, END], "line 2: 'step'") for value in (*WRONG, "nan")),
    *(([START, {**ROW, "loss": value}, END], "line 2: 'loss'") for value in (*WRONG, "nan")),
    *(([START, TRAIN, {**TRAIN, "grad_norm": value}], "line 3: 'grad_norm'") for value in ("[/x]", 10**400)),
    *(([START, ROW, {**END, "seconds": value}], "line 3: 'seconds'") for value in ("[/x]", 10**400)),
    ([START, {k: v for k, v in ROW.items() if k != "value_calls"}], "'value_calls' is None"),
    ([START, ROW, {**END, "status": 3}], "line 3: 'status'"),
    ([START, {k: v for k, v in ROW.items() if k != "split"}, END], "line 2: 'split'"),
    ([START, TRAIN, END], "holds no evaluation"),
    *(
        ([{**START, "spec": {**SPEC, "schedule": {"a": v}}}, ROW], "schedule of 'a'")
        for v in (None, 3, [], {}, {"name": 3})
    ),
    ([START, "[" * 100_000, ROW], "line 2 is damaged"),
    ([START, "1" * 10_000, ROW], "line 2 is damaged"),
    ([START, "{", ROW], "line 2 is damaged"),
    (["\x00", ROW], "line 1 is damaged"),
]


@pytest.mark.parametrize("case", range(len(DAMAGED)))
def test_a_damaged_record_is_named_with_its_line(case, tmp_path, capsys):
    rows, text = DAMAGED[case]
    path = write(tmp_path / "record.jsonl", rows)
    assert cli.run(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert text in error
    assert error.count("\n") == 1
    assert len(error) < 600


def test_bytes_that_are_no_text_are_named(tmp_path, capsys):
    (tmp_path / "record.jsonl").write_bytes(b"\xff\xfe\n\xff\n")
    assert cli.run(["report", str(tmp_path)]) == 2
    assert "record.jsonl, line 1 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("label", ["[/x]", "[bold]pal[/bold]", "[red", "$x^{", "\\[", "a\nb"])
def test_labels_are_no_markup(label, tmp_path, capsys):
    write(tmp_path / "record.jsonl", [{**START, "label": label}, ROW, TRAIN, END])
    assert cli.run(["report", str(tmp_path)]) == 0
    assert label.split("\n")[0] in capsys.readouterr().out


def test_numbers_that_json_lacks_are_read(tmp_path):
    rows = [
        START,
        {**TRAIN, "loss": "nan", "grad_norm": "inf"},
        {**ROW, "kind": "extrapolation", "loss": "nan"},
        ROW,
        END,
    ]
    write(tmp_path / "record.jsonl", rows)
    assert cli.run(["report", str(tmp_path)]) == 0


def test_a_torn_last_line_is_no_damage(tmp_path):
    path = write(tmp_path / "record.jsonl", [START, ROW, TRAIN])
    path.write_text(path.read_text()[:-20])
    assert len(records.read(path).rows) == 1
    path.write_text(path.read_text() + "\n")  # torn, and a line all the same
    assert len(records.read(path).rows) == 1
    assert records.readable(path)
    path.write_text("[1]\n")
    assert not records.readable(path)


# --- Whose Python is run ----------------------------------------------------------------------------------------------

DEFINITION = "open('sprung', 'w').close()\nRUNS = {}\n"


def test_report_runs_no_definition_that_is_not_ours(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "trap.py").write_text(f"\n{DEFINITION}")
    assert cli.run(["report", "theirs"]) == 2
    assert "--definitions" in capsys.readouterr().err
    write(tmp_path / "theirs" / "record.jsonl", [START, ROW, TRAIN, END])
    assert cli.run(["report", "theirs"]) == 0  # the record is shown
    captured = capsys.readouterr()
    assert "--definitions" in captured.err
    assert "pal" in captured.out
    assert not (tmp_path / "sprung").exists()
    cli.run(["report", "theirs", "--definitions"])
    assert (tmp_path / "sprung").exists()
