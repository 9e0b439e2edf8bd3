"""The benchmarks' bookkeeping: goals, and two checkouts in turns. What they measure is measured by `make bench`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import against, deep, goals, group, measure, reading

TITLE = "extrapolation, K=10, 11.2 M parameters, against one copy of the history"


def row(ratio, **more):
    return {"benchmark": TITLE, "variant": "extrapolate, a stacked tree", "ratio": ratio, **more}


def test_goals_are_met_or_missed_with_the_reason():
    assert goals.table([]) == ""
    (*_, met) = goals.table([row(2.9, quartiles=[2.8, 3.1])]).splitlines()
    assert met == "| extrapolate, K = 10, in copies of the history | 3 | 2.90 | 2.80-3.10 | met |"
    (*_, missed) = goals.table([row(3.1)]).splitlines()
    assert "| missed: its products in float32" in missed


def test_goals_against_before_need_a_before():
    here = [{"benchmark": reading.TITLE, "variant": "most memory", "MB": 200.0}]
    there = [{"benchmark": reading.TITLE, "variant": "most memory", "MB": 1000.0}]
    assert "| needs --against |" in goals.table(here)
    assert "| 0.25 | 0.20 | | met |" in goals.table(here, there).replace("|  |", "| |")


def test_every_goal_names_a_group_of_rows_once():
    assert len({(goal.benchmark, goal.variant) for goal in goals.GOALS}) == len(goals.GOALS)
    published = json.loads((Path(bench.__file__).parent / "results" / "cpu-2-cores.json").read_text())["rows"]
    known = {goal.what for goal in goals.GOALS if goals._row(published, goal)}
    folder = Path(bench.__file__).parent / "results"
    minimizers = json.loads((folder / "cpu-2-cores-minimizers.json").read_text())["rows"]
    known |= {goal.what for goal in goals.GOALS if goals._row(minimizers, goal)}
    later = (goals.PLAIN, goals.SEARCH, goals.DEEP, goals.SWEEP, "report on", *goals.HALF)
    newer = {goal.what for goal in goals.GOALS if goal.benchmark.startswith(later)}
    assert known | newer == {goal.what for goal in goals.GOALS}


def test_checkouts_are_measured_in_turns_with_the_same_benchmarks(monkeypatch):
    ran = []

    def once(name, rounds, package=None):
        ran.append((name, rounds, package))
        if name == "peers" and package is not None:
            raise group.GroupFailedError("peers: ImportError: no such name")
        return [row(1.0 if package is None else 2.0)]

    monkeypatch.setattr(group, "once", once)
    there = Path("/there")
    sides = against.measure(["extrapolation", "peers"], 5, there)
    assert [package for name, _, package in ran if name == "extrapolation"] == [None, there, there, None]
    assert [package for name, _, package in ran if name == "peers"] == [None, there, None]
    assert len(sides.here) == 2
    assert sides.there == [row(2.0)]
    shown = against.table(sides)
    assert f"| {TITLE} | extrapolate, a stacked tree | ratio | 2 | 1 | 0.50 |  |" in shown
    assert "peers: the other checkout cannot run it (peers: ImportError: no such name)." in shown
    assert not against.regressed(sides)
    assert against.regressed(against.Sides([row(3.0)], [row(2.0)], {}))


def test_a_process_measures_the_package_of_the_other_checkout(tmp_path, monkeypatch):
    package = tmp_path / "optaxaccel"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('the other one')")
    with pytest.raises(group.GroupFailedError, match=r"extrapolation: .*the other one"):
        group.once("extrapolation", 1, against.check(tmp_path))
    with pytest.raises(ValueError, match="holds no package optaxaccel"):
        against.check(package)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(group.GroupFailedError, match="exit status 1"):
        group.once("extrapolation", 1)


def test_the_processors_time_is_not_that_which_passes(monkeypatch):
    slept = {}
    for name in measure.CLOCKS:
        monkeypatch.setenv(measure.CHOSEN, name)
        slept[name] = measure.timed(lambda: time.sleep(0.2))()
    assert slept["wall"] > 0.19
    assert slept["processor"] < 0.1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not let a process choose its cores")
def test_the_processors_time_is_taken_on_one_core(tmp_path):
    """In a process of its own, which stays there."""
    out = tmp_path / "cores"
    code = (
        "import os, sys\n"
        "from benchmarks import __main__ as bench, group\n"
        f"def once(*_): open({str(out)!r}, 'w').write(str(len(os.sched_getaffinity(0)))); return []\n"
        "group.once = once\n"
        f"sys.exit(bench.main(['--quick', '--only', 'extrapolation', '--out', {str(tmp_path)!r}, *sys.argv[1:]]))\n"
    )
    for words, cores in (([], len(os.sched_getaffinity(0))), (["--clock", "processor"], 1)):
        subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
        assert int(out.read_text()) == cores


def test_the_command_writes_both_sides_and_fails_where_something_became_slower(tmp_path, monkeypatch, capsys):
    (tmp_path / "optaxaccel").mkdir()
    (tmp_path / "optaxaccel" / "__init__.py").touch()
    monkeypatch.setenv(measure.CHOSEN, "wall")
    for here, status in ((2.0, 0), (5.0, 1)):
        monkeypatch.setattr(
            group, "once", lambda n, r, package=None, here=here: [row(here if package is None else 4.0)]
        )
        words = ["--quick", "--only", "extrapolation", "--against", str(tmp_path), "--out", str(tmp_path / "out")]
        words += ["--clock", "processor"]
        monkeypatch.setattr(bench, "stay_on_one_core", lambda: None)  # other tests run in this process
        assert bench.main(words) == status
        written = json.loads((tmp_path / "out" / "bench.json").read_text())
        assert (written["rows"][0]["ratio"], written["before"][0]["ratio"]) == (here, 4.0)
        text = capsys.readouterr().out
        assert f"## Against {tmp_path}" in text
        assert "processor time." in text
        assert "## Goals" in text


def test_a_report_is_measured_as_a_process(monkeypatch):
    monkeypatch.setattr(reading, "ROWS", 200)
    seconds, memory = reading.run(1, rows=200)
    assert 0 < seconds["seconds"] < 100
    assert memory["MB"] > 20


def test_compiling_has_a_row_a_network_and_a_goal_each():
    (only,) = deep.run(1, {"ResNet-20": "resnet20_cifar"})
    assert only["seconds"] > 0
    assert deep.TITLE.startswith(goals.DEEP)
    assert {goal.variant for goal in goals.GOALS if goal.benchmark == goals.DEEP} == set(deep.NETWORKS)
