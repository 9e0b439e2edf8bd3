"""What CONTRIBUTING says of adding things, done with toys in a copy of the tree: one file and one line each."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOYS = Path(__file__).parent / "adding"
FILES = {  # the toy: its file
    "method.py": "optaxaccel/methods/_toy.py",
    "model.py": "optaxaccel/models/toy.py",
    "data.py": "optaxaccel/data/toy.py",
    "task.py": "optaxaccel/tasks/toy.py",
    "experiment.py": "experiments/arena/toy.py",
}
LINES = {  # its line: the file it goes into, and the line that it follows
    "from optaxaccel.methods._toy import *": (
        "optaxaccel/methods/__init__.py",
        "from optaxaccel.methods._rna import *",
    ),
    '    ModelCard("toy", "optaxaccel.models.toy:make", "Cox, The regression analysis, 1958", (8, 8, 1), 10, 650),': (
        "optaxaccel/models/zoo.py",
        "_SMALL = (",
    ),
    '    DataCard("toy", "made by hand", "none needed", "embedded", (2, 2, 1), 2, {"train": 64, "test": 32}, "test", '
    '(0.4,), (0.4,), maker="optaxaccel.data.toy:split"),': ("optaxaccel/data/sets.py", "_CARDS = ("),
    '    TaskCard("toy", "optaxaccel.tasks.toy:parabola", "a parabola", "loss"),': (
        "optaxaccel/tasks/cards.py",
        "CARDS: tuple[TaskCard, ...] = (",
    ),
    "<!-- begin toy-small -->\n<!-- end toy-small -->": (
        "experiments/arena/README.md",
        "<!-- end digits-small -->",
    ),
}
WRITTEN = {"README.md", "docs/methods/toy.md", "experiments/README.md", "experiments/arena/README.md"}
CARDS = "test_what_follows_from_the_cards_is_there"
SKIPPED = shutil.ignore_patterns("__pycache__", "_build", "generated")


class Tree:
    """A copy of the tree to which the toys were added."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("optaxaccel", "tests", "docs", "experiments"):
            shutil.copytree(ROOT / name, folder / name, ignore=SKIPPED)
        for path in ROOT.glob("*.*"):
            if path.is_file() and path.suffix in (".md", ".toml", ".cff", ".py"):
                shutil.copyfile(path, folder / path.name)
        for toy, place in FILES.items():
            shutil.copyfile(TOYS / toy, folder / place)
        for line, (place, after) in LINES.items():
            text = (folder / place).read_text()
            assert text.count(f"{after}\n") == 1, f"{place} has no line {after!r}"
            (folder / place).write_text(text.replace(f"{after}\n", f"{after}\n{line}\n"))

    def python(self, *arguments: str) -> tuple[int, str]:
        """Run Python on the copy; return its exit status and what it printed."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "NO_COLOR": "1"}
        run = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=environment,
            timeout=240,
            check=False,
        )
        return run.returncode, run.stdout + run.stderr

    def failures(self, *arguments: str) -> tuple[dict[str, str], str]:
        """Return what tests fail, by name, with the line that says why, and all that was printed."""
        status, text = self.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", *arguments)
        assert status in (0, 1), text
        lines = [line for line in text.splitlines() if line.startswith("FAILED ")]
        return {line.partition("::")[2].partition(" - ")[0]: line.partition(" - ")[2] for line in lines}, text


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree(tmp_path_factory.mktemp("copy"))


def test_one_message_says_what_to_run_for_a_method_and_that_is_all_there_is(tree):
    failed, text = tree.failures("tests/docs/test_pages.py")
    assert set(failed) == {CARDS}, text
    assert "Run `make pages`, which writes README.md, docs/methods/toy.md;" in text
    assert "Run `make figures`, which draws toy into rosenbrock.png, kinked_valley.png, saddle.png." in text
    status, text = tree.python("docs/follow.py")
    assert status == 0, text
    assert set(text.split()) >= WRITTEN
    failed, text = tree.failures("tests/docs/test_pages.py")
    assert set(failed) == {CARDS}, text
    assert "make pages" not in text, text


def test_the_suites_take_the_toys_up(tree):
    """Every file of the contract runs for the method's card, and what there is for a card of each other kind."""
    suites = ["tests/contract", "tests/models/test_model_registry.py", "tests/data/test_images.py"]
    suites += ["tests/data/test_catalogue.py", "tests/test_experiments.py", *FILES.values()]
    chosen = "(toy or every_card or defaults_pass or pages_agree) and not catches_faults"
    failed, text = tree.failures(*suites, "-vv", "-k", chosen)
    assert not failed, text
    items = re.findall(r"^tests/contract/(\w+)\.py::\S*\[(?:.*-)?toy\b.*\] (?:PASSED|SKIPPED)", text, re.MULTILINE)
    of_cards = {
        path.stem for path in (ROOT / "tests" / "contract").glob("test_*.py") if "card: Card" in path.read_text()
    }
    assert set(items) == of_cards - {"test_suite_catches_faults"}, text
    assert len(items) > 50


def test_the_command_line_knows_the_toys(tree):
    status, text = tree.python("-m", "optaxaccel", "list")
    assert status == 0
    assert text.count(" toy ") == 4
    status, text = tree.python("-m", "optaxaccel", "compare", "--task", "toy", "--methods", "toy(learning_rate=0.25)")
    assert status == 0, text
    assert "9.095e-13" in text  # 2^-40: halved twenty times, and squared


def test_an_experiment_is_published_between_its_markers(tree):
    status, text = tree.python("-m", "optaxaccel", "run", FILES["experiment.py"], "--scale", "small", "--publish")
    assert status == 0, text
    page = (tree.folder / "experiments" / "arena" / "README.md").read_text()
    section = page.partition("<!-- begin toy-small -->")[2].partition("<!-- end toy-small -->")[0]
    assert "Does gradient descent tell bright from dark?" in section
    assert "| toy | 100" in section
