"""PyTorch files, where PyTorch is installed: read by its `weights_only` reader, which runs nothing of a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

Tree = Any


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


def read(path: Path) -> Tree:
    """Return what a file holds, with NumPy arrays for tensors.

    Raises:
      Exception: of PyTorch, for a file that holds more than tensors, numbers, texts and containers of them.
    """
    torch = require(path)
    return _to_numpy(torch, torch.load(path, map_location="cpu", weights_only=True))


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
    tensor = node.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _to_torch(torch: Any, node: Tree) -> Any:
    if isinstance(node, Mapping):
        return {key: _to_torch(torch, child) for key, child in node.items()}
    if isinstance(node, list):
        return [_to_torch(torch, child) for child in node]
    if not isinstance(node, (np.ndarray, np.generic)):
        return node
    array = np.array(node, order="C")
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
