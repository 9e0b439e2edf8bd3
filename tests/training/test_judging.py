"""`optaxaccel extrapolate --data --model`: the loss of a network on training images chooses."""

import json

import jax
import numpy as np
import pytest
from flax import linen as nn

from optaxaccel import cli, data
from optaxaccel.models import make
from optaxaccel.models.linen import from_linen
from optaxaccel.training.histories.judging import loss_on
from optaxaccel.training.histories.offline import GRID

NETWORK = ["--model", "mlp", "--model-args", "hidden=(8,)", "--data", "digits"]


def init():
    shaped = make("mlp", classes=10, input_shape=(8, 8, 1), hidden=(8,))
    params, _ = shaped.init(jax.random.key(0), np.ones((1, 8, 8, 1)))
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)


def flat(tree):
    return {"/".join(k.key for k in path): x for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]}


def twin(params):
    """Mean cross-entropy in NumPy of 1,024 digits, evenly spread, after one hidden layer."""
    images = data.load("digits").train
    chosen = np.linspace(0, len(images.label) - 1, 1024).astype(int)
    pixels = images.image.astype(np.float64) / 255
    x = ((pixels - 0.3046) / 0.3754)[chosen].reshape(1024, -1)  # the published mean and standard deviation
    first, second = (params[name] for name in sorted(params))
    h = np.maximum(x @ first["kernel"] + first["bias"], 0) @ second["kernel"] + second["bias"]
    losses = np.log(np.exp(h).sum(1)) - h[np.arange(1024), images.label[chosen]]
    return losses.mean()


@pytest.fixture
def folder(tmp_path):
    """Checkpoints that lie about zero, where the loss is ln 10, and nowhere near it in their differences."""
    params = init()
    for k in range(4):
        scale = (1 - 2 * (k % 2)) * (1 + 0.1 * k)
        np.savez(tmp_path / f"{k}.npz", **{f"params/{n}": scale * x for n, x in flat(params).items()})
    return tmp_path


def test_the_loss_of_a_network_chooses_among_the_newest_the_mean_and_extrapolations(folder, capsys):
    assert cli.run(["extrapolate", str(folder), "--last", "4", *NETWORK]) == 0
    said = capsys.readouterr().out
    rows = [line.split("│")[1:3] for line in said.splitlines() if line.startswith("│")]
    losses = {name.strip(): float(value) for name, value in rows if "." in value}
    params = init()
    newest = float(f"{twin(jax.tree.map(lambda x: -1.3 * x, params)):.6g}")
    mean = float(f"{twin(jax.tree.map(lambda x: (1.2 - 1.1 - 1.3) / 3 * x, params)):.6g}")
    assert losses["the newest checkpoint"] == pytest.approx(newest, abs=2e-5)
    assert losses["the mean"] == pytest.approx(mean, abs=2e-5)
    assert {f"regularization {strength:.0e}" for strength in GRID} < set(losses)
    note = json.loads((folder / "extrapolated.npz.json").read_text())
    used = {None: "the newest checkpoint", "mean": "the mean"}
    chosen = used.get(note["regularization"]) or f"regularization {note['regularization']:.0e}"
    assert losses[chosen] == min(value for name, value in losses.items() if name in used.values() or "reg" in name)


def test_the_mean_is_written_where_it_is_best(tmp_path, capsys):
    for k, x in enumerate((2.0, -1.0, 5.0, -4.0)):
        np.savez(tmp_path / f"{k}.npz", w=np.array([x, 2 * x]))
    (tmp_path / "judge.py").write_text("def loss(tree):\n    return float(abs(tree['w'][0]))\n")  # the three newest: 0
    assert cli.run(["extrapolate", str(tmp_path), "--last", "4", "--value-fn", f"{tmp_path / 'judge.py'}:loss"]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "extrapolated.npz")["w"], 0.0, atol=1e-12)
    note = json.loads((tmp_path / "extrapolated.npz.json").read_text())
    assert note["regularization"] == "mean"
    assert note["weights"] == pytest.approx([1 / 3] * 3)
    assert "the mean" in capsys.readouterr().out


def test_merge_takes_the_same_loss(folder):
    assert cli.run(["merge", str(folder), "--weights", "greedy", "--last", "4", *NETWORK]) == 0
    note = json.loads((folder / "merged.npz.json").read_text())
    sums = dict(zip((1.0, -1.1, 1.2, -1.3), note["weights"], strict=True))
    scale = sum(factor * weight for factor, weight in sums.items())
    losses = [twin(jax.tree.map(lambda x, s=s: s * x, init())) for s in sums]
    assert twin(jax.tree.map(lambda x: scale * x, init())) <= min(losses) + 1e-6  # what a greedy choice promises


REFUSED = [
    (["--model", "mlp"], "--data is missing"),
    (["--data", "digits"], "--model is missing"),
    (["--model-args", "hidden=(8,)"], "--model-args is for --model"),
    ([*NETWORK, "--value-fn", "judge.py:loss"], "two losses"),
    (["--model", "mlpp", "--data", "digits"], "Did you mean 'mlp'"),
    (["--model", "mlp", "--data", "digit"], "Did you mean 'digits'"),
    (["--model", "mlp", "--model-args", "hidden=(9,)", "--data", "digits"], "has the shape"),
    (["--model", "cnn", "--data", "digits"], "is not the network that was trained"),
    (["--model", "mlp", "--model-args", "hidden=(8,8)", "--data", "digits"], "is not the network that was trained"),
]


@pytest.mark.parametrize("case", range(len(REFUSED)), ids=[" ".join(given) for given, _ in REFUSED])
def test_a_loss_that_is_none_is_refused(case, folder, capsys):
    arguments, text = REFUSED[case]
    assert cli.run(["extrapolate", str(folder), *arguments]) == 2
    assert text in capsys.readouterr().err
    assert not list(folder.glob("extrapolated*"))


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(10)(nn.BatchNorm(use_running_average=not train)(x.reshape(len(x), -1)))


def test_running_statistics_beside_the_parameters_are_the_networks_own():
    model = from_linen(Normalised())
    params, net_state = model.init(jax.random.key(1), np.ones((1, 8, 8, 1)))
    loss = loss_on(model, "digits")
    outcome = loss({"params": params, **net_state})
    assert outcome == loss({"params": params, "net_state": net_state})
    wide = jax.tree.map(lambda leaf: 4 * leaf + 3, net_state)
    assert outcome != loss({"params": params, **wide})
    with pytest.raises(ValueError, match="batch_stats/BatchNorm_0/mean"):
        loss({"params": params})
    with pytest.raises(ValueError, match="params/head of the checkpoints is not in"):
        loss({"params": {**params, "head": np.ones(2)}, **net_state})
