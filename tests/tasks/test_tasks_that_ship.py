"""Every task that ships trains at its smoke size, and says the truth about its minimum or its reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import tasks, training
from optaxaccel.models import Model, transformer
from optaxaccel.tasks import batches

NAMES = [name for name, card in tasks.TASKS.items() if not card.needs]


@pytest.mark.parametrize("name", NAMES)
def test_a_task_that_ships_is_sound_and_improves_at_its_smoke_size(name):
    task, method = tasks.make(name, size="smoke"), tasks.TASKS[name].first_try
    assert tasks.TASKS[name].score == task.score
    comparison = training.compare(task, [method], seeds=1, evaluations=1)
    first, last = (row[task.score] for row in comparison.records[0].rows if row["kind"] == "eval")
    assert (last > first) == task.higher_is_better


def test_the_gap_is_zero_at_the_planted_answer():
    """The answers are drawn here again, as the docstrings say, in NumPy."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        task = tasks.make("softmax_regression")
        planted = rng.normal(size=(64, 10))
        grad = jax.jit(jax.grad(lambda p: task.loss(p, {}, task.train, key=None, train=True)[0]))(planted)
        assert np.abs(grad).max() < 1e-12
        assert abs(float(task.loss(planted, {}, task.train, key=None, train=True)[1][1]["gap"])) < 1e-12

        task, a = tasks.make("lasso"), tasks.make("lasso").train["a"]
        x, y, strength = np.zeros(60), np.asarray(task.train["y"]), 0.1
        steep = np.linalg.norm(a, 2) ** 2
        for _ in range(2000):  # ISTA, from the formula
            z = x - a.T @ (a @ x - y) / steep
            x = np.sign(z) * np.maximum(np.abs(z) - strength / steep, 0.0)
        f = 0.5 * np.sum((a @ x - y) ** 2) + strength * np.abs(x).sum()
        metrics = task.loss(x, {}, task.train, key=None, train=True)
        assert float(metrics[0]) == pytest.approx(f, rel=1e-12)
        assert abs(float(metrics[1][1]["gap"])) < 1e-10
        assert (np.abs(x) > 1e-8).sum() == 10

        task = tasks.make("matrix_factorisation")
        u, s, vt = np.linalg.svd(task.train["m"])
        np.testing.assert_allclose(s[:6], [*30 / np.arange(1, 6), 0.0], atol=1e-12)
        params = {"u": u[:, :5] * s[:5], "v": vt[:5].T}
        assert float(task.loss(params, {}, task.train, key=None, train=True)[0]) < 1e-24


def test_rosenbrock_is_rosenbrock():
    from scipy.optimize import rosen

    with jax.enable_x64(True):
        task, x = tasks.make("rosenbrock", dimension=5), np.array([0.3, -1.0, 2.0, 0.5, 0.1])
        assert float(task.loss(x, {}, {}, key=None, train=True)[0]) == pytest.approx(rosen(x), rel=1e-14)


