"""Files of tables as numbers: what is missing, which columns are words, and what is refused with the remedy."""

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

WORDS_UP_TO = 50  # different words of a column that may have another one in every second row
_MISSING = ("", "?", "-", "na", "n/a", "#n/a", "<na>", "nan", "null")  # in lower case
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?)", re.IGNORECASE | re.ASCII)
_PLAIN = re.compile(r"u?int\d|half|float|double|decimal|bool|null|(dictionary<values=)?(large_)?string")  # of pyarrow
_INDEX = re.compile(r"__index_level_\d+__")  # what pandas calls an index without a name, at the end of a .parquet file
_WITH_COMMA = re.compile(r"[+-]?\d[\d.]*(,\d+)+(\.\d+)?")


class Table(NamedTuple):
    """Rows without a missing value.

    Attributes:
      x: float64 [rows, inputs]; a column of words has become one of 0 and 1 for each word.
      y: the target, numbers or words.
      note: what a reader of results should know.
      target: the column that `y` is.
      words: the columns of the input in their order, each with its words; () for numbers.
    """

    x: np.ndarray
    y: np.ndarray
    note: str
    target: str
    words: Mapping[str, tuple[str, ...]]

    def encode(self, rows: Any) -> np.ndarray:
        """Return rows as the file has them, without the target, in the form of `x`.

        Raises:
          ValueError: they have other columns, or a word that the file has not.

        Example:
          >>> table = Table(np.zeros((0, 3)), np.zeros(0), "", "y", {"size": (), "colour": ("blue", "red")})
          >>> table.encode([[2.5, "red"]]).tolist()
          [[2.5, 0.0, 1.0]]
        """
        columns = np.asarray(rows, object)
        if columns.ndim != 2 or columns.shape[1] != len(self.words):
            raise ValueError(
                f"the rows are an array of shape {columns.shape}. Pass rows of {len(self.words)} columns as they "
                f"stand in the file, not standardised: {_few(self.words)}."
            )
        return np.concatenate([self._encoded(*pair) for pair in zip(columns.T, self.words, strict=True)], axis=1)

    def _encoded(self, column: np.ndarray, name: str) -> np.ndarray:
        words = self.words[name]
        if not words:
            return column.astype(float)[:, None]
        texts = column if column.dtype.kind == "U" else np.array([str(value).strip() for value in column])
        if strange := sorted(set(texts.tolist()) - set(words)):
            raise ValueError(f"column {name!r} has no word {_few(map(repr, strange))}. It has: {_few(words)}.")
        return np.stack([texts == word for word in words], axis=1).astype(float)


def read(path: Path, target: str) -> Table:
    """Return the table of a .csv file with a header, or of a .parquet file.

    Args:
      path: the file.
      target: a column; "" for the last one.

    Raises:
      ValueError: it cannot be read, or a column can be neither numbers nor words; ImportError: pyarrow is missing.
    """
    names, texts = _csv(path) if path.suffix == ".csv" else _parquet(path)
    if "" in names:
        raise ValueError(
            f"{path}: column {names.index('') + 1} has no name, as the index of a DataFrame has none. Write the file "
            "without it, table.to_csv(path, index=False), or give it a name."
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} has two columns {_few(map(repr, twice))}. Give each a name of its own.")
    if len(names) < 2:
        has = f"one column, {names[0]!r}" if names else "no column"
        raise ValueError(f"{path} has {has}. A table has inputs and a target: two columns or more.")
    chosen = target or names[-1]
    if chosen not in names:
        raise ValueError(f"{path} has no column {chosen!r}. It has: {', '.join(names)}.")
    columns = {name: _column(path, name, values) for name, values in zip(names, texts, strict=True)}
    gaps = {
        name: column == "" if column.dtype.kind == "U" else ~np.isfinite(column) for name, column in columns.items()
    }
    whole = ~np.any(list(gaps.values()), axis=0)
    infinite = any(column.dtype.kind == "f" and np.isinf(column).any() for column in columns.values())
    if not whole.any():
        worst = max(gaps, key=lambda name: gaps[name].sum())
        raise ValueError(
            f"{path} has no row without a missing value ({worst!r} lacks most: {gaps[worst].sum():,} of "
            f"{len(whole):,}). Fill them in first, or drop a column."
        )
    columns = {name: column[whole] for name, column in columns.items()}
    words = {name: _words(path, name, column) for name, column in columns.items()}
    y, _ = columns.pop(chosen), words.pop(chosen)
    dropped = int((~whole).sum())
    kind = "missing or infinite" if infinite else "missing"
    note = f"{path.name}" + (f"; {dropped:,} rows with {kind} values dropped" if dropped else "")
    table = Table(np.zeros(0), y, note, chosen, words)
    return table._replace(x=np.concatenate([table._encoded(columns[name], name) for name in words], axis=1))


