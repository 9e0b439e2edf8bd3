"""The benchmarks of an accelerator run, at tiny sizes."""

import json

import pytest

from benchmarks import gpu

QUICK = ("extrapolation", "fixed_points", "quasi_newton", "sweeps")


def test_its_groups_run_and_write_one_file(tmp_path, capsys):
    assert gpu.main(["--tiny", "--rounds", "1", "--only", *QUICK, "--out", str(tmp_path)]) == 0, capsys.readouterr().out
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["tiny"]
    assert results["provenance"]["device"]
    titles = {row["benchmark"].split(",")[0] for row in results["rows"]}
    assert titles == {"extrapolation", "fixed point", "quasi-Newton update", "2 runs of 4 steps"}
    assert all(row["ms"] > 0 for row in results["rows"])


@pytest.mark.parametrize("kind", list(gpu.PRECISIONS))
def test_a_step_of_each_precision_moves_every_parameter(kind):
    step = gpu._step("cnn", {"width": 0.05}, 2, 8, kind)
    before = [leaf + 0 for layer in step._state[0].values() for leaf in layer.values()]
    after = [leaf for layer in step()[0].values() for leaf in layer.values()]
    assert all((a != b).any() and a.dtype == "float32" for a, b in zip(after, before, strict=True))


def test_a_group_that_fails_is_a_row_and_a_status(tmp_path, monkeypatch, capsys):
    def broken(tiny, rounds):
        raise RuntimeError("out of memory")

    monkeypatch.setitem(gpu.GROUPS, "search", broken)
    assert gpu.main(["--tiny", "--only", "search", "--out", str(tmp_path)]) == 1
    (row,) = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert "out of memory" in row["variant"]
