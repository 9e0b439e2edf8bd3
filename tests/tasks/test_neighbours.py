"""A task's file finds the modules beside it, as if it ran as a script, and nothing is left changed."""

import sys

import pytest

from optaxaccel import tasks
from optaxaccel.neighbours import neighbours

FILE = """
import helper_of_tasks
import jax.numpy as jnp
from optaxaccel.tasks import from_loss


def make_task():
    from later_of_tasks import LATER  # only when it is called

    return from_loss(lambda x: jnp.sum((x - helper_of_tasks.AT) ** 2) + LATER, jnp.zeros(1))
"""


def folder_of(path, at):
    path.mkdir()
    (path / "mine.py").write_text(FILE)
    (path / "helper_of_tasks.py").write_text(f"AT = {at}")
    (path / "later_of_tasks.py").write_text(f"LATER = {10 * at}")
    return f"{path / 'mine.py'}:make_task"


def value_at_zero(place):
    task = tasks.make(place)
    return float(task.loss(*task.init(None), {}, key=None, train=True)[0])


@pytest.fixture
def nothing_changes():
    names = ("helper_of_tasks", "later_of_tasks")
    before = list(sys.path)
    yield
    assert sys.path == before
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("nothing_changes")
def test_each_folder_has_its_own_helper(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = folder_of(tmp_path / "one", 1.0), folder_of(tmp_path / "two", 2.0)
    assert [value_at_zero(place) for place in (one, two, "one/mine.py:make_task")] == [11.0, 24.0, 11.0]


@pytest.mark.usefixtures("nothing_changes")
def test_a_file_that_fails_changes_nothing_either(tmp_path):
    (tmp_path / "bad.py").write_text("import no_such_module_anywhere")
    with pytest.raises(ValueError, match="could not be run"):
        tasks.make(f"{tmp_path / 'bad.py'}:make_task")


def test_this_package_and_the_standard_library_are_never_hidden(tmp_path):
    for name in ("json", "optaxaccel"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    seen = {name: sys.modules[name] for name in ("json", "optaxaccel", "optaxaccel.tasks")}
    with neighbours(tmp_path / "mine.py"):
        assert all(sys.modules[name] is module for name, module in seen.items())
