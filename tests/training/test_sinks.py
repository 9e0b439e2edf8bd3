"""Where else rows go: TensorBoard, Weights & Biases, profiles."""

import sys
import types

import pytest
from training.kept import RUN

from optaxaccel.training import loop
from optaxaccel.training.keeping import sinks, trace


class Session:
    def __init__(self):
        self.rows, self.ended = [], None

    def log(self, numbers, step):
        self.rows.append((step, numbers))

    def finish(self, exit_code):
        self.ended = exit_code


def test_weights_and_biases_gets_every_number(tmp_path, monkeypatch):
    session, asked = Session(), {}
    fake = types.SimpleNamespace(init=lambda **options: asked.update(options) or session)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    loop.train(RUN, tmp_path / "record.jsonl", also=[sinks.sink("wandb", RUN, tmp_path)])
    assert asked["config"] == RUN.as_dict()
    assert session.ended == 0
    assert session.rows[0][0] == 0
    assert any({"eval/test/loss", "eval/test/accuracy"} <= set(numbers) for _, numbers in session.rows)
    assert any("train/loss" in numbers for _, numbers in session.rows)
    assert any("extrapolation/test/loss" in numbers for _, numbers in session.rows)


def test_tensorboard_gets_every_number(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is optional")
    loop.train(RUN, tmp_path / "record.jsonl", also=[sinks.sink("tensorboard", RUN, tmp_path)])
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for name in (b"train/loss", b"eval/test/accuracy", b"extrapolation/test/loss"):
        assert name in content


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install {module}"):
        sinks.sink(name, RUN, tmp_path)


def test_an_unknown_target_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'tensorboard'"):
        sinks.sink("tensorbord", RUN, tmp_path)


@pytest.mark.parametrize("last", [6, 10_000])
def test_a_profile_is_written(tmp_path, last):
    loop.train(RUN, tmp_path / "record.jsonl", trace=trace.Trace(tmp_path / "profile", 2, last))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize("text", ["5", "9:3", "a:b", "3:3"])
def test_a_bad_profile_range_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="--profile 10:20"):
        trace.parse(text, tmp_path)


def test_tensorboard_forgets_what_is_written_again_after_a_resumption(tmp_path, monkeypatch):
    opened = []

    class Writer:
        def __init__(self, folder, purge_step=None):
            opened.append(purge_step)

        def add_text(self, *arguments):
            pass

        add_scalar = add_text

        def flush(self):
            pass

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    for first in (0, 7):  # a new run begins with its start row, one that goes on with the first row that it writes
        take = sinks.sink("tensorboard", RUN, tmp_path)
        take("start" if first == 0 else "train", {"step": first, "loss": 1.0})
        take("train", {"step": first + 1, "loss": 1.0})
    assert opened == [0, 7]


def test_two_folders_of_one_specification_are_two_runs_for_weights_and_biases(tmp_path, monkeypatch):
    asked = []
    fake = types.SimpleNamespace(init=lambda **options: asked.append(options["id"]))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for folder in ("a", "b", "a"):
        sinks.sink("wandb", RUN, tmp_path / folder)
    assert asked[0] == asked[2] != asked[1]
