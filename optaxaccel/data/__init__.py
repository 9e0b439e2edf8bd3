"""Data sets by name: the registry, arrays of images, the order of an epoch, augmentation inside the compiled step."""

import importlib
from typing import TYPE_CHECKING, Any

from optaxaccel.data.image_sets import Dataset, Images, card_of, check, contents_key, load, normalisation
from optaxaccel.data.sets import DATASETS, DataCard

if TYPE_CHECKING:
    from optaxaccel.data.augment import prepare
    from optaxaccel.data.order_of_epochs import epoch_order

__all__ = [
    "DATASETS",
    "DataCard",
    "Dataset",
    "Images",
    "card_of",
    "check",
    "contents_key",
    "epoch_order",
    "load",
    "normalisation",
    "prepare",
]

# These two need jax, which the command line must not load in order to name the data sets.
_LATE = {"epoch_order": "optaxaccel.data.order_of_epochs", "prepare": "optaxaccel.data.augment"}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'optaxaccel.data' has no attribute {name!r}. It has: {', '.join(__all__)}.")
