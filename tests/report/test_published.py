import json
import math

import pytest
from made import record

from optaxaccel.report import across, durations, figures, grids, pages, published, studies, tables
from optaxaccel.training.keeping import records
from optaxaccel.training.many import experiment, jobs
from optaxaccel.training.many.experiment import about

DEFINITION = '''"""Is one better than two?

Claim:    one is.
Protocol: none.
Command:  optaxaccel run experiments/paper/one.py
Cost:     nothing.
Expected: one is.
"""
from optaxaccel.training.many.experiment import {kind}, Contender, Measured, Panel, Study, about
from optaxaccel.training.run.spec import Run

def measure():
    points = [{{"panel": "p", "series": "s", "x": k, "y": k / 7}} for k in range(500)]
    return Measured(points, {{"seven": 7.0, "other": 1.0}})

RUN = Run(method="optax.sgd", method_args={{"learning_rate": 0.1}})
RUNS = {{"small": {plan}}}
PANELS = {{"p": Panel("title", "x (m)", "y (s)")}}
VERDICT = {verdict}
'''
STUDY = {"kind": "Plan", "plan": 'Study(measure, expected={"seven": about(7, 0.1, "arithmetic")})', "verdict": "{}"}
PLAN = {"kind": "Plan", "plan": 'Plan((Contender("a", (RUN,)), Contender("b", (RUN,))))', "verdict": "{}"}
GRID = {"kind": "Grid", "plan": 'Grid((Contender("a", (RUN,)), Contender("b", (RUN,))))', "verdict": "{}"}


def definition(folder, name="one", **fields):
    path = folder / "paper" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(DEFINITION.format(**fields))
    return experiment.load(path)


def runs(folder):
    for seed in (1, 2):
        record(folder / f"a{seed}.jsonl", "a", [3.0, 1.0 + seed, 0.1 * seed], seed=seed, accuracy=0.9)
        record(folder / f"b{seed}.jsonl", "b", [3.0, 2.0, 1.0], seed=seed, accuracy=0.8, data_dir="/secret")
    record(folder / "b3.jsonl", "b", [3.0], seed=3, status="diverged")


def test_tables_and_figures_of_published_runs_are_those_of_the_records(tmp_path):
    runs(tmp_path / "runs")
    made = definition(tmp_path, **PLAN)
    path = pages.publish(made, "small", tmp_path / "runs")
    results = published.read(path)
    own = records.read_all(tmp_path / "runs")
    assert tables.contenders(results.records) == tables.contenders(own)
    assert "/secret" not in path.read_text()
    first, second = (figures.draw(r, tmp_path / f"{i}.png") for i, r in enumerate((results.records, own)))
    assert first.read_bytes() == second.read_bytes()


def test_curves_are_thinned_and_keep_their_ends(tmp_path):
    record(tmp_path / "runs" / "a.jsonl", "a", [float(k) for k in range(1000)])
    path = tmp_path / "a.jsonl"
    everything = records.read_all(tmp_path / "runs")
    published.write_runs(path, "x", "small", everything, everything)
    (thin,) = published.read(path).records
    losses = [row["loss"] for row in thin.rows if row["kind"] == "train"]
    assert len(losses) == published.POINTS
    assert (losses[0], losses[-1]) == (0.0, 999.0)
    assert thin.last("eval")["grad_calls"] == 1000
    assert thin.last("eval")["epoch"] == 500.0
    published.write_runs(path, "x", "small", everything, [])
    assert [row["loss"] for row in published.read(path).records[0].rows if row["kind"] == "train"] == [999.0]


def test_a_page_is_rebuilt_from_results_alone_and_says_what_was_not_run(tmp_path):
    definition(tmp_path, "one", **PLAN)
    definition(tmp_path, "two", **STUDY)
    page = tmp_path / "paper" / "README.md"
    marks = "\n".join(f"<!-- begin {n} -->\n<!-- end {n} -->" for n in ("one-small", "two-small", "overview"))
    page.write_text(f"# Paper\n{marks}\nby hand\n")
    pages.rebuild(tmp_path)
    assert page.read_text().count("Not run yet") == 2
    runs(tmp_path / "runs")
    pages.publish(experiment.load(tmp_path / "paper" / "one.py"), "small", tmp_path / "runs")
    pages.rebuild(tmp_path)
    text = page.read_text()
    assert "| 1 | a | 90.00 ± 0.00 |" in text
    assert "2 (+1 diverged)" in text
    assert "commit 012345678" in text.lower()
    assert "a standard error (paper-one)](results/one-small.png)" in text
    assert text.endswith("by hand\n")
    assert pages.render(page, experiment.find(tmp_path)) == text
    page.write_text(text.replace("one-small -->", "none-small -->"))
    with pytest.raises(ValueError, match="marks 'none-small'"):
        pages.rebuild(tmp_path)


