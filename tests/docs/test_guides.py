"""Every line of the guides is run, in the order of the page, prints what the page says, and draws what it shows."""

import re
import time
from pathlib import Path

import executed
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

GUIDES = sorted((Path(__file__).parents[2] / "docs" / "guides").glob("*.md"))
LISTED = (GUIDES[0].parent / "index.md").read_text()
ROWS = re.findall(r"^\| \[.*\]\((\w+)\.md\) .* (\d+) \|$", LISTED, re.MULTILINE)
SECONDS = {page: int(seconds) for page, seconds in ROWS}
TUTORIALS = (
    "compare transformer pinn equilibrium_layer merge_checkpoints untuned sharding batch_norm_dropout flax_nnx equinox"
)


def hues(path):
    """Return the colours of a picture's curves, which no version of a library moves, as it may the curves."""
    with Image.open(path) as image:
        hue, saturation, _ = np.moveaxis(np.asarray(image.convert("RGB").convert("HSV"), int), -1, 0)
    return set(np.flatnonzero(np.bincount((hue[saturation > 110] + 4) // 16) > 150).tolist())


@pytest.mark.parametrize("path", [path for path in GUIDES if path.stem != "index"], ids=lambda path: path.stem)
def test_the_code_of_a_guide_runs_and_prints_what_stands_there(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    assert {"python", "text"} <= {language for language, _ in executed.BLOCK.findall(path.read_text())}
    began = time.process_time()
    executed.run(path)
    assert time.process_time() - began < executed.seconds(path)
    plt.close("all")
    for name in executed.figures(path):
        stored = path.parents[1] / "_static" / "guides" / name
        with Image.open(name) as drawn, Image.open(stored) as shown:
            assert drawn.size == shown.size
        assert hues(name) == hues(stored) != set(), f"run python docs/figures/guides.py {path.stem}"


@pytest.mark.parametrize("name", TUTORIALS.split())
def test_a_tutorial_goes_from_what_to_install_to_a_figure(name):
    page = GUIDES[0].parent / f"{name}.md"
    assert 'It needs `pip install ".[command]"' in page.read_text()
    assert executed.figures(page) == [f"{name}.png"]
    assert f'"{name}.png")\n' in page.read_text()


def test_every_guide_is_in_the_list_with_its_time():
    pages = {path.stem for path in GUIDES} - {"index"}
    assert pages <= set(LISTED.split("```{toctree}")[1].split())
    assert {page: executed.seconds(GUIDES[0].parent / f"{page}.md") for page in pages} == SECONDS


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
