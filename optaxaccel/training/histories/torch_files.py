"""PyTorch files, where PyTorch is installed: read by its `weights_only` reader, which runs nothing of a file."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

Tree = Any
_NUMBERS = {  # numbers that NumPy has no name for: of PyTorch's, as integers of its own; of ml_dtypes
    "bfloat16": (np.int16, ml_dtypes.bfloat16),
    "float8_e4m3fn": (np.uint8, ml_dtypes.float8_e4m3fn),
    "float8_e5m2": (np.uint8, ml_dtypes.float8_e5m2),
}


def require(path: Path) -> Any:
    """Return the module.

    Raises:
      ValueError: it is not installed.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"{path} is a PyTorch file, which only PyTorch reads without unpickling whatever it holds, and it is not "
            "installed here. Call pip install torch, or save the weights as safetensors: "
            "safetensors.torch.save_file(model.state_dict(), path)."
        ) from error
    return torch


def read(path: Path, *, in_place: bool = False) -> Tree:
    """Return what a file holds, with NumPy arrays for tensors; `in_place`, in memory that is the file.

    Raises:
      ValueError: it holds more than dense tensors, numbers, texts and containers of them.
      Exception: of PyTorch, for a file that is damaged.
    """
    torch = require(path)
    try:
        with warnings.catch_warnings():  # on how PyTorch looks at sparse tensors, which are refused anyway
            warnings.simplefilter("ignore", UserWarning)
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=in_place)
        return _to_numpy(torch, loaded)
    except pickle.UnpicklingError as error:
        raise ValueError(
            "it holds more than tensors, a whole module perhaps, and reading that would run whatever the file says. "
            "Save the weights alone: torch.save(model.state_dict(), path)"
        ) from error


def mapped(path: Path) -> Tree:
    """Return what a file holds, with arrays in memory that is the file, where it is of the kind that can be mapped."""
    with open(path, "rb") as file:
        return read(path, in_place=file.read(2) == b"PK")


def write(path: Path, tree: Tree) -> None:
    """Write a tree of NumPy arrays as one of tensors."""
    torch = require(path)
    torch.save(_to_torch(torch, tree), path)


def _to_numpy(torch: Any, node: Any) -> Tree:
    if isinstance(node, Mapping):
        return {key: _to_numpy(torch, child) for key, child in node.items()}
    if isinstance(node, (list, tuple)):
        return [_to_numpy(torch, child) for child in node]
    if not isinstance(node, torch.Tensor):
        return node
    if node.layout != torch.strided or node.is_quantized:
        raise ValueError(f"it holds a tensor that is no plain array ({node.layout}). Save tensor.to_dense()")
    tensor = node.detach().resolve_conj().resolve_neg().contiguous()
    integers, numbers = _NUMBERS.get(str(tensor.dtype).removeprefix("torch."), (None, None))
    if integers is None:
        return tensor.numpy()
    return tensor.view(getattr(torch, np.dtype(integers).name)).numpy().view(numbers)


def _to_torch(torch: Any, node: Tree) -> Any:
    if isinstance(node, Mapping):
        return {key: _to_torch(torch, child) for key, child in node.items()}
    if isinstance(node, list):
        return [_to_torch(torch, child) for child in node]
    if not isinstance(node, (np.ndarray, np.generic)):
        return node
    array = np.array(node, order="C")
    for name, (integers, numbers) in _NUMBERS.items():
        if array.dtype == numbers:
            return torch.from_numpy(array.view(integers)).view(getattr(torch, name))
    return torch.from_numpy(array)
