"""A record that is read by columns is the record, is refused for the same reasons, and takes little memory."""

import json
import math
import tracemalloc

import numpy as np
import pytest

from optaxaccel.report import figures
from optaxaccel.training.keeping import lines, records, soundness
from optaxaccel.training.run.spec import Run

STEPS = 400
CALLS = {"value_calls": 1, "grad_calls": 1, "hvp_calls": 0}


def rows_of_a_run(steps=STEPS):
    run = Run(method="indian", model="mlp", data="digits")
    rows: list = [{"kind": "start", "spec": run.as_dict(), "digest": run.digest(), "label": "a", "phase": "final"}]
    for step in range(1, steps + 1):
        at = {"step": step, "epoch": step / 50, **{k: v * step for k, v in CALLS.items()}, "seconds": 0.01 * step}
        loss = "nan" if step == 7 else 1.0 / step
        rows.append({"kind": "train", **at, "loss": loss, "accuracy": step / (steps + 1), "note": None})
        if step % 20 == 0:
            rows.append({"kind": "eval", "split": "test", **at, "loss": 2.0 / step, "accuracy": 1.0 - 1.0 / step})
        if step % 100 == 0:
            rows.append({"kind": "probe", "step": step, "sharpness": 1.5})
    return [*rows, {"kind": "end", "status": "done", "step": steps}]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(lines, "BLOCK", 3000)


@pytest.mark.usefixtures("small_blocks")
def test_every_row_comes_back_as_it_was_in_its_place(tmp_path):
    rows = rows_of_a_run()
    (record,) = records.read_all(written(tmp_path / "a.jsonl", rows))
    want = [row for row in rows if row["kind"] in ("train", "eval")]
    assert list(record.rows) == want == records.read(tmp_path / "a.jsonl").rows
    for read, row in zip(record.rows, want, strict=True):
        assert [type(value) for value in read.values()] == [type(value) for value in row.values()]
        assert list(read) == list(row)
    assert record.rows[-2:] == want[-2:]
    assert record.last("eval") == want[-1]
    assert record.last("extrapolation") == {}
    assert record.end == rows[-1]
    assert record.of("eval").column("loss").tolist() == [2.0 / step for step in range(20, STEPS + 1, 20)]
    assert record.of("train").column("loss").dtype == object
    with pytest.raises(KeyError):
        record.of("train").column("split")


@pytest.mark.usefixtures("small_blocks")
def test_a_figure_of_columns_is_that_of_rows(tmp_path):
    path = written(tmp_path / "a.jsonl", rows_of_a_run())
    by_columns, by_rows = records.read_all(path)[0], records.read(path)
    for kind, value in (("train", "loss"), ("eval", "error"), ("eval", "accuracy")):
        for _, x in figures.AXES.values():
            for drawn, want in zip(
                figures.curves([by_columns], kind, value, x), figures.curves([by_rows], kind, value, x), strict=True
            ):
                np.testing.assert_array_equal(drawn, want)
    at, losses = figures.curves([by_columns], "train", "loss", figures.AXES["epochs"][1])
    np.testing.assert_allclose(losses[0][[0, -1]], [1.0, 1.0 / STEPS])
    np.testing.assert_allclose(at[[0, -1]], [0.02, STEPS / 50])


FAULTS = {
    "a text for a number": lambda row: row.update(seconds="soon"),
    "no number at all": lambda row: row.update(step=None),
    "infinite": lambda row: row.update(epoch=math.inf),
    "beyond every float": lambda row: row.update(grad_calls=10**400),
    "a truth value": lambda row: row.update(value_calls=True),
    "a field less": lambda row: row.pop("hvp_calls"),
    "a strange loss": lambda row: row.update(loss="low"),
    "a field more": lambda row: row.update(more="words"),
    "no kind": lambda row: row.pop("kind"),
    "a kind that is none": lambda row: row.update(kind=3),
}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("damage", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("place", [1, 2, STEPS // 2, STEPS])
def test_a_row_that_is_damaged_is_refused_with_its_line(tmp_path, damage, place):
    rows = rows_of_a_run()
    damage(rows[place])
    path = written(tmp_path / "a.jsonl", rows)
    with pytest.raises(ValueError, match=f"line {place + 1}") as want:
        soundness.refuse_unsound(path, rows, records.MEASURED)
    with pytest.raises(ValueError, match="line") as error:
        records.read_all(path)
    assert str(error.value) == str(want.value)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "line", ["{", "[1", '{"kind": "train"},{"kind": "train"}', "\xff", '{"kind": "train", "x": [1}']
)
@pytest.mark.parametrize("place", [1, STEPS // 2, STEPS])
def test_a_line_that_is_no_row_is_refused_and_a_torn_end_is_not(tmp_path, line, place):
    path = written(tmp_path / "a.jsonl", rows_of_a_run())
    text = path.read_bytes().splitlines(keepends=True)
    damaged = line.encode("latin-1") + b"\n"
    path.write_bytes(b"".join([*text[:place], damaged, *text[place:]]))
    with pytest.raises(ValueError, match=f"line {place + 1} is damaged"):
        records.read_all(path)
    path.write_bytes(b"".join([*text[: place + 1], damaged]))
    assert len(records.read_all(path)[0].rows) == len([t for t in text[1 : place + 1] if b'"probe"' not in t])
    path.write_bytes(b"".join([*text[: place + 1], damaged, b'{"kind']))
    with pytest.raises(ValueError, match=f"line {place + 2} is damaged"):
        records.read_all(path)


def memory_of(function):
    """Return what a function returns, and how much memory that takes, and took at most."""
    function()  # what is imported and kept once
    tracemalloc.start()
    try:
        result = function()
        return result, *tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("small_blocks")
def test_a_long_record_takes_a_third_of_the_memory_of_its_rows(tmp_path):
    steps = 10_000
    path = written(tmp_path / "a.jsonl", rows_of_a_run(steps))
    rows, by_rows, _ = memory_of(lambda: records.read(path).rows)
    (record,), kept, peak = memory_of(lambda: records.read_all(path))
    assert len(record.rows) == len(rows) == steps + steps // 20
    assert kept < by_rows / 3
    assert peak < by_rows / 2