@pytest.mark.parametrize("fields", [PLAN, GRID], ids=["plan", "grid"])
def test_what_the_paper_reports_stands_beside_what_was_measured(tmp_path, fields):
    made, phase = definition(tmp_path, **fields), "grid" if fields is GRID else "final"
    for label in "ab":
        record(tmp_path / "runs" / f"{label}.jsonl", label, [3.0, 2.0, 1.0], phase=phase)
    pages.publish(made, "small", tmp_path / "runs")
    alone = pages.section(made, "small")
    assert "paper:" not in alone
    reported = experiment.Reported("error %", {"b": "4.5 (n = 3)"}, ("hours", {"a": "7"}), {"a": [(0.1, 0.9, 0.95)]})
    made = made._replace(reported=reported)
    text = pages.section(made, "small")
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| ")]
    (head, *_) = (row for row in rows if "paper: error %" in row)
    beside = {row[head.index("method")]: row[head.index("paper: error %")] for row in rows if len(row) == len(head)}
    assert (beside["a"], beside["b"]) == ("-", "4.5 (n = 3)")
    if fields is PLAN:
        assert "| a | 7 |" in text
        assert "| b | - |" in text
        results = published.read(pages.result_path(made, "small")).records
        with_curves, without = (tmp_path / f"{name}.png" for name in ("with", "without"))
        figures.draw(results, with_curves, reported=reported.accuracies)
        figures.draw(results, without)
        assert with_curves.read_bytes() != without.read_bytes()


def test_the_first_steps_are_published_as_one_row_an_experiment(tmp_path):
    made = definition(tmp_path, **PLAN)
    for label, seconds, compiling in (("a", 0.75, 61.4), ("b", 1.5, 59.6)):
        record(tmp_path / "runs" / f"{label}.jsonl", label, [1.0] * 4, compiled=compiling, data_dir="/secret")
        with (tmp_path / "runs" / f"{label}.jsonl").open("a") as file:
            end = {"kind": "end", "status": "done", "step": 4, "seconds": seconds, "peak_bytes": 3 * 2**29}
            file.write(json.dumps(end) + "\n")
    path = pages.publish_first_steps(made, "paper", records.read_all(tmp_path / "runs"))
    assert "/secret" not in path.read_text()
    page = tmp_path / "paper" / "README.md"
    page.write_text("<!-- begin first-steps -->\n<!-- end first-steps -->\n")
    pages.rebuild(tmp_path)
    row = "| paper/one | mlp | digits | 128 | 2 | 60 to 61 | 0.25 to 0.5 | 1.5 | cpu, m | 012345678 |"
    assert row in page.read_text()
    record(tmp_path / "runs" / "a.jsonl", "a", [1.0], status="diverged")
    with pytest.raises(ValueError, match="a ended as 'diverged'"):
        pages.publish_first_steps(made, "paper", records.read_all(tmp_path / "runs"))


@pytest.mark.parametrize("fields", [PLAN, GRID], ids=["plan", "grid"])
def test_records_of_another_plan_that_lie_beside_are_not_published(tmp_path, fields):
    """A definition was changed, and its folder still holds what was run before: nobody asked for those runs."""
    made, phase = definition(tmp_path, **fields), "grid" if fields is GRID else "final"
    for label in "ab":
        record(tmp_path / "runs" / f"{label}.jsonl", label, [1.0], phase=phase, seed=7)
        record(tmp_path / "runs" / f"{label}-old.jsonl", label, [9.0], phase=phase, seed=7, epochs=3)
    record(tmp_path / "runs" / "c.jsonl", "c", [9.0], phase=phase)
    record(tmp_path / "runs" / "d.jsonl", "a", [9.0], phase="tune")
    results = published.read(pages.publish(made, "small", tmp_path / "runs")).records
    assert [(r.start["label"], r.last("train")["loss"]) for r in results] == [("a", 1.0), ("b", 1.0)]


def test_an_unfinished_run_is_not_published(tmp_path):
    record(tmp_path / "runs" / "a.jsonl", "a", [1.0], status="unfinished")
    with pytest.raises(ValueError, match=r"not finished.*--resume"):
        pages.publish(definition(tmp_path, **PLAN), "small", tmp_path / "runs")


