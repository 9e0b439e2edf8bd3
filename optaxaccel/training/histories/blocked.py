"""Sums over arrays that are too large for memory, a block of entries at a time.

An array is one leaf of all checkpoints: flat rows, oldest first, in memory that is a file. The processor's cache holds
all rows of a block, so every row is read once; sections of many blocks are spread over threads, since NumPy lets go of
Python's lock while it computes.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from optaxaccel.methods import given_history
from optaxaccel.training import cores

ENTRIES = 10 << 13  # of all rows of a block; OpenBLAS begins threads of its own for more, which makes it much slower
PRODUCTS = 1 << 18  # multiplications of one matrix product up to which OpenBLAS begins none, either
SECTION = 1 << 17  # entries of a row that a thread takes at once
THREADS = 8  # at most
_LOOK = 1 << 18  # entries looked at together where only one row counts
_LINE = 64  # bytes of a line of a cache

Rows = Sequence[np.ndarray]


def gram(rows: Rows, tick: Callable[[int], None] = lambda count: None) -> np.ndarray:
    """Return the inner products of successive differences, in double precision; not finite where the rows are not.

    Differences of single precision are taken in single precision, as everywhere else here, and are then exact factors.
    `tick` takes the number of bytes that were read.
    """
    rows = [_real(row) for row in rows]
    number, dtype = len(rows) - 1, _work(rows[-1].dtype)
    part = max(64, PRODUCTS // max(1, number * number) // 64 * 64)
    block = part * max(1, _length(len(rows)) // part)

    def section(start: int, stop: int) -> np.ndarray:
        differences = _apart((number, block), dtype)
        factors = differences if dtype == np.float64 else _apart((number, block), np.dtype(np.float64))
        parts = factors.reshape(number, -1, part).transpose(1, 0, 2)
        others = parts[:, 1:].transpose(0, 2, 1)  # of a matrix times itself BLAS makes half, in twice the time
        products = np.zeros((number, number))
        with np.errstate(all="ignore"):
            for first in range(start, stop, block):
                size = min(block, stop - first)
                blocks = [row[first : first + size].astype(dtype, copy=False) for row in rows]
                for k in range(number):
                    np.subtract(blocks[k + 1], blocks[k], out=differences[k, :size])
                if factors is not differences:
                    factors[:, :size] = differences[:, :size]
                factors[:, size:] = 0.0
                products[:, 1:] += (parts @ others).sum(0)
                products[0, 0] += factors[0] @ factors[0]
        return products

    total = np.zeros((number, number))
    for start, products in _spread(section, rows[-1].size):
        total += products
        tick(rows[-1][start : start + SECTION].nbytes * len(rows))
    total[1:, 0] = total[0, 1:]
    return (total + total.T) / 2


def combine(rows: Rows, weights: np.ndarray, bounded: bool = False) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield successive pieces of x_K + sum_k weights[k] (x_k - x_K), in the dtype of the rows, x_K being the last.

    Beside each stands whether it is finite. `bounded`, no entry leaves the range that it has in the rows.
    """
    dtype_of_rows, rows = rows[-1].dtype, [_real(row) for row in rows]
    dtype = _work(rows[-1].dtype)
    used = [k for k in range(len(rows) - 1) if weights[k] != 0]
    factors = weights[used].astype(dtype)

    def section(start: int, stop: int) -> tuple[np.ndarray, bool]:
        block, pieces = _length(len(rows)), np.empty(stop - start, rows[-1].dtype)
        differences = np.empty((len(used), block), dtype)
        with np.errstate(all="ignore"):
            for first in range(start, stop, block):
                place = slice(first, min(first + block, stop))
                newest = rows[-1][place].astype(dtype, copy=False)
                for row, k in enumerate(used):
                    older = rows[k][place].astype(dtype, copy=False)
                    np.subtract(older, newest, out=differences[row, : newest.size])
                merged = factors @ differences[:, : newest.size] + newest if used else newest
                if bounded:
                    others = np.stack([row[place].astype(dtype, copy=False) for row in rows])
                    merged = np.clip(merged, others.min(0), others.max(0))
                pieces[first - start : first - start + newest.size] = merged
        return pieces.view(dtype_of_rows), bool(np.isfinite(pieces).all())

    for _, piece in _spread(section, rows[-1].size):
        yield piece


def not_finite(row: np.ndarray) -> str:
    """Say what is not finite in a row, or too large; "" where nothing is."""
    return next(filter(None, map(given_history.not_finite, pieces(row))), "")


def equal(row: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two rows are the same."""
    return all(map(np.array_equal, pieces(row), pieces(other)))


def pieces(row: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a row piece by piece."""
    yield from (row[start : start + _LOOK] for start in range(0, row.size, _LOOK))


def _spread(section: Callable[[int, int], Any], size: int) -> Iterator[tuple[int, Any]]:
    """Yield what a function makes of successive sections, in their order; threads are a few sections ahead."""
    if size <= SECTION:
        if size:
            yield 0, section(0, size)
        return
    count = min(THREADS, cores.available_cores())
    ahead: deque[tuple[int, Any]] = deque()
    with ThreadPoolExecutor(count) as pool:
        for start in range(0, size, SECTION):
            ahead.append((start, pool.submit(section, start, min(start + SECTION, size))))
            if len(ahead) > 2 * count:
                offset, future = ahead.popleft()
                yield offset, future.result()
        for offset, future in ahead:
            yield offset, future.result()


def _apart(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Return an empty matrix whose rows do not begin at the same place of a page: a cache would hold few of them."""
    return np.empty((shape[0], shape[1] + _LINE // dtype.itemsize), dtype)[:, : shape[1]]


def _length(rows: int) -> int:
    """Return the number of entries of a block."""
    return max(256, ENTRIES // max(1, rows - 1) // 256 * 256)


def _real(row: np.ndarray) -> np.ndarray:
    return row.view(f"f{row.dtype.itemsize // 2}") if row.dtype.kind == "c" else row


def _work(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)
