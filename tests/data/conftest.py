"""A small set in TFDS's own format; the real sets, where they are; a cache of each test's own."""

import os
from pathlib import Path

import pytest

from .sets import write_set

REAL = Path(os.environ.get("TFDS_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data" / "tfds")


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("OPTAXACCEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


@pytest.fixture
def real_data():
    """Return a function that gives the folder of real sets, or skips where one of them is not there."""

    def need(*names):
        for name in names:
            if not list((REAL / name).glob("*/dataset_info.json")):
                pytest.skip(f"{name} is not prepared in {REAL}: set TFDS_DATA_DIR to where it is")
        return REAL

    return need


@pytest.fixture
def prepared_set(tmp_path):
    """Return a function that writes a set of random images as TFDS would, and returns its folder."""
    return lambda name="tiny", **options: write_set(tmp_path / "tfds", name, **options)
