"""Every experiment: it says what it claims, runs at smoke scale, starts at paper scale, and its page is true."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from optaxaccel import cli, data, models
from optaxaccel.report import pages, published
from optaxaccel.training.many import experiment, jobs
from optaxaccel.training.run import optimizer

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "experiments"
DEFINITIONS = [d.path for d in experiment.find(FOLDER)]
PAGES = sorted(FOLDER.rglob("README.md"))


def identify(path):
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", DEFINITIONS, ids=identify)
def test_the_header_says_claim_command_cost_and_expectation(path):
    definition = experiment.load(path)
    for word in ("Claim:", "Protocol:", "Command:", "Cost:", "Expected:"):
        assert f"\n{word}" in definition.claim
    assert f"optaxaccel run {path.relative_to(ROOT)}" in definition.claim
    assert set(definition.runs) == set(experiment.SCALES)
    overview = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"[{path.parent.name}/{path.stem}]" in overview, "The overview lacks it. Run `make pages`."


@pytest.mark.parametrize("path", DEFINITIONS, ids=identify)
def test_it_runs_at_smoke_scale(path, tmp_path, capsys):
    arguments = ["run", str(path), "--scale", "smoke", "--no-vectorize", "--out", str(tmp_path)]
    assert cli.run(arguments) == 0, capsys.readouterr().err
    plan = experiment.load(path).runs["smoke"]
    table = capsys.readouterr().out
    if isinstance(plan, experiment.Study):
        values = json.loads((tmp_path / "study.jsonl").read_text().splitlines()[-1])["values"]
        assert set(values) & set(experiment.load(path).runs["small"].expected)
    else:
        assert all(contender.label.split()[0] in table for contender in plan.contenders)
    assert (tmp_path / "figure.png").stat().st_size > 1000


@pytest.mark.parametrize("path", DEFINITIONS, ids=identify)
def test_it_starts_at_paper_scale(path):
    """All settings have a recipe, and the whole model and optimiser a state; what it costs is not paid here."""
    plan = experiment.load(path).runs["paper"]
    if isinstance(plan, experiment.Study):
        assert set(plan.arguments) == set(experiment.load(path).runs["small"].arguments)
        return
    run = plan.contenders[0].settings[0]
    params = shapes_of(run.model, json.dumps(run.model_args), run.data, run.image_size)
    for contender in plan.contenders:
        for run in contender.settings[:: max(1, len(contender.settings) // 2)]:
            recipe = optimizer.recipe(run, total_steps=2, steps_per_epoch=2)
            state = jax.eval_shape(recipe.build(recipe.numbers).init, params)
            assert all(np.prod(leaf.shape) > 0 for leaf in jax.tree.leaves(state))


@functools.cache
def shapes_of(model, arguments, dataset, image_size):
    """The parameters of the whole model on the whole images, as shapes."""
    card = data.DATASETS[dataset]
    shape = (image_size, image_size, 3) if card.streamed else card.shape
    made = models.make(model, classes=card.classes, input_shape=shape, **json.loads(arguments))
    x = jax.ShapeDtypeStruct((1, *shape), np.float32)
    return jax.eval_shape(made.init, jax.random.key(0), x)[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.parent.name)
def test_pages_agree_with_the_published_results(page):
    """What stands between markers is what the results say, to the byte."""
    assert pages.render(page, experiment.find(FOLDER)) == page.read_text(encoding="utf-8"), "Run `make pages`."


def test_published_results_are_those_of_the_definitions():
    """No run that nobody asks for, and every contender's first settings with every seed."""
    for definition in experiment.find(FOLDER):
        for scale, plan in definition.runs.items():
            path = pages.result_path(definition, scale)
            if not path.exists() or isinstance(plan, experiment.Study):
                continue
            results = published.read(path).records
            assert jobs.planned(plan, results) == results, path
            for contender in plan.contenders:
                own = [r for r in results if r.start["label"] == contender.label]
                ended = [r for r in own if r.start["phase"] in ("final", "grid")]
                runs = len(contender.settings) if isinstance(plan, experiment.Grid) else 1
                assert len(ended) == runs * plan.seeds, f"{path}: {contender.label}"
                asked = len(contender.settings) if isinstance(plan, experiment.Plan) else 1
                scored = isinstance(plan, experiment.Plan) and plan.scored
                counts = {"tune": asked if asked > 1 else 0, "score": asked if scored else 0}
                counts["default"] = int(scored and contender.default is not None)
                for phase, count in counts.items():
                    there = [r for r in own if r.start["phase"] == phase]
                    assert len(there) == count, f"{path}: {contender.label}, {phase}"


def test_published_first_steps_are_those_of_all_contenders():
    for definition in experiment.find(FOLDER):
        plan = definition.runs["paper"]
        if isinstance(plan, experiment.Study):
            continue
        run, path = plan.contenders[0].settings[0], pages.first_steps_path(definition, "paper")
        if run.data in ("imagenet2012", "cifar100"):  # not at hand
            assert not path.exists()
            continue
        start, first_steps = published.read_first_steps(path)
        assert sorted(line["label"] for line in first_steps) == sorted(c.label for c in plan.contenders), path
        assert (start["spec"]["model"], start["spec"]["data"]) == (run.model, run.data), path


def test_published_results_name_no_place_of_the_machine_they_come_from():
    for path in FOLDER.rglob("results/*.jsonl"):
        start = json.loads(path.read_text(encoding="utf-8").partition("\n")[0])["start"]
        assert start["spec"].get("data_dir") is None
        assert start["dirty"] is False, f"{path} was measured on code that no commit holds"


def test_unequal_tuning_budgets_are_refused():
    run = experiment.Run()
    one, two = experiment.Contender("a", (run,)), experiment.Contender("b", (run, run.replace(seed=1)))
    with pytest.raises(ValueError, match="budgets differ"):
        experiment.Plan((one, two))
    with pytest.raises(ValueError, match="share a label"):
        experiment.Plan((one, one))