@pytest.mark.parametrize(("target", "word"), [("7", "Reproduced"), ("8", "Not reproduced")])
def test_a_study_is_judged_by_what_it_expects(tmp_path, target, word):
    plan = STUDY["plan"].replace("about(7", f"about({target}")
    made = definition(tmp_path, **{**STUDY, "plan": plan})
    measured = jobs.study(made.runs["small"], tmp_path / "runs" / "study.jsonl", "cpu")
    assert measured.values["seven"] == 7.0
    results = published.read(pages.publish(made, "small", tmp_path / "runs"))
    assert len(results.points) == published.POINTS
    assert results.points[-1] == {"panel": "p", "series": "s", "x": 499, "y": pytest.approx(499 / 7, rel=1e-5)}
    assert pages.section(made, "small").count(f"**{word}.**") == 1


def test_a_verdict_is_one_of_the_known_words(tmp_path):
    with pytest.raises(ValueError, match="verdict"):
        definition(tmp_path, **{**STUDY, "verdict": '{"small": ("marvellous", "")}'})


def test_a_grid_ranks_settings_by_their_mean_and_counts_failures(tmp_path):
    for seed in (1, 2):
        record(tmp_path / f"a{seed}.jsonl", "a", [1.0, 0.5 * seed], phase="grid", seed=seed)
        record(tmp_path / f"b{seed}.jsonl", "a", [1.0, 0.6], phase="grid", seed=seed, rate=0.2)
        record(
            tmp_path / f"c{seed}.jsonl", "b", [1.0, 0.1], phase="grid", seed=seed, status=["done", "diverged"][seed - 1]
        )
    everything = records.read_all(tmp_path)
    (best, other), (worst,) = grids.settings(everything, "train loss").values()
    assert (best.value, other.value) == (0.6, 0.75)
    assert math.isinf(worst.value)
    assert worst.spread == (0.1, None, 1)
    rows = {row[0]: row for row in grids.grid(everything, "train loss").rows}
    assert rows["a"][1:4] == ["2", "0.6000 ± 0.0000", "1"]
    assert rows["b"][-2] == "1 of 2"
    assert figures.boxes(everything, tmp_path / "boxes.png", "train loss").stat().st_size > 1000


def test_the_lowest_error_is_shown_beside_the_extrapolated_one(tmp_path):
    record(tmp_path / "a.jsonl", "a", [1.0, 0.5], accuracy=0.9, extrapolated=0.95)
    table = tables.contenders(records.read_all(tmp_path))
    assert list(table.columns[2:5]) == ["accuracy %", "lowest error %", "extrapolated"]
    assert list(table.rows[0][2:5]) == ["90.00", "10.00", "5.00"]


def test_seconds_are_compared_within_a_seed(tmp_path):
    record(tmp_path / "a.jsonl", "a", [1.0] * 4)
    record(tmp_path / "b.jsonl", "b", [1.0] * 4)
    rows = durations.per_epoch(records.read_all(tmp_path)).rows
    assert [row[1:] for row in rows] == [["2.00", "0.200", "1.00", "1"]] * 2


def problem(folder, outcomes, target=None):
    """Two settings a method: training losses in tuning, scoring and at the defaults, and the finals by seed."""
    for label, (tune, score, default, finals) in outcomes.items():
        for phase, losses in (("tune", tune), ("score", score), ("default", [default])):
            for rate, loss in zip((0.1, 0.2), losses, strict=False):
                if loss is None:
                    continue
                status = "done" if loss < math.inf else "diverged"
                path = folder / f"{label}-{phase}-{rate}.jsonl"
                record(path, label, [min(loss, 9.0)], phase=phase, rate=rate, status=status, seed=1000 + len(phase))
        for seed, loss in enumerate(finals, 1):
            record(folder / f"{label}-{seed}.jsonl", label, [loss], seed=seed)
    return across.Problem(records.read_all(folder), "train loss", target)


def test_the_error_of_a_rank_is_that_over_problems(tmp_path):
    alone = ([1.0], [1.0], None)
    problems = {
        "1": problem(tmp_path / "1", {"a": (*alone, [0.1] * 5), "b": (*alone, [0.2] * 5)}),
        "2": problem(tmp_path / "2", {"a": (*alone, [0.4] * 5), "b": (*alone, [0.2] * 5)}),
        "3": problem(tmp_path / "3", {"a": (*alone, [0.1] * 5), "b": (*alone, [0.2] * 5)}),
    }
    rows = across.ranks(problems).rows
    assert rows[0] == ["a", "1.0 ± 0.0", "2.0 ± 0.0", "1.0 ± 0.0", "1.3 ± 0.3"]  # 1/3, not 0.13 over fifteen values


