"""Tables: classification and regression by a small dense network; real sets of scikit-learn, or your own file."""

import csv
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel.tasks import networks
from optaxaccel.tasks.task import Task

SETS = ("breast_cancer", "diabetes", "digits", "iris", "wine")  # `load_*` of scikit-learn; none of them is fetched
_CLASSES_UP_TO = 50  # different whole numbers in a target that is taken for classes


def table(
    *,
    data: str = "breast_cancer",
    target: str = "",
    hidden: tuple[int, ...] = (32,),
    batch_size: int = 32,
    test: float = 0.2,
    steps: int = 1000,
) -> Task:
    """Return classification, where the target is words or few whole numbers, or else regression.

    Columns of the input are standardised by the training rows; rows with a missing value are dropped; columns of words
    become a column for each word. A target of regression is standardised, too, and its metric is R^2.

    Args:
      data: a set of scikit-learn (breast_cancer, diabetes, digits, iris, wine), or the path of a .csv file with a
        header, or of a .parquet file.
      target: the column of a file that is to be told; the last one by default.
      hidden: widths of the hidden layers; empty for a linear model.
      batch_size: rows a step.
      test: share of the rows to measure on, drawn by a fixed seed; a half as many are held out to tune on.
      steps: updates of a run.

    Raises:
      ValueError: the set is unknown, or the file has no such column or no rows; ImportError: scikit-learn or pyarrow is
        missing.
    """
    x, y, note = _read(data, target)
    classes = _classes(y)
    order = np.random.default_rng(0).permutation(len(x))
    cuts = [round(len(x) * share) for share in (test, 1.5 * test)]
    parts = dict(zip(("test", "validation", "train"), np.split(order, cuts), strict=True))
    x = (x - x[parts["train"]].mean(0)) / np.maximum(x[parts["train"]].std(0), 1e-8)
    if classes is None:
        y = ((y - y[parts["train"]].mean()) / y[parts["train"]].std()).astype(np.float32)
    else:
        y = np.searchsorted(classes, y).astype(np.int32)
    sizes = (x.shape[1], *hidden, 1 if classes is None else len(classes))
    split = {n: {"x": x[rows].astype(np.float32), "y": y[rows]} for n, rows in parts.items()}
    spread = float(np.var(split["test"]["y"])) if classes is None else 1.0

    def loss(params, net_state, batch, *, key, train):
        out = networks.forward(params, batch["x"], jax.nn.relu)
        if classes is None:
            error = jnp.mean((out[:, 0] - batch["y"]) ** 2)
            return error, (net_state, {})
        value = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(out, batch["y"]))
        return value, (net_state, {"accuracy": jnp.mean((jnp.argmax(out, -1) == batch["y"]).astype(jnp.float32))})

    score: dict[str, Any] = {"score": "accuracy"}
    if classes is None:
        score = {"score": "r2", "finish": lambda means: {"r2": 1.0 - means["loss"] / spread}}
    return Task(
        lambda key: (networks.dense(key, sizes, 4.0), {}),
        loss,
        **split,
        batch_size=batch_size,
        steps=steps,
        higher_is_better=True,
        predict=lambda params, net_state, x: networks.forward(params, x, jax.nn.relu),
        note=note,
        **score,
    )


def _classes(y: np.ndarray) -> np.ndarray | None:
    """Return the classes of a target, or None for a number that is to be told."""
    kinds = np.unique(y)
    whole = y.dtype.kind not in "f" or bool((y == np.round(y)).all())
    return kinds if y.dtype.kind in "OUSb" or (whole and len(kinds) <= _CLASSES_UP_TO) else None


def _read(data: str, target: str) -> tuple[np.ndarray, np.ndarray, str]:
    if data in SETS:
        return _of_scikit_learn(data)
    path = Path(data)
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(
            f"data={data!r} is no table. Pass one of {', '.join(SETS)}, or the path of a .csv or .parquet file."
        )
    if not path.is_file():
        raise FileNotFoundError(f"No file {path} in {Path.cwd()}.")
    columns = _csv(path) if path.suffix == ".csv" else _parquet(path)
    names = list(columns)
    chosen = target or names[-1]
    if chosen not in names:
        raise ValueError(f"{path} has no column {chosen!r}. It has: {', '.join(names)}.")
    whole = ~np.any([_missing(column) for column in columns.values()], axis=0)
    if not whole.any():
        raise ValueError(f"{path} has no row without a missing value. Fill them in first, or drop a column.")
    inputs = [part for name in names if name != chosen for part in _numbers(columns[name][whole])]
    dropped = int((~whole).sum())
    note = f"{path.name}" + (f"; {dropped:,} rows with missing values dropped" if dropped else "")
    return np.stack(inputs, axis=1), columns[chosen][whole], note


def _missing(column: np.ndarray) -> np.ndarray:
    return column == "" if column.dtype.kind in "US" else ~np.isfinite(column.astype(float))


def _numbers(column: np.ndarray) -> list[np.ndarray]:
    if column.dtype.kind in "US":
        return [(column == word).astype(float) for word in np.unique(column)]
    return [column.astype(float)]


def _csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    rows = [row for row in rows if row]
    ragged = next((k for k, row in enumerate(rows, 2) if len(row) != len(header)), 0)
    if ragged or not rows:
        where = f"line {ragged} has another number of fields than the header" if ragged else "there are no rows"
        raise ValueError(f"{path}: {where}. Pass a .csv file with a header and rows like it.")
    return {name: _column([row[k].strip() for row in rows]) for k, name in enumerate(header)}


def _column(texts: list[str]) -> np.ndarray:
    try:
        return np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        return np.array(texts)


def _parquet(path: Path) -> dict[str, np.ndarray]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ImportError("A .parquet file needs pyarrow. Install it: pip install 'optaxaccel[tables]'.") from error
    read = parquet.read_table(path)
    columns = {name: read[name].to_pylist() for name in read.column_names}
    return {name: _column(["" if v is None else str(v) for v in values]) for name, values in columns.items()}


def _of_scikit_learn(name: str) -> tuple[np.ndarray, np.ndarray, str]:
    try:
        from sklearn import datasets  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ImportError(
            f"The set {name!r} comes with scikit-learn. Install it: pip install 'optaxaccel[tables]'; or pass data= "
            "the path of a .csv file."
        ) from error
    table = getattr(datasets, f"load_{name}")()
    return np.asarray(table.data, float), np.asarray(table.target), f"{name}, as scikit-learn ships it"
