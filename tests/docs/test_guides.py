"""Every line of the guides is run, in the order of the page, and prints what the page says."""

import contextlib
import io
import re
import shlex
import time
from pathlib import Path

import pytest

from optaxaccel import cli

GUIDES = sorted((Path(__file__).parents[2] / "docs" / "guides").glob("*.md"))
LISTED = (GUIDES[0].parent / "index.md").read_text()
ROWS = re.findall(r"^\| \[.*\]\((\w+)\.md\) .* (\d+) \|$", LISTED, re.MULTILINE)
SECONDS = {page: int(seconds) for page, seconds in ROWS}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", [path for path in GUIDES if path.stem != "index"], ids=lambda path: path.stem)
def test_the_code_of_a_guide_runs_and_prints_what_stands_there(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = ""
    began = time.process_time()
    blocks = BLOCK.findall(path.read_text())
    assert {"python", "text"} <= {language for language, _ in blocks}
    for language, text in blocks:
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, path.name, "exec"), names)
            printed = out.getvalue()
        elif language == "console":
            for line in text.splitlines():
                assert line.startswith("optaxaccel ")
                assert cli.run(shlex.split(line)[1:]) == 0
        else:
            assert language == "text"
            assert printed == text
    assert time.process_time() - began < SECONDS[path.stem]


def test_every_guide_is_in_the_list():
    pages = {path.stem for path in GUIDES} - {"index"}
    assert pages <= set(LISTED.split("```{toctree}")[1].split())
    assert pages == set(SECONDS)


def test_every_everyday_task_has_a_guide_that_is_run():
    page = (GUIDES[0].parents[1] / "everyday.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| \[([^|\]]+)\]\(guides/(\w+)\.md\) \|$", page, re.MULTILINE)
    assert len(rows) == page.count("guides/") - 1 >= 14
    for task, title, guide in rows:
        assert guide in SECONDS, f"{task}: {guide} is not run"
        assert f"# {title}\n" in (GUIDES[0].parent / f"{guide}.md").read_text(), f"{guide} has another title"


def test_every_public_class_of_jaxopt_has_a_row():
    """Its last release, 0.8.5, has these."""
    rows = re.findall(r"^\| `(\w+)`", (GUIDES[0].parent / "coming_from_jaxopt.md").read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows)), "a class twice"
    assert set(rows) >= set(
        [
            "AndersonAcceleration",
            "AndersonWrapper",
            "ArmijoSGD",
            "BFGS",
            "BacktrackingLineSearch",
            "Bisection",
            "BlockCoordinateDescent",
            "BoxCDQP",
            "BoxOSQP",
            "Broyden",
            "CvxpyQP",
            "EqualityConstrainedQP",
            "FixedPointIteration",
            "GaussNewton",
            "GradientDescent",
            "HagerZhangLineSearch",
            "IterativeRefinement",
            "LBFGS",
            "LBFGSB",
            "LevenbergMarquardt",
            "MirrorDescent",
            "NonlinearCG",
            "OSQP",
            "OptStep",
            "OptaxSolver",
            "PolyakSGD",
            "ProjectedGradient",
            "ProximalGradient",
            "ScipyBoundedLeastSquares",
            "ScipyBoundedMinimize",
            "ScipyLeastSquares",
            "ScipyMinimize",
            "ScipyRootFinding",
            "ZoomLineSearch",
        ]
    )
