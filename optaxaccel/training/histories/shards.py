"""Checkpoints in several files: folders as Hugging Face writes them, and the index that says what is where."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Tree = Any
INDEX = ".index.json"
_SHARD = re.compile(r"-\d+-of-\d+\.(safetensors|bin)$")
_WEIGHTS = ("*.safetensors" + INDEX, "*.safetensors", "pytorch_model*.bin" + INDEX, "pytorch_model*.bin")


def is_shard(path: Path) -> bool:
    """Tell whether a file is a part of a checkpoint, by its name."""
    return bool(_SHARD.search(path.name))


def weights_of(folder: Path) -> Path | None:
    """Return the file with the weights in a folder, or their index; None where there is none, or more than one."""
    for pattern in _WEIGHTS:
        paths = [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]
        if paths:
            named = [path for path in paths if path.name.startswith(("model.", "pytorch_model."))]
            chosen = named if len(named) == 1 else [path for path in paths if not is_shard(path)]
            return chosen[0] if len(chosen) == 1 else None
    return None


def read(index: Path, read_one: Callable[[Path], Mapping[str, Any]]) -> Tree:
    """Return the arrays of all files that an index names.

    Raises:
      ValueError: it is no index, names files elsewhere, or a file lacks what it should hold.
      FileNotFoundError: a file is missing.
    """
    content = json.loads(index.read_text())
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise ValueError('it has no "weight_map" of names to files')
    arrays: dict[str, Any] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name or name in ("", ".", ".."):
            raise ValueError(f"it names the file {name!r}, which is not beside it")
        if not (index.parent / name).is_file():
            raise FileNotFoundError(f"the file {name} that it names is missing")
        here = read_one(index.parent / name)
        for array in (array for array, place in places.items() if place == name):
            if array not in here:
                raise ValueError(f"{name} lacks {array!r}")
            arrays[array] = here[array]
    return arrays