def test_an_equations_residual_is_zero_at_its_solution():
    """A network whose output makes the built-in expression the exact solution leaves nothing: Poisson's, 1-D."""
    from optaxaccel.tasks import equations

    with jax.enable_x64(True):
        made = equations.poisson_1d()
        points = made.test_points[:, 0]
        exact = np.sin(2 * np.pi * points) + 0.2 * np.sin(6 * np.pi * points)
        np.testing.assert_allclose(made.reference, exact, atol=1e-15)
        h = 1e-4
        second = (
            np.sin(2 * np.pi * (points + h)) - 2 * np.sin(2 * np.pi * points) + np.sin(2 * np.pi * (points - h))
        ) / h**2
        np.testing.assert_allclose(second, -((2 * np.pi) ** 2) * np.sin(2 * np.pi * points), atol=1e-4)
        params = [{"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}]  # u = 0, so the residual is minus the force
        force = -((2 * np.pi) ** 2) * np.sin(2 * np.pi * points) - 0.2 * (6 * np.pi) ** 2 * np.sin(6 * np.pi * points)
        left = jax.vmap(lambda x: made.residual(params, x))(jnp.asarray(made.test_points))
        np.testing.assert_allclose(left, -force, atol=1e-9)


# --- Text -------------------------------------------------------------------------------------------------------------


def compiled(model):
    return Model(jax.jit(model.init), jax.jit(model.apply, static_argnames="train"))


def test_a_transformer_never_looks_ahead_and_drops_out_in_training_only():
    model = compiled(transformer.make(classes=7, length=6, layers=1, width=8, heads=2, dropout=0.5))
    params, state = model.init(jax.random.key(0), jnp.zeros((1, 6), jnp.int32))
    tokens = jnp.arange(6)[None]
    whole, _ = model.apply(params, state, tokens)
    changed, _ = model.apply(params, state, tokens.at[0, 4].set(0))
    np.testing.assert_array_equal(whole[0, :4], changed[0, :4])
    assert np.abs(whole[0, 4:] - changed[0, 4:]).max() > 1e-3
    noisy = [model.apply(params, state, tokens, key=jax.random.key(k), train=True)[0] for k in (1, 1, 2)]
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert np.abs(noisy[0] - noisy[2]).max() > 1e-3
    half = compiled(transformer.make(classes=7, length=6, layers=1, width=8, heads=2, dtype="bfloat16"))
    out, _ = half.apply(params, state, tokens)
    assert out.dtype == jnp.float32
    assert 1e-6 < np.abs(out - whole).max() < 0.1


def test_perplexity_of_a_model_that_knows_nothing_is_the_number_of_characters(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcd" * 200)
    task = tasks.make("language", text=str(path), length=7, batch_size=4, width=8, heads=2, layers=1)
    assert task.note == "4 different characters"
    assert [len(part["tokens"]) for part in (task.train, task.validation, task.test)] == [80, 10, 10]
    params, state = jax.eval_shape(task.init, jax.random.key(0))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params)
    means = jax.jit(lambda p: batches.measure(task, p, state, task.test))(zero)
    assert float(means["perplexity"]) == pytest.approx(4.0, rel=1e-5)
    with pytest.raises(ValueError, match="too few"):
        tasks.make("language", text=str(path), length=300)
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        tasks.make("language", text="none.txt")
    for name, value in (("vocabulary", 0), ("vocabulary", 1), ("characters", -1), ("length", 0)):
        with pytest.raises(ValueError, match=f"{name}={value} .*Pass an integer"):
            tasks.make("language", text=str(path), **{name: value})
    path.write_bytes(b"\xff\xfeabc" * 100)
    with pytest.raises(ValueError, match=r"text\.txt is not in UTF-8.*encoding="):
        tasks.make("language", text=str(path))


# --- Tables -----------------------------------------------------------------------------------------------------------


def rows(count):
    rng = np.random.default_rng(1)
    x = rng.normal(size=count)
    return [f"{v:.6f},{'red' if k % 2 else 'blue'},{2 * v + (k % 2):.6f}" for k, v in enumerate(x)]


def test_a_csv_file_is_regression_or_classification_by_its_target(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["size,colour,price", *rows(60), ",red,1.0"]) + "\n")
    task = tasks.make("table", data=str(path), hidden=(), steps=200, batch_size=16)
    assert task.score == "r2"
    assert "1 rows with missing values dropped" in task.note
    assert task.train["x"].shape == (42, 3)  # size, and a column for each colour
    np.testing.assert_allclose(task.train["x"].mean(0), 0.0, atol=1e-6)
    comparison = training.compare(task, {"adam": ("optax.adam", {"learning_rate": 0.05})}, seeds=1, evaluations=1)
    assert comparison.table().lines[0].score > 0.99  # the truth is linear
    words = tasks.make("table", data=str(path), target="colour", batch_size=16)
    assert (words.score, sorted(np.unique(words.train["y"]))) == ("accuracy", [0, 1])
    for arguments, said in {
        ("target", "prize"): "no column 'prize'",
        ("data", "x.txt"): "is no table",
    }.items():
        with pytest.raises(ValueError, match=said):
            tasks.make("table", **{"data": str(path), **dict([arguments])})
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match="line 3"):
        tasks.make("table", data=str(path))


def test_a_parquet_file_is_read_as_the_csv_file_is(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "data.csv").write_text("a,b\n" + "\n".join(f"{k}.5,{k % 3}" for k in range(40)) + "\n")
    columns = {"a": [k + 0.5 for k in range(40)], "b": [k % 3 for k in range(40)]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "data.parquet")
    made = [tasks.make("table", data=str(tmp_path / f"data.{kind}"), batch_size=8) for kind in ("csv", "parquet")]
    np.testing.assert_array_equal(made[0].train["x"], made[1].train["x"])
    np.testing.assert_array_equal(made[0].test["y"], made[1].test["y"])


def test_without_scikit_learn_its_sets_say_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"optaxaccel\[tables\]"):
        tasks.make("table", data="wine")
