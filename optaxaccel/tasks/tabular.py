"""Tables: classification and regression by a small dense network; real sets of scikit-learn, or your own file."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel.tasks import networks, table_files
from optaxaccel.tasks.table_files import Table
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

    Columns of the input are standardised by the training rows; one that is constant in them is only centred. Columns of
    words become a column for each word. Rows with a missing value are dropped: nothing, NA, N/A, nan, null, ? and -, in
    either case; rows with an infinite number, too. A target of regression is standardised, and its metric is R^2.

    `predict` of the task takes rows as they stand in the file, without the target, and returns the target in its own
    units, or the logits of the classes, which are sorted.

    Args:
      data: a set of scikit-learn (breast_cancer, diabetes, digits, iris, wine), or the path of a .csv file with a
        header, or of a .parquet file.
      target: the column of a file that is to be told; the last one by default.
      hidden: widths of the hidden layers; empty for a linear model.
      batch_size: rows a step.
      test: share of the rows to measure on, drawn by a fixed seed; a half as many are held out to tune on.
      steps: updates of a run.

    Raises:
      ValueError: the set is unknown, an argument is out of range, or the file is no such table; the message says which
        column is at fault and what to do; ImportError: scikit-learn or pyarrow is missing.
    """
    _check(hidden, test)
    rows = _read(data, target)
    x, y, classes = rows.x, rows.y, _classes(rows.y)
    if (y == y[0]).all():
        raise ValueError(f"{data}: the target {rows.target!r} is {y[0]} in every row. Pass target=, another column.")
    order = np.random.default_rng(0).permutation(len(x))
    cuts = [round(len(x) * share) for share in (test, 1.5 * test)]
    parts = dict(zip(("test", "validation", "train"), np.split(order, cuts), strict=True))
    if empty := [name for name, chosen in parts.items() if not len(chosen)]:
        raise ValueError(f"{data} has {len(x):,} rows, too few for test={test}: none are left for {', '.join(empty)}.")
    mean, scale = _standard(x[parts["train"]])
    centre, unit = (0.0, 1.0) if classes is not None else _standard(y[parts["train"]])
    y = (y - centre) / unit if classes is None else np.searchsorted(classes, y)
    y = y.astype(np.float32 if classes is None else np.int32)
    sizes = (x.shape[1], *hidden, 1 if classes is None else len(classes))
    split: dict[str, Any] = {
        n: {"x": ((x[rows] - mean) / scale).astype(np.float32), "y": y[rows]} for n, rows in parts.items()
    }
    if classes is None:  # each row brings the variance of its own part, by which R^2 divides
        for part in split.values():
            part["variance"] = np.full_like(part["y"], np.var(part["y"]) or 1.0)

    def loss(params, net_state, batch, *, key, train):
        out = networks.forward(params, batch["x"], jax.nn.relu)
        if classes is None:
            errors = (out[:, 0] - batch["y"]) ** 2
            return jnp.mean(errors), (net_state, {"r2": 1.0 - jnp.mean(errors / batch["variance"])})
        value = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(out, batch["y"]))
        return value, (net_state, {"accuracy": jnp.mean((jnp.argmax(out, -1) == batch["y"]).astype(jnp.float32))})

    def predict(params, net_state, inputs):
        """Take rows as they stand in the file, and return the target in its own units, or the logits of the classes."""
        numbers = inputs if isinstance(inputs, jax.Array) and not any(rows.words.values()) else rows.encode(inputs)
        standardised = jnp.asarray((numbers - mean) / scale, jnp.float32)
        return networks.forward(params, standardised, jax.nn.relu) * unit + centre

    return Task(
        lambda key: (networks.dense(key, sizes, 4.0), {}),
        loss,
        **split,
        batch_size=batch_size,
        steps=steps,
        higher_is_better=True,
        predict=predict,
        note=rows.note,
        score="r2" if classes is None else "accuracy",
    )


def _check(hidden: Any, test: Any) -> None:
    if not isinstance(hidden, tuple | list) or not all(isinstance(width, int) and width >= 1 for width in hidden):
        raise ValueError(f"hidden={hidden!r}: pass a tuple of widths, such as (32,) or (64, 32), or () for none.")
    if not isinstance(test, float) or not 0.0 < test < 0.6:
        raise ValueError(f"test={test!r}: pass a share between 0 and 0.6, such as 0.2; half as many rows validate.")


def _standard(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (mean, deviation) of each column; 1 for the deviation of one that is constant up to rounding.

    >>> _standard(np.array([[1.0, 0.1], [3.0, 0.1], [5.0, 0.1]]))[1].round(3).tolist()
    [1.633, 1.0]
    """
    deviation = values.std(0)
    return values.mean(0), np.where(deviation > 1e-12 * np.abs(values).max(0), deviation, 1.0)


def _classes(y: np.ndarray) -> np.ndarray | None:
    """Return the classes of a target, or None for a number that is to be told."""
    kinds = np.unique(y)
    whole = y.dtype.kind not in "f" or bool((y == np.round(y)).all())
    return kinds if y.dtype.kind in "OUSb" or (whole and len(kinds) <= _CLASSES_UP_TO) else None


def _read(data: str, target: str) -> Table:
    if data in SETS:
        return _of_scikit_learn(data)
    path = Path(data)
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(
            f"data={data!r} is no table. Pass one of {', '.join(SETS)}, or the path of a .csv or .parquet file."
        )
    if not path.is_file():
        raise FileNotFoundError(f"No file {path} in {Path.cwd()}.")
    return table_files.read(path, target)


def _of_scikit_learn(name: str) -> Table:
    try:
        from sklearn import datasets  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ImportError(
            f"The set {name!r} comes with scikit-learn. Install it: pip install 'optaxaccel[tables]'; or pass data= "
            "the path of a .csv file."
        ) from error
    made = getattr(datasets, f"load_{name}")()
    words = {str(column): () for column in made.feature_names}
    return Table(np.asarray(made.data, float), np.asarray(made.target), f"{name}, as scikit-learn ships it", "", words)
