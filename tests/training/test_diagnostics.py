"""What methods tell of themselves reaches records, sinks and figures; what trains knows no name of it."""

import os
import signal
import sys
import types
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.kept import RUN, Stopping

import optaxaccel
from optaxaccel.report import diagnostics as drawing
from optaxaccel.training import compare, loop
from optaxaccel.training.keeping import metrics, records, sinks
from optaxaccel.training.keeping.keep import Keep
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import diagnosing
from optaxaccel.training.steps.step import METRICS


def bowl(params):
    return jnp.sum(jnp.array([0.5, 4.0, 30.0]) * params**2) + jnp.cos(3.0 * params[0])


def by_hand(steps, **arguments):
    """Return the fields of PAL's state after every step, read from the state and not from what it tells."""
    tx, params = optaxaccel.pal(**arguments), jnp.array([1.0, -2.0, 0.5])
    state, seen = tx.init(params), []
    for _ in range(steps):
        value, grad = jax.value_and_grad(bowl)(params)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=bowl)
        params = optax.apply_updates(params, updates)
        seen.append((float(state.step_size), float(state.slope), float(state.curvature), int(state.case)))
    return seen


def test_rows_of_a_comparison_hold_means_and_shares_since_the_last_one(tmp_path):
    start = jnp.array([1.0, -2.0, 0.5])
    compare(bowl, ["pal"], params=start, steps=12, seeds=1, evaluations=3, folder=tmp_path, progress=False)
    (path,) = tmp_path.glob("*.jsonl")
    rows, seen = records.diagnosed(path), by_hand(12)
    assert [row["step"] for row in rows] == [4, 8, 12]
    for k, row in enumerate(rows):
        part = seen[4 * k : 4 * k + 4]
        for place, name in enumerate(("step_size", "slope", "curvature")):
            np.testing.assert_allclose(row[name], np.mean([one[place] for one in part]), rtol=1e-4, err_msg=name)
        for case in (1, 2, 3, 4, 5, 6):
            share = np.mean([one[3] == case for one in part])
            assert row[f"share_{optaxaccel.ParabolaCase(case).name.lower()}"] == share


def test_rows_of_a_run_on_images_are_the_means_of_rows_of_each_step(tmp_path):
    """The two runs share a program; the method is in a chain and is asked by what its state tells alone."""
    run = RUN.replace(extrapolate={}, steps=12)
    for every in (1, 3):
        loop.train(run.replace(log_every=every), tmp_path / f"{every}.jsonl")
    each, rows = (records.diagnosed(tmp_path / f"{every}.jsonl") for every in (1, 3))
    assert len(each) == 12
    assert [row["step"] for row in rows] == [
        r["step"] for r in records.read(tmp_path / "3.jsonl").rows if "loss" in r and r["kind"] == "train"
    ]
    names = set(optaxaccel.METHODS["pal"].diagnostics)
    first = 0
    for row in rows:
        part = each[first : row["step"]]
        first = row["step"]
        for name in names:
            np.testing.assert_allclose(row[name], np.mean([one[name] for one in part]), rtol=1e-6, err_msg=name)
    assert np.mean([row["step_size"] for row in each]) > 0


def test_a_method_that_tells_nothing_leaves_no_row_and_no_number_more(tmp_path):
    run = RUN.replace(method="optax.sgd", method_args={"learning_rate": 0.1}, extrapolate={}, steps=2)
    loop.train(run, tmp_path / "record.jsonl")
    assert records.diagnosed(tmp_path / "record.jsonl") == []
    readings = optaxaccel.diagnostics(optax.sgd(0.1, momentum=0.9).init(jnp.zeros(3)))
    assert readings == {}
    assert metrics.columns(np.zeros((2, len(METRICS))), ())[1] == {}


