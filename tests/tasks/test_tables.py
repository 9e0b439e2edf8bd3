"""Tables of one's own: what counts as missing, what is refused and how, scales, scores and predictions."""

import datetime
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import tasks, training
from optaxaccel.tasks import batches, table_files
from optaxaccel.training import loop
from optaxaccel.training.keeping.keep import Keep
from optaxaccel.training.run.spec import Run

N = 80
ORDER = np.random.default_rng(0).permutation(N)  # as `table` draws it: test rows, validation rows, training rows
NUMBERS = [f"{v:.4f}" for v in np.random.default_rng(1).normal(size=N)]


def write(path, **columns):
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(path)


def make(path, **arguments):
    return tasks.make("table", data=str(path), **{"batch_size": 8, **arguments})


def test_a_column_that_is_constant_in_the_training_rows_is_only_centred(tmp_path):
    flag, city = np.full(N, 0.1), np.array(["rome", "oslo"] * (N // 2), object)
    flag[ORDER[3]], city[ORDER[5]] = 1.1, "lima"
    task = make(write(tmp_path / "t.csv", flag=flag, city=city, x=NUMBERS, y=NUMBERS))
    assert np.abs(task.train["x"][:, 0]).max() < 1e-6
    assert np.abs(task.test["x"][:, :2]).max() == pytest.approx(1.0)
    large = 1e9 + np.arange(N) / N  # varies little, and is no constant
    task = make(write(tmp_path / "t.csv", large=large, y=NUMBERS))
    assert task.train["x"].std() == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_r2_of_a_part_is_by_its_own_variance(part, tmp_path):
    y = np.random.default_rng(0).normal(size=N)
    y[ORDER[:3]] *= 30  # the variance of the test rows is far from that of the others
    task = make(write(tmp_path / "t.csv", x=NUMBERS, y=y), hidden=(), batch_size=4).replace(eval_batch_size=5)
    params = [{"kernel": jnp.full((1, 1), 0.3), "bias": jnp.zeros(1)}]
    data = getattr(task, part)
    left = data["y"] - 0.3 * data["x"][:, 0]
    expected = 1 - np.sum(left**2) / np.sum((data["y"] - data["y"].mean()) ** 2)
    assert float(batches.measure(task, params, {}, data)["r2"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "NA", "N/A", "null", "?", "-"])
def test_what_counts_as_missing_drops_its_row(missing, tmp_path):
    gap = [*NUMBERS[:7], missing, *NUMBERS[8:]]
    words = ["red", "blue"] * (N // 2)
    words[9] = missing
    for columns, inputs in (
        ({"a": gap, "y": NUMBERS}, 1),
        ({"a": NUMBERS, "y": gap}, 1),
        ({"a": words, "y": NUMBERS}, 2),
    ):
        task = make(write(tmp_path / "t.csv", **columns))
        assert (task.score, task.train["x"].shape[1]) == ("r2", inputs)
        assert "1 rows with missing values dropped" in task.note


def test_what_is_infinite_drops_its_row_and_is_not_called_missing(tmp_path):
    task = make(write(tmp_path / "t.csv", a=[*NUMBERS[:7], "inf", *NUMBERS[8:]], y=NUMBERS))
    assert "1 rows with missing or infinite values dropped" in task.note


CODES = [f"{k % 10}_{k // 10}" for k in range(N)]
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=k) for k in range(N)]
REFUSED = {
    "a column without a name": ({"": range(N), "a": NUMBERS, "y": NUMBERS}, "column 1 has no name"),
    "words among numbers": (
        {"a": ["low", "high", *NUMBERS[2:]], "y": NUMBERS},
        r"'a' holds numbers, and 2 .*'low', 'hi",
    ),
    "words in the target": ({"a": NUMBERS, "y": [*NUMBERS[1:], "low"]}, r"'y' holds numbers, and 1 .*'low'"),
    "thousands": ({"a": [f'"1,{k:03d}"' for k in range(N)], "y": NUMBERS}, r"'a'.*'1,000'.*decimal point"),
    "codes": ({"a": CODES, "y": NUMBERS}, r"'a' has 80 different words in 80 rows.*'0_0'"),
    "dates": ({"a": DAYS, "y": NUMBERS}, r"'a' has 80 different words.*of a date the days"),
    "a constant target": ({"a": NUMBERS, "y": [0.5] * N}, r"target 'y' is 0\.5 in every row"),
    "no whole row": ({"a": [""] * N, "y": NUMBERS}, r"'a' lacks most: 80 of 80"),
    "one column": ({"y": NUMBERS}, "one column, 'y'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_column_that_cannot_be_meant_is_refused_by_name(case, tmp_path):
    columns, said = REFUSED[case]
    with pytest.raises(ValueError, match=rf"t\.csv.*{said}"):
        make(write(tmp_path / "t.csv", **columns))


BYTES = {
    "empty": (b"", "is empty"),
    "semicolons": (b"a;y\n1,5;2\n" * 9, r"no comma, but ';'.*sep=';'"),
    "tabs": (b"a\ty\n1\t2\n" * 9, r"no comma, but '\\t'"),
    "latin-1": ("a,stra\xdfe\n1,2\n".encode("latin-1"), r"not in UTF-8.*encoding='latin-1'"),
    "a name twice": (b"a,a,y\n1,2,3\n", "two columns 'a'"),
    "blank line": (b"a,y\n\n1,2\n3\n", "line 4"),
}


@pytest.mark.parametrize("case", BYTES)
def test_a_file_that_is_no_table_is_named_with_the_remedy(case, tmp_path):
    content, said = BYTES[case]
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"t\.csv.*{said}"):
        make(tmp_path / "t.csv")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    path = write(tmp_path / "t.csv", y=NUMBERS, a=NUMBERS)
    plain = make(path, target="y")
    (tmp_path / "t.csv").write_text("\ufeff" + (tmp_path / "t.csv").read_text(), encoding="utf-8")
    np.testing.assert_array_equal(make(path, target="y").train["x"], plain.train["x"])


@pytest.mark.parametrize("arguments", [{"hidden": 5}, {"hidden": (0,)}, {"test": 0.9}, {"test": 0.0}, {"test": "a"}])
def test_an_argument_out_of_range_is_named(arguments, tmp_path):
    path = write(tmp_path / "t.csv", a=NUMBERS, y=NUMBERS)
    with pytest.raises(ValueError, match=rf"{next(iter(arguments))}=.*pass a"):
        make(path, **arguments)


def test_columns_of_a_parquet_file_that_are_neither_numbers_nor_words_are_refused(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    for column, said in ((DAYS, "'a' holds date32.*days"), ([[1, 2]] * N, "'a' holds list")):
        parquet.write_table(pyarrow.table({"a": column, "y": [k % 2 for k in range(N)]}), path)
        with pytest.raises(ValueError, match=said):
            make(path)
    parquet.write_table(
        pyarrow.table({"a": [None, *range(1, N)], "y": pyarrow.array(["u", "v"] * 40).dictionary_encode()}), path
    )
    assert (make(path).score, make(path).train["x"].shape[1]) == ("accuracy", 1)
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match=r"t\.parquet is damaged"):
        make(path)


def test_a_loaded_run_predicts_the_target_from_rows_of_the_file(tmp_path):
    rng = np.random.default_rng(0)
    age, colour = rng.uniform(20, 80, N), np.array(["red", "blue"] * (N // 2))
    price = 1e3 * age + 2e4 * (colour == "red")
    path = write(tmp_path / "t.csv", age=age, price=price, colour=colour)
    arguments = {"data": path, "target": "price", "hidden": (), "batch_size": 8}
    run = Run(task="table", task_args=arguments, method="optax.adam", method_args={"learning_rate": 0.1}, steps=600)
    loop.train(run, tmp_path / "record.jsonl", keep=Keep(tmp_path))
    trained = training.load(tmp_path, "last")
    said = trained.predict(list(zip(age, colour, strict=True)))
    np.testing.assert_allclose(said[:, 0], price, rtol=0.02)
    for rows, message in (
        ([[30.0, "green"]], "'colour' has no word 'green'"),
        (np.zeros((2, 3)), "2 columns.*age, colour"),
    ):
        with pytest.raises(ValueError, match=message):
            trained.predict(rows)


def test_a_table_of_numbers_predicts_inside_jit_too(tmp_path):
    task = make(write(tmp_path / "t.csv", a=NUMBERS, y=[100 + float(v) for v in NUMBERS]), hidden=())
    params = [{"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}]
    rows = np.array([[0.5], [-1.0]], np.float32)
    np.testing.assert_allclose(task.predict(params, {}, rows), 100 + rows, rtol=1e-4)
    jitted = jax.jit(lambda x: task.predict(params, {}, x))
    np.testing.assert_allclose(jitted(rows), 100 + rows, rtol=1e-4)


def test_a_set_of_scikit_learn_predicts_from_rows_as_it_ships_them(monkeypatch):
    """By a stand-in for `load_diabetes`."""
    x = np.random.default_rng(0).normal(size=(N, 2)) * [1.0, 1e3]
    bunch = types.SimpleNamespace(data=x, target=7.0 + x[:, 0], feature_names=["age", "bmi"])
    sets = types.SimpleNamespace(load_diabetes=lambda: bunch)
    monkeypatch.setitem(sys.modules, "sklearn", types.SimpleNamespace(datasets=sets))
    task = tasks.make("table", data="diabetes", hidden=(), batch_size=8)
    assert (task.score, task.train["x"].shape) == ("r2", (56, 2))
    params = [{"kernel": jnp.array([[1.0], [0.0]]), "bias": jnp.zeros(1)}]
    np.testing.assert_allclose(task.predict(params, {}, x[:5])[:, 0], 7.0 + x[:5, 0], rtol=1e-5)


def test_the_index_of_a_data_frame_is_no_column(tmp_path):
    """Pandas writes one without a name behind all columns, where the target is looked for."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"a": [float(v) for v in NUMBERS], "y": [k % 2 for k in range(N)], "__index_level_0__": list(range(N))}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    table = table_files.read(tmp_path / "t.parquet", "")
    assert (table.target, list(table.words)) == ("y", ["a"])
    parquet.write_table(pyarrow.table({"__index_level_0__": [1, 2]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="has no column"):
        table_files.read(tmp_path / "t.parquet", "")
