"""Probes of curvature against eigenvalues that NumPy finds, by themselves and in a record."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import optaxaccel
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
