"""What the arrays in an `.npz` file are, from their headers alone: nothing is decompressed but a few hundred bytes."""

import math
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Header(NamedTuple):
    """Shape and dtype of one array."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """Size of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def read(path: Path) -> dict[str, Header]:
    """Return the headers of all arrays by name.

    Raises:
      ValueError: a file in the archive is no array, holds objects, or is not as long as its header says.
      zipfile.BadZipFile: it is no archive.
    """
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name in headers:
                raise ValueError(f"it holds two arrays called {name!r}")
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, _, dtype = read_header.get(version, np.lib.format.read_array_header_2_0)(file)
                header, data_offset = Header(tuple(shape), dtype), file.tell()
            if dtype.hasobject:
                raise ValueError(f"{name!r}: Object arrays are pickled, and nothing is unpickled here")
            if min(shape, default=0) < 0 or data_offset + header.bytes != member.file_size:
                raise ValueError(
                    f"{name!r} would be {dtype} {tuple(shape)}, {header.bytes:,} bytes, and there are "
                    f"{member.file_size - data_offset:,}"
                )
            headers[name] = header
    return headers


def memory() -> int:
    """Return the bytes of memory that this machine has, as far as it tells."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return 1 << 40