def test_a_run_that_goes_on_tells_what_one_that_was_never_stopped_does(tmp_path):
    """Nor does the step compile again, whose seconds would count."""
    run = Run(task="softmax_regression", task_args={"size": "smoke"}, method="pal", steps=10, log_every=4)

    stop = Stopping(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    loop.train(run, whole / "record.jsonl", keep=Keep(whole))
    assert loop.train(run, parts / "record.jsonl", keep=Keep(parts), progress=stop).status == "stopped"
    ended = loop.train(run, parts / "record.jsonl", keep=Keep(parts, resume=True))
    assert ended.status == "done"
    timed = {"seconds"}
    whole_rows, rows = (
        [{k: v for k, v in row.items() if k not in timed} for row in records.diagnosed(folder / "record.jsonl")]
        for folder in (whole, parts)
    )
    assert rows == whole_rows
    assert len(rows) > 1
    assert max(row["seconds"] for row in records.diagnosed(parts / "record.jsonl")) < 0.5


def test_checkpoints_of_before_are_gone_on_with():
    sums = {"jumps": jnp.zeros((), jnp.int32), "step_size": jnp.zeros(())}
    recalled = jax.device_get(diagnosing.recalled(sums, {}))
    totals = {"steps": np.int32(2), **{diagnosing.PREFIX + name: value for name, value in recalled.items()}}
    assert diagnosing.row_of_totals(totals) == {"jumps": 0}, "a mean that is not known is left out"
    old = [1.0, 0.5, 2.0, 0.0]  # from before searches and lines were counted
    completed = np.array([metrics.completed(old, ("step_size",))])
    known, readings = metrics.columns(completed, ("step_size",))
    assert diagnosing.row({"step_size": False}, readings) == {}
    assert known["line_values"][0] == -1.0


class Inner:
    """No state: that is a NamedTuple."""

    diagnostics = MappingProxyType({"never": 1.0})


def test_states_within_states_are_asked_and_names_stay_apart():
    search = optaxaccel.scale_by_parabola(max_step_size=0.1)
    tx = optaxaccel.gose(optax.chain(optax.scale(-1.0), search), check_every=4)
    params = jnp.ones(2)
    with pytest.warns(UserWarning, match="micro-batches"):
        readings = optaxaccel.diagnostics(optax.MultiSteps(tx, 2).init(params))
    assert {"jumps", "searches", "eigenvalue", "step_size", "slope", "share_clipped"} <= set(readings)
    two = optaxaccel.diagnostics((search.init(params), Inner(), optaxaccel.pal().init(params)))
    assert {"slope", "slope.2"} <= set(two)
    assert "never" not in two
    weights = optaxaccel.diagnostics(optaxaccel.anderson(0.1, history=3, safeguard=True).init(params))
    assert [float(weights[f"coefficients_{k}"]) for k in range(3)] == [1.0, 0.0, 0.0]
    assert weights["rejected"].dtype == jnp.int32
    lbfgs = optaxaccel.diagnostics(optax.lbfgs().init(params))
    assert {"step_size", "trials"} <= set(lbfgs)


class Matrix(NamedTuple):
    matrix: jax.Array

    @property
    def diagnostics(self):
        return {"matrix": self.matrix}


def test_what_is_no_scalar_and_no_vector_is_refused():
    with pytest.raises(ValueError, match=r"'matrix'.*\(2, 2\).*scalars or vectors"):
        optaxaccel.diagnostics(Matrix(jnp.zeros((2, 2))))


def test_sinks_get_them(tmp_path, monkeypatch):
    seen = []
    session = types.SimpleNamespace(log=lambda numbers, step: seen.append((step, numbers)), finish=lambda exit_code: 0)
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=lambda **options: session))
    run = RUN.replace(extrapolate={}, steps=4)
    loop.train(run, tmp_path / "record.jsonl", also=[sinks.sink("wandb", run, tmp_path)])
    readings = [numbers for _, numbers in seen if "diagnostics/step_size" in numbers]
    assert readings
    assert "diagnostics/share_minimum" in readings[-1]


def test_a_figure_has_a_panel_for_each_that_moved(tmp_path, monkeypatch):
    for seed in (1, 2):
        with records.Writer(tmp_path / f"{seed}.jsonl") as writer:
            run = RUN.replace(seed=seed)
            writer.write("start", spec=run.as_dict(), label="mine", phase="final", digest=run.digest())
            for step in (1, 2, 3):
                readings = {"length": 0.5 * step * seed, "never": 0.0, "unknown": float("nan")}
                writer.write("diagnostics", **readings, step=step, epoch=1.0, seconds=0.0)
    runs = [records.read(path) for path in sorted(tmp_path.glob("*.jsonl"))]
    lines = []
    kept = drawing._line
    monkeypatch.setattr(drawing, "_line", lambda axis, points, *rest: (lines.append(points), kept(axis, points, *rest)))
    assert drawing.draw(runs, tmp_path / "figure.png") == tmp_path / "figure.png"
    assert lines == [[(1, 0.5), (2, 1.0), (3, 1.5)], [(1, 1.0), (2, 2.0), (3, 3.0)]]
    assert (tmp_path / "figure.png").stat().st_size > 1000
    (tmp_path / "1.jsonl").write_text((tmp_path / "1.jsonl").read_text().splitlines()[0] + "\n")
    assert drawing.draw([records.read(tmp_path / "1.jsonl")], tmp_path / "none.png") is None
