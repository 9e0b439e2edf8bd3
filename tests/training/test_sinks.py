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
    assert {"eval/test/loss", "eval/test/accuracy"} <= set(session.rows[0][1])
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
