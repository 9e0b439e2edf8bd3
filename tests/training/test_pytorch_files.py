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


def test_without_pytorch_its_files_are_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # the command line's parser would trip over this: not through it
    for k in range(3):
        (tmp_path / f"epoch={k}-step={10 * k}.ckpt").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"pip install torch, or .*safetensors"):
        extrapolate_folder(tmp_path)


class Tensor:
    """Stands for PyTorch's tensor as far as it is used."""

    layout, is_quantized = "strided", False

    def __init__(self, array, dtype="torch.float32"):
        self.array, self.dtype = array, dtype

    def detach(self):
        return self

    contiguous = resolve_conj = resolve_neg = detach

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
        half = Tensor((1 + np.float32([0.5**k])).astype(ml_dtypes.bfloat16), "torch.bfloat16")
        return {"state_dict": {"w": Tensor(weights(k)["model.a.weight"]), "half": half}, "epoch": k}

    fake = types.SimpleNamespace(Tensor=Tensor, load=load, int16="torch.int16", strided="strided")
    monkeypatch.setitem(sys.modules, "torch", fake)
    for k in range(4):
        (tmp_path / f"{k}.pt").write_bytes(b"PK")
    out = tmp_path / "extrapolated.npz"
    extrapolate_folder(tmp_path, regularization=1e-6, params="state_dict", out=out)
    written = formats.NPZ.read(out)["state_dict"]
    np.testing.assert_allclose(written["w"], [[1.0, 1.0]], atol=0.1)
    assert written["half"].dtype == ml_dtypes.bfloat16
    assert {options["weights_only"] for options in asked} == {True}


# --- PyTorch itself ---------------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is optional, and not installed here")


def save(torch, folder, content, steps=6):
    """Write content(model, optimizer, k) of each epoch of a short training; return the last model and the data."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = torch.randn(32, 3), torch.randn(32, 2)
    for k in range(steps):
        for _ in range(10):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        torch.save(content(model, optimizer, k), folder / f"epoch_{k}.pt")
    return model, x, y


def test_a_network_with_batch_norm_goes_in_and_out(torch, tmp_path):
    """The checkpoints are combined with the weights that the note names, counters and dtypes stay."""
    model, x, y = save(torch, tmp_path, lambda model, optimizer, k: model.state_dict())
    done = extrapolate_folder(tmp_path, regularization=1e-3)
    extrapolated, last = torch.load(done.path, weights_only=True), model.state_dict()
    assert {name: (t.dtype, t.shape) for name, t in extrapolated.items()} == {
        n: (t.dtype, t.shape) for n, t in last.items()
    }
    assert extrapolated["1.num_batches_tracked"] == last["1.num_batches_tracked"] == 60
    history = [torch.load(tmp_path / name, weights_only=True)["2.weight"] for name in done.names[1:]]
    want = sum(weight * tensor.double() for weight, tensor in zip(done.weights, history, strict=True))
    np.testing.assert_allclose(extrapolated["2.weight"], want, atol=1e-6)
    assert (extrapolated["1.running_var"] > 0).all()
    model.load_state_dict(extrapolated)
    assert torch.nn.functional.mse_loss(model.eval()(x), y) < 2.0


def test_what_trainers_write_is_asked_about_and_taken_where_told(torch, tmp_path, capsys):
    def content(model, optimizer, k):
        return {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()], "epoch": k}

    save(torch, tmp_path, content)
    assert cli.run(["extrapolate", str(tmp_path)]) == 2
    assert "--params state_dict or" in capsys.readouterr().err
    assert cli.run(["extrapolate", str(tmp_path), "--params", "state_dict"]) == 0
    assert list(torch.load(tmp_path / "extrapolated.pt", weights_only=True)) == ["state_dict"]


def test_tensors_of_every_kind(torch, tmp_path):
    """Views, conjugates and numbers that NumPy has no name for."""

    def content(model, optimizer, k):
        weight = model[0].weight.detach()
        kinds = {"half": weight.bfloat16(), "eighth": weight.to(torch.float8_e4m3fn), "count": torch.tensor(k)}
        return {"w": weight.t(), "z": torch.complex(weight, weight).conj(), **kinds}

    save(torch, tmp_path, content)
    done = extrapolate_folder(tmp_path, regularization=1e-3)
    extrapolated, last = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("extrapolated", "epoch_5")
    )
    assert {name: (t.dtype, t.shape) for name, t in extrapolated.items()} == {
        n: (t.dtype, t.shape) for n, t in last.items()
    }
    history = [torch.load(tmp_path / name, weights_only=True)["z"] for name in done.names[1:]]
    want = sum(weight * tensor for weight, tensor in zip(done.weights, history, strict=True))
    np.testing.assert_allclose(extrapolated["z"], want, atol=1e-6)


def test_what_is_no_plain_tensor_is_refused_in_words(torch, tmp_path, capsys):
    for content, word in (
        (lambda model, optimizer, k: model, "torch.save(model.state_dict(), path)"),
        (lambda model, optimizer, k: {"w": model[0].weight.detach().to_sparse()}, "to_dense()"),
    ):
        save(torch, tmp_path, content, steps=2)
        assert cli.run(["extrapolate", str(tmp_path)]) == 2
        assert word in capsys.readouterr().err
