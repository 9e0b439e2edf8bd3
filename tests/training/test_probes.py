"""Probes of curvature against eigenvalues that NumPy finds, by themselves and in a record."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import optaxaccel
from optaxaccel import cli, training
from optaxaccel.report import curvature
from optaxaccel.report import diagnostics as drawing
from optaxaccel.training import loop
from optaxaccel.training.keeping import probes, progress, records
from optaxaccel.training.run.spec import Run

RUN = Run(
    method="optax.sgd",
    method_args={"learning_rate": 0.1},
    schedule={"learning_rate": {"name": "cosine_decay_schedule", "decay_steps": 80}},
    batch_size=64,
    steps=44,
    model_args={"hidden": (4,)},
)


def test_both_ends_of_a_spectrum_are_found_on_trees_and_with_data():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(12, 12))
    matrix = matrix + matrix.T
    params = {"a": jnp.ones((3, 2)), "b": jnp.ones(6)}

    def loss(p, *, matrix):
        x = jnp.concatenate([p["a"].ravel(), p["b"]])
        return 0.5 * x @ matrix @ x + jnp.sum(x)

    want = np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(probes.sharpness(loss, params, matrix=jnp.asarray(matrix)), want[-1], rtol=1e-4)
    np.testing.assert_allclose(probes.smallest_eigenvalue(loss, params, matrix=jnp.asarray(matrix)), want[0], rtol=1e-4)


def test_a_record_holds_them_and_the_rate_times_sharpness(tmp_path):
    """The run itself is the one without probes."""
    names = ("sharpness", "smallest_eigenvalue")
    with progress.reporter(Console(file=io.StringIO()), "a run") as report:
        got = loop.train(RUN, tmp_path / "probed.jsonl", probe=names, progress=report)
    plain = loop.train(RUN, tmp_path / "plain.jsonl")
    jax.tree.map(np.testing.assert_array_equal, got.state.params, plain.state.params)
    rows = records.probed(tmp_path / "probed.jsonl")
    assert [row["step"] for row in rows] == [0, 22, 44]
    assert not records.probed(tmp_path / "plain.jsonl")
    for row in rows:
        rate = 0.1 * 0.5 * (1 + np.cos(np.pi * row["step"] / 80))
        np.testing.assert_allclose(row["rate_times_sharpness"], rate * row["sharpness"], rtol=1e-5)
        assert row["smallest_eigenvalue"] < row["sharpness"]
        assert row["sharpness"] > 0
    read = records.read(tmp_path / "probed.jsonl")
    assert [row["kind"] for row in read.rows] == [row["kind"] for row in records.read(tmp_path / "plain.jsonl").rows]


def test_the_rate_is_that_which_the_method_chose():
    w = jnp.array(3.0)
    tx = optaxaccel.cdat(sigma=1.0)
    _, state = tx.update(2 * w, tx.init(w), w, value=w**2, value_fn=lambda w: w**2)
    assert probes.rate_at(1, {}, (state,)) == pytest.approx(0.5)
    assert probes.rate_at(1, {"learning_rate": np.float32(0.25)}, ()) == 0.25
    assert probes.rate_at(1, {}, ()) is None


def test_a_misspelt_probe_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="sharpness"):
        loop.train(RUN, tmp_path / "a.jsonl", probe=("sharpnes",))
    assert not (tmp_path / "a.jsonl").exists()


BOWL = """
import jax.numpy as jnp
from optaxaccel import tasks

def make(size="small"):
    def loss(params, batch):
        return 0.5 * jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2) - 0.05 * params["w"][1] ** 2

    data = {"x": 2.0 * jnp.eye(3)[jnp.arange(12) % 3], "y": jnp.ones(12)}  # the Hessian is 4/3 I less what is concave
    return tasks.from_loss(loss, {"w": jnp.ones(3)}, train=data, batch_size=4, name="bowl")
"""


def test_a_run_of_a_task_has_them_and_the_report_draws_them(tmp_path, capsys):
    """Of a run and of a comparison, from the command line: eigenvalues in closed form, whatever the batches are."""
    (tmp_path / "bowl.py").write_text(BOWL)
    task, out = f"{tmp_path / 'bowl.py'}:make", tmp_path / "out"
    arguments = ["--method", "optax.sgd", "--method-args", "learning_rate=0.3", "--steps", "4", "--out", str(out)]
    assert cli.run(["train", "--task", task, *arguments, "--probe", "sharpness", "smallest_eigenvalue"]) == 0
    rows = records.probed(out / "record.jsonl")
    assert [row["step"] for row in rows] == [r["step"] for r in records.read(out / "record.jsonl").rows if "split" in r]
    for row in rows:
        np.testing.assert_allclose(row["sharpness"], 4 / 3, rtol=1e-5)
        np.testing.assert_allclose(row["smallest_eigenvalue"], 4 / 3 - 0.1, rtol=1e-5)
        np.testing.assert_allclose(row["rate_times_sharpness"], 0.4, rtol=1e-5)
    assert cli.run(["report", str(out)]) == 0
    assert (out / "figure-curvature.png").stat().st_size > 1000
    assert "figure-curvature.png" in capsys.readouterr().out.replace("\n", "")


def test_a_comparison_probes_every_member_where_gradients_are_taken(tmp_path, monkeypatch):
    def quartic(w):
        return jnp.sum(jnp.array([1.0, 2.0]) * w**4) / 12  # the Hessian is diag(w^2, 2 w^2)

    tx = optaxaccel.cdat(sigma=1.0, momentum=0.0, ema_decay=0.0)
    methods = {"sgd": (optax.sgd, {"learning_rate": (0.1, 0.2)}), "cdat": tx}
    more = {"params": jnp.array([1.0, 1.0]), "steps": 2, "evaluations": 2, "folder": tmp_path, "progress": False}
    result = training.compare(quartic, methods, probe=("sharpness",), seeds=1, **more)
    for record in result.records:
        rows = records.probed(record.path)
        if record.start["phase"] == "tune":
            assert rows == []
            continue
        w, last, rate = np.array([1.0, 1.0]), None, record.start["spec"]["method_args"].get("learning_rate")
        for row in rows:
            top = max(w[0] ** 2, 2 * w[1] ** 2)
            np.testing.assert_allclose(row["sharpness"], top, rtol=1e-5)
            slope = np.array([w[0] ** 3, 2 * w[1] ** 3]) / 3
            best = slope @ slope / (slope @ (np.array([w[0] ** 2, 2 * w[1] ** 2]) * slope))
            if rate or last:
                np.testing.assert_allclose(row["rate_times_sharpness"], (rate or last) * top, rtol=1e-5)
            else:
                assert "rate_times_sharpness" not in row  # nothing was measured before the first step
            last = rate or best
            w = w - last * slope
        assert [row["step"] for row in rows] == [0, 1, 2]
    levels = []
    kept = drawing.panels
    monkeypatch.setattr(curvature, "panels", lambda *given: levels.append((given[1], given[4])) or kept(*given))
    assert curvature.draw(result.records, tmp_path / "a.png") == tmp_path / "a.png"
    assert levels[0][0] == ["sharpness", "rate_times_sharpness"]
    assert levels[0][1]["rate_times_sharpness"] == 2.0
    plain = training.compare(quartic, {"sgd": optax.sgd(0.1)}, seeds=1, **{**more, "folder": tmp_path / "plain"})
    assert curvature.draw(plain.records, tmp_path / "b.png") is None
    with pytest.raises(ValueError, match="folder=PATH"):
        training.compare(quartic, {"sgd": optax.sgd(0.1)}, probe=("sharpness",), **{**more, "folder": None})
