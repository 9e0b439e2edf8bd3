"""Measurements kept by columns: a quarter of the memory of dictionaries, one of which is made when it is looked at."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Row = dict[str, Any]
Names = tuple[str, ...]


class Alike(NamedTuple):
    """Rows of one kind with the same names.

    Attributes:
      places: where they are among all rows.
      columns: their entries, by name; arrays where all are numbers of one type.
    """

    places: list[int]
    columns: dict[str, array | list]


def alike(rows: Sequence[Row]) -> dict[tuple[str, Names], Alike]:
    """Return rows by kind and names."""
    places: dict[tuple[str, Names], list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault((row["kind"], tuple(row)), []).append(place)
    by_kind = {}
    for key, members in places.items():
        columns = zip(*(rows[place].values() for place in members), strict=True)
        by_kind[key] = Alike(members, dict(zip(key[1], map(_packed, columns), strict=True)))
    return by_kind


class Rows(Sequence):
    """Rows in order, each made anew when it is looked at.

    Example:
      >>> rows = Rows()
      >>> rows.extend(alike([{"kind": "train", "step": 1}, {"kind": "eval", "step": 1}, {"kind": "train", "step": 2}]))
      >>> len(rows), rows[2], rows.of("train").column("step").tolist()
      (3, {'kind': 'train', 'step': 2}, [1, 2])
    """

    def __init__(self) -> None:
        """Begin without rows."""
        self._blocks: dict[tuple[str, Names], int] = {}
        self._columns: list[dict[str, array | list]] = []
        self._where = np.zeros((0, 2), np.int32)  # of every row: its block, and its place in there

    def extend(self, by_kind: Mapping[tuple[str, Names], Alike]) -> None:
        """Append rows."""
        if not by_kind:
            return
        where = np.zeros((sum(len(rows.places) for rows in by_kind.values()), 2), np.int32)
        order = np.sort(np.concatenate([np.array(rows.places, np.int64) for rows in by_kind.values()]))
        for key, rows in by_kind.items():
            block = self._blocks.setdefault(key, len(self._blocks))
            if block == len(self._columns):
                self._columns.append({name: [] for name in key[1]})
            columns = self._columns[block]
            first = len(next(iter(columns.values())))
            places = np.searchsorted(order, rows.places)
            where[places, 0], where[places, 1] = block, first + np.arange(len(places))
            for name, column in rows.columns.items():
                columns[name] = _joined(columns[name], column)
        self._where = np.concatenate([self._where, where])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._where)

    def __getitem__(self, place: Any) -> Any:
        """Return a row, or a list of rows."""
        if isinstance(place, slice):
            return [self[k] for k in range(*place.indices(len(self)))]
        block, at = self._where[place]
        return {name: column[at] for name, column in self._columns[block].items()}

    def of(self, kind: str | None) -> "Rows":
        """Return the rows of a kind, or of all."""
        return self._among(block for (its, _), block in self._blocks.items() if kind in (its, None))

    def having(self, name: str) -> "Rows":
        """Return the rows with a field of this name."""
        return self._among(block for (_, names), block in self._blocks.items() if name in names)

    def _among(self, blocks: Iterable[int]) -> "Rows":
        rows = Rows()
        rows._blocks, rows._columns = self._blocks, self._columns
        rows._where = self._where[np.isin(self._where[:, 0], list(blocks))]
        return rows

    def column(self, name: str) -> np.ndarray:
        """Return a field of all rows: numbers of one type as such, anything else as objects.

        Raises:
          KeyError: a row has no field of this name.
        """
        parts = [(self._where[:, 0] == block, self._columns[block][name]) for block in np.unique(self._where[:, 0])]
        codes = {column.typecode if isinstance(column, array) else "O" for _, column in parts}
        entries = np.zeros(len(self), codes.pop() if len(codes) == 1 else object)
        for mine, column in parts:
            values = np.asarray(column) if isinstance(column, array) else _objects(column)
            entries[mine] = values[self._where[mine, 1]]
        return entries


def _objects(values: Sequence[Any]) -> np.ndarray:
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects


def _packed(column: Sequence[Any]) -> array | list:
    """Return a column with eight bytes an entry where all are numbers of one type, which come back as they are."""
    types = set(map(type, column))
    if types == {float}:
        return array("d", column)
    if types == {int} and min(column) >= -(2**63) and max(column) < 2**63:
        return array("q", column)
    known: dict[str, str] = {}  # a text that is in every row is kept once
    if types == {str}:
        return list(map(known.setdefault, column, column))
    return [known.setdefault(value, value) if type(value) is str else value for value in column]


def _joined(old: array | list, new: array | list) -> array | list:
    if not old:
        return new
    if isinstance(old, array) and not (isinstance(new, array) and new.typecode == old.typecode):
        old = list(old)
    old.extend(new)
    return old