def _column(path: Path, name: str, texts: list[str]) -> np.ndarray:
    """Return a column as numbers, NaN where one is missing, or as words, "" where one is.

    Raises:
      ValueError: it is numbers with a few words, or with commas.
    """
    texts = ["" if text.lower() in _MISSING else text for text in texts]
    others = [text for text in texts if text and not _NUMBER.fullmatch(text)]
    if not others:
        return np.array([float(text) if text else np.nan for text in texts])
    commas = sum(_WITH_COMMA.fullmatch(text) is not None for text in others)
    there = sum(map(bool, texts))
    if 2 * (there - len(others) + commas) < there:
        return np.array(texts)
    strange = _few(map(repr, dict.fromkeys(others)))
    remedy = (
        "Write them without signs between thousands and with a decimal point: 1234.5."
        if commas == len(others)
        else "Mend them, or leave them empty, so that their rows are dropped; where the numbers are names of kinds, "
        "write all as words: 'kind 3'."
    )
    raise ValueError(f"{path}: column {name!r} holds numbers, and {len(others):,} that are none: {strange}. {remedy}")


def _words(path: Path, name: str, column: np.ndarray) -> tuple[str, ...]:
    """Return the words of a column; () where it is numbers."""
    if column.dtype.kind != "U":
        return ()
    words = np.unique(column)
    if len(words) > WORDS_UP_TO and 2 * len(words) > len(column):
        raise ValueError(
            f"{path}: column {name!r} has {len(words):,} different words in {len(column):,} rows, such as "
            f"{_few(map(repr, words.tolist()))}, and each would be an input or a class. Leave the column out, or make "
            "numbers of it: of a date the days since the first, say."
        )
    return tuple(words.tolist())


def _csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns, and what stands in each."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, [text.strip() for text in row]) for row in reader if row]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not in UTF-8 ({error}). Save it in UTF-8: text = open(path, encoding='latin-1').read(), then "
            "open(path, 'w', encoding='utf-8').write(text)."
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path} is no .csv file ({error}). Pass one with a header and rows like it.") from error
    if not rows:
        raise ValueError(f"{path} is empty. Pass a .csv file with a header and rows like it.")
    (_, header), *rows = rows
    other = next((sign for sign in ";\t|" if len(header) == 1 and sign in header[0]), "")
    if other:
        raise ValueError(
            f"{path}: its header has no comma, but {other!r}. Separate fields by commas, and write a decimal "
            f"point in numbers: pandas.read_csv(path, sep={other!r}).to_csv(path, index=False)."
        )
    ragged = next((line for line, row in rows if len(row) != len(header)), 0)
    if ragged or not rows:
        where = f"line {ragged} has another number of fields than the header" if ragged else "there are no rows"
        raise ValueError(f"{path}: {where}. Pass a .csv file with a header and rows like it.")
    return header, [[row[k] for _, row in rows] for k in range(len(header))]


def _parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ImportError("A .parquet file needs pyarrow. Install it: pip install 'optaxaccel[tables]'.") from error
    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} is damaged or no .parquet file ({error}). Write it again.") from error
    table = table.drop_columns([name for name in table.column_names if _INDEX.fullmatch(name)])
    if not table.num_rows:
        raise ValueError(f"{path}: there are no rows.")
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if not _PLAIN.match(str(kind)):
            raise ValueError(
                f"{path}: column {name!r} holds {kind}, neither numbers nor words. Leave the column out, or make "
                "numbers of it: of dates the days since the first, (t - t.min()).dt.days."
            )
    columns = [
        ["" if value is None else str(value).strip() for value in column.to_pylist()] for column in table.columns
    ]
    return table.column_names, columns


def _few(words: Iterable[str]) -> str:
    words = list(words)
    return ", ".join(words[:5]) + (f" and {len(words) - 5:,} more" if len(words) > 5 else "")
