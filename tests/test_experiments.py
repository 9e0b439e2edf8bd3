"""Every experiment definition: it loads, says what it claims, and runs at smoke scale."""

from pathlib import Path

import pytest

from optaxaccel import cli
from optaxaccel.training import experiment

ROOT = Path(__file__).parents[1]
DEFINITIONS = sorted(p for p in (ROOT / "experiments").rglob("*.py") if "RUNS" in p.read_text())


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_the_header_says_claim_command_cost_and_expectation(path):
    definition = experiment.load(path)
    for word in ("Claim:", "Command:", "Cost:", "Expected:"):
        assert word in definition.claim
    assert f"optaxaccel run {path.relative_to(ROOT)}" in definition.claim
    assert set(definition.runs) == set(experiment.SCALES)


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_it_runs_at_smoke_scale(path, tmp_path, capsys):
    assert cli.run(["run", str(path), "--scale", "smoke", "--out", str(tmp_path)]) == 0, capsys.readouterr().err
    labels = [c.label for c in experiment.load(path).runs["smoke"].contenders]
    table = capsys.readouterr().out
    assert all(label in table for label in labels)
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_unequal_tuning_budgets_are_refused():
    run = experiment.Run()
    one, two = experiment.Contender("a", (run,)), experiment.Contender("b", (run, run.replace(seed=1)))
    with pytest.raises(ValueError, match="budgets differ"):
        experiment.Plan((one, two))
    with pytest.raises(ValueError, match="share a label"):
        experiment.Plan((one, one))
