"""A history that stays in its files: weights and results from blocks of all checkpoints at once.

Where an array cannot be mapped (it is compressed, or lies in pieces) all checkpoints' copies of it are written to a
folder beside the result first, one array at a time, and removed before the next one.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel.methods import leaf_kinds
from optaxaccel.numerics import least_squares
from optaxaccel.training.histories import blocked, layout
from optaxaccel.training.histories.deferred import Deferred
from optaxaccel.training.histories.in_memory import Point
from optaxaccel.training.histories.newest_checkpoints import Read

Tree = Any
Names = layout.Names
Tick = Callable[[int], None]


class NotFiniteError(Exception):
    """A checkpoint is not finite: its number in the history, and what is wrong with it."""


class Streamed:
    """Checkpoints as they lie in their files.

    Attributes:
      read: the checkpoints, mapped; `kept` grows by what turns out to hold an infinity that never changes.
      folder: for what cannot be mapped.
      tick: takes the number of bytes that were read.
    """

    def __init__(self, read: Read, folder: Path, tick: Tick):
        """Keep what the methods share."""
        self.read, self.folder, self.tick = read, folder, tick
        self.kinds = layout.kinds(read.history[-1])
        self._gram: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Bytes of all checkpoints."""
        return sum(_bytes(leaf) for leaves in self.read.history for leaf in leaves.values())

    def extrapolation(self, strength: float, relative: bool) -> np.ndarray:
        """Return the weights of an extrapolation, one a difference."""
        if self._gram is None:
            self._gram = self._products()
        values, vectors = np.linalg.eigh(self._gram)
        with jax.enable_x64(True):
            small = jnp.asarray(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)
            return np.asarray(least_squares.solve(small, jnp.ones(len(values)), strength, relative))

    def tree(self, point: Point) -> Tree:
        """Return the merged tree, in memory."""

        def merged(names: Names) -> Any:
            newest = self.read.history[-1][names]
            if not layout.is_array(newest):
                return newest
            pieces = list(self.blocks(names, point.weights))
            return np.concatenate(pieces).reshape(np.shape(newest)) if pieces else np.asarray(newest)

        return layout.without(layout.mapped(self.read.newest, merged), self.read.places[0][:-1])

    def blocks(self, names: Names, weights: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the merged entries of one array, block by block."""
        rows = list(self._rows(names, 1))
        if self.kinds[names] == leaf_kinds.NEWEST or names in self.read.kept:
            self.tick(rows[-1].nbytes)
            yield from blocked.pieces(rows[-1])
            return
        rows, done = [*self._rows(names, None), *rows], 0
        bounded = self.kinds[names] == leaf_kinds.VARIANCE and rows[-1].dtype.kind != "c"
        for block, finite in blocked.combine(rows, weights, bounded):
            if not finite:
                self._look_at(names, rows, sure=True)
            kept = names in self.read.kept  # it never changes, so the pieces before were the newest's, too
            self.tick(block.nbytes * len(rows))
            yield rows[-1][done : done + block.size] if kept else block
            done += block.size

    def _products(self) -> np.ndarray:
        """Return the inner products of the differences of all weights."""
        total = np.zeros((len(self.read.history) - 1,) * 2)
        for names, kind in self.kinds.items():
            if kind == leaf_kinds.NEWEST or names in self.read.kept:
                continue
            rows = [*self._rows(names, None), *self._rows(names, 1)]
            part = blocked.gram(rows, self.tick) if kind == leaf_kinds.WEIGHT else np.full_like(total, np.nan)
            if np.all(np.isfinite(part)):
                total += part
            else:
                self._look_at(names, rows)
        return total

    def _look_at(self, names: Names, rows: list[np.ndarray], sure: bool = False) -> None:
        """Keep an array whose infinities never change; raise an error for other trouble, and if `sure` for none."""
        trouble = blocked.not_finite(rows[-1])
        if trouble and "NaN" not in trouble and all(blocked.equal(rows[-1], row) for row in rows[:-1]):
            self.read.kept.add(names)
        else:
            self._refuse(names, rows, sure)

    def _refuse(self, names: Names, rows: list[np.ndarray], sure: bool) -> None:
        """Raise NotFiniteError for the newest of the checkpoints that is not finite; if `sure`, one of them is not."""
        for number in reversed(range(len(rows))):
            trouble = blocked.not_finite(rows[number])
            if trouble:
                raise NotFiniteError(number, f"{'/'.join(names) or 'the array'} {trouble}")
        if sure:
            raise ValueError(
                f"{'/'.join(names)} overflows {rows[-1].dtype} where the checkpoints are merged, though all of them "
                "are finite. Pass a larger --regularization 1e-4, or checkpoints in float32."
            )

    def _rows(self, names: Names, last: int | None) -> Iterator[np.ndarray]:
        """Yield an array of the last checkpoint, or of all before it (None), flat."""
        for leaves in self.read.history[-1:] if last else self.read.history[:-1]:
            leaf = leaves[names]
            array = leaf.load() if isinstance(leaf, Deferred) else np.asarray(leaf)
            if array.nbytes and (isinstance(leaf, Deferred) or not array.flags.c_contiguous):
                array = in_a_file(self.folder, [array])
            yield array.reshape(-1)


def in_a_file(folder: Path, pieces: Iterable[np.ndarray]) -> np.ndarray:
    """Return pieces of one array in memory that is a file without a name, which is gone with the array."""
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in pieces:
            piece.tofile(file)
        file.flush()
        return np.memmap(file, piece.dtype, "r", shape=(file.tell() // piece.dtype.itemsize,))


def _bytes(leaf: Any) -> int:
    return leaf.size * np.dtype(leaf.dtype).itemsize if hasattr(leaf, "dtype") else 0