def test_methods_that_made_the_same_steps_share_a_row_and_ties_their_rank(tmp_path):
    alone = ([1.0], [1.0], None)
    outcomes = {"a": (*alone, [0.5, 0.1]), "b": (*alone, [0.5, 0.3]), "same": (*alone, [0.5, 0.1])}
    rows = across.ranks({"1": problem(tmp_path / "1", outcomes), "2": problem(tmp_path / "2", outcomes)}).rows
    assert [row[:2] for row in rows] == [["a, same", "1.2 ± 0.2"], ["b", "1.8 ± 0.2"]]


def test_not_tuning_is_scored_by_settings_that_other_problems_chose(tmp_path):
    steady = ([0.2, 0.3], [0.2, 0.3], 0.4, [0.2])
    touchy = {"1": ([0.1, math.inf], [0.1, math.inf], None, [0.1]), "2": ([3.2, 0.1], [3.2, 0.1], None, [0.1])}
    touchy["3"] = touchy["1"]
    problems = {name: problem(tmp_path / name, {"steady": steady, "touchy": touchy[name]}) for name in "123"}
    rows = {row[0]: row for row in across.not_tuning(problems).rows}
    # steady: at 0.1 everywhere, twice the best. touchy: on 1 and 3 the others like both settings equally or not, the
    # first of equals stands; on 2 the others choose 0.1, which is 32 times the best there.
    assert rows["steady"] == ["steady", "4.00 */ 1.00", "2.00 */ 1.00", "2.00 */ 1.00", "2.00 (3)"]
    assert rows["touchy"][1] == "-"
    assert rows["touchy"][3] == "1.00 */ 1.00"
    assert rows["touchy"][4] == "32.00 (2)"


def test_a_setting_that_was_not_tried_on_a_problem_is_not_chosen_for_it(tmp_path):
    for name in "123":  # everywhere 0.2 is the better one
        problem(tmp_path / name, {"a": ([0.4, 0.1], [0.4, 0.1], None, [0.1])})
    for phase in ("tune", "score"):
        (tmp_path / "3" / f"a-{phase}-0.2.jsonl").unlink()
        record(tmp_path / "3" / f"a-{phase}.jsonl", "a", [0.2], phase=phase, rate=0.9, seed=1000 + len(phase))
    problems = {name: across.Problem(records.read_all(tmp_path / name), "train loss", None) for name in "123"}
    assert across.not_tuning(problems).rows[0][2] == "3.17 */ 1.26"  # at 0.1, which all have: 4, 4 and 2


def test_a_loss_without_a_minimum_is_scored_by_the_calls_to_a_target(tmp_path):
    for rate, losses in ((0.1, [3.0, 0.5, 0.5, 0.1]), (0.2, [3.0, 3.0, 3.0, 0.4]), (0.4, [3.0] * 4)):
        record(tmp_path / f"{rate}.jsonl", "a", losses, phase="score", rate=rate)
    made = across.Problem(records.read_all(tmp_path), "train loss", 0.5)
    assert sorted(across._outcomes(made, "score")["a"].values()) == [3.0, 6.0, 6.0]
    path = tmp_path / "p" / "x.jsonl"
    published.write_runs(path, "x", "small", made.records, [], [0.5])
    again = across.Problem(published.read(path).records, "train loss", 0.5)
    assert across._outcomes(again, "score") == across._outcomes(made, "score")


def test_expectations():
    table = studies.table({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": about(1, 0, "x"), "b": about(9, 1, "y")}, "t")
    assert [row[1:4] for row in table.rows] == [["1", "1", "yes"], ["8 to 10", "2", "NO"], ["-", "3", "-"]]
    assert "| a | 1 | 1 | yes | x |" in table.markdown()


def test_numbers_that_json_lacks_are_absent(tmp_path):
    path = tmp_path / "s.jsonl"
    rows = [{"kind": "start", "spec": {}}, {"kind": "point", "panel": "p", "series": "s", "x": 0, "y": math.nan}]
    published.write_study(path, "x", "small", [*rows, {"kind": "end", "values": {"a": math.inf}}])
    assert json.loads(path.read_text().splitlines()[1])["y"] == [None]
    assert published.read(path).values == {"a": None}


def test_contenders_are_compared_within_a_seed(tmp_path):
    for seed, hard in ((1, 0.0), (2, 0.4)):  # the second seed is harder for both
        record(tmp_path / f"a{seed}.jsonl", "a", [1.0, 0.1 + hard], seed=seed)
        record(tmp_path / f"b{seed}.jsonl", "b", [1.0, 0.3 + hard], seed=seed)
    table = tables.contenders(records.read_all(tmp_path), "train loss")
    assert [row[-1] for row in table.rows] == ["-", "0.2000 ± 0.0000"]
