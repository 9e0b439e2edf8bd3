"""Files of PyTorch: read without running what they hold, refused where it is absent."""

import sys
import types

import ml_dtypes
import numpy as np
import pytest

from optaxaccel import cli
from optaxaccel.training.histories import formats
from optaxaccel.training.histories.offline import extrapolate_folder


def weights(k):
    return {"model.a.weight": 1 + np.array([[0.9**k, 0.5**k]], np.float32), "head.bias": np.float32([2 - 0.9**k])}


def test_without_pytorch_its_files_are_refused_with_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for k in range(3):
        (tmp_path / f"epoch={k}-step={10 * k}.ckpt").write_bytes(b"PK")
    assert cli.run(["extrapolate", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "pip install torch" in error
    assert "safetensors" in error


class Tensor:
    """Stands for PyTorch's tensor as far as it is used."""

    def __init__(self, array, dtype="float32"):
        self.array, self.dtype = array, dtype

    def detach(self):
        return self

    contiguous = detach

    def numpy(self):
        return self.array

    def view(self, dtype):
        return Tensor(self.array.view(np.int16), dtype)


def test_pytorch_reads_weights_only(tmp_path, monkeypatch):
    """The reader that runs nothing is asked for; with PyTorch itself the next test reads its files."""
    asked = []

    def load(path, **options):
        asked.append(options)
        k = int(path.stem)
        half = (1 + np.float32([0.5**k])).astype(ml_dtypes.bfloat16)
        return {"state_dict": {"w": Tensor(weights(k)["model.a.weight"]), "half": Tensor(half, "bf16")}, "epoch": k}

    fake = types.SimpleNamespace(Tensor=Tensor, load=load, bfloat16="bf16", int16="i16")
    monkeypatch.setitem(sys.modules, "torch", fake)
    for k in range(4):
        (tmp_path / f"{k}.pt").write_bytes(b"PK")
    out = tmp_path / "extrapolated.npz"
    extrapolate_folder(tmp_path, regularization=1e-6, params="state_dict", out=out)
    found = formats.NPZ.read(out)["state_dict"]
    np.testing.assert_allclose(found["w"], [[1.0, 1.0]], atol=0.1)
    assert found["half"].dtype == ml_dtypes.bfloat16
    assert {options["weights_only"] for options in asked} == {True}


def test_files_of_pytorch_itself(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is optional, and not installed here")
    for k in range(4):
        state = {name: torch.from_numpy(array) for name, array in weights(k).items()}
        torch.save({**state, "half.weight": state["head.bias"].bfloat16()}, tmp_path / f"{k}.pt")
    done = extrapolate_folder(tmp_path, regularization=1e-6)
    found = torch.load(done.path, weights_only=True)
    assert found["half.weight"].dtype == torch.bfloat16
    np.testing.assert_allclose(found["model.a.weight"].numpy(), [[1.0, 1.0]], atol=0.1)
