import pytest

import optaxaccel
from optaxaccel.training.keeping import records


def written(path):
    with records.Writer(path) as writer:
        writer.write("start", spec={}, label="a", phase="final")
        writer.write("train", step=1, loss=float("nan"), list=(1.0, float("inf")))
        writer.write("end", status="done")
    return path


def test_a_record_reads_back_and_numbers_json_lacks_become_words(tmp_path):
    record = records.read(written(tmp_path / "a.jsonl"))
    assert record.status == "done"
    assert record.last("train") == {"kind": "train", "step": 1, "loss": "nan", "list": [1.0, "inf"]}
    assert record.last("eval") == {}


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_torn_last_line_costs_that_line_only(tmp_path, cut):
    path = written(tmp_path / "a.jsonl")
    path.write_bytes(path.read_bytes()[:-cut])
    record = records.read(path)
    assert record.status == "unfinished"
    assert len(record.rows) == 1


def test_what_is_no_record_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"kind": "train"}\n')
    with pytest.raises(ValueError, match="no record"):
        records.read(tmp_path / "a.jsonl")
    with pytest.raises(FileNotFoundError, match="No records"):
        records.read_all(tmp_path / "nothing")


def test_the_version_is_that_of_the_code_that_runs(monkeypatch):
    """What pip knows may be another checkout."""
    monkeypatch.setattr(records.importlib.metadata, "version", lambda name: "of pip")
    records._versions.cache_clear()
    try:
        versions = records.provenance("cpu")["versions"]
    finally:
        records._versions.cache_clear()
    assert versions["optaxaccel"] == optaxaccel.__version__
    assert versions["jax"] == "of pip"
