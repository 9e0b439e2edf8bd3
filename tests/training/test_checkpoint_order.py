"""In which order checkpoints are taken, by their names and by request."""

import numpy as np
import pytest

from optaxaccel import cli
from optaxaccel.training.histories.offline import find

K = 6


def descent(k):
    """Gradient descent towards 1 with as many rates, so that six iterates know the limit."""
    return 1 + np.array([3.0, -2.0, 1.0, 0.5]) * np.array([0.9, 0.6, 0.3, 0.1]) ** k


def moment(k):
    return 40.0 * np.cos(np.array([1.0, 2.0, 3.0]) * k)


def save(folder, tree_of, *, count=K, name="step_{}.npz"):
    for k in range(count):
        np.savez(folder / name.format(k), **tree_of(k))


def run(folder, *arguments):
    return cli.run(["extrapolate", str(folder), "--regularization", "0", *arguments])


def result(folder):
    with np.load(folder / "extrapolated.npz", allow_pickle=False) as file:
        return dict(file)


CLEAR = [
    ["weights.01-2.31", "weights.02-0.95", "weights.10-1.20"],
    ["epoch1_acc0.81", "epoch2_acc0.79", "epoch10_acc0.93"],
    ["epoch1_acc81", "epoch2_acc79", "epoch10_acc93"],
    ["epoch=1-step=100", "epoch=1-step=200", "epoch=2-step=300"],
    ["epoch=1-batch=5", "epoch=2-batch=0", "epoch=2-batch=5"],
    ["run2-step8", "run2-step9", "run2-step10"],
    ["8", "9", "10"],
    ["2024-seed3-8", "2024-seed3-9", "2024-seed3-10"],
    ["model_iter_8_lr1e-05", "model_iter_9_lr1e-06", "model_iter_10_lr1e-07"],
]
UNCLEAR = [
    ["a-1-9", "a-2-8", "a-3-7"],
    ["acc81", "acc79", "acc93"],
    ["loss0.1", "loss0.2", "loss0.3"],
    ["run1-8", "run1-9", "run2-8"],
    ["epoch_1", "epoch_2", "best_3"],
    ["01-02-2024", "02-01-2024", "01-03-2024"],
]


def touch(folder, names):
    for name in names:
        np.savez(folder / f"{name}.npz", w=np.ones(1))


@pytest.mark.parametrize("names", CLEAR, ids=lambda names: names[0])
def test_the_number_that_counts_is_found(names, tmp_path):
    touch(tmp_path, reversed(names))
    touch(tmp_path, [".hidden_3", "best", "extrapolated-1"])
    checkpoints = find(tmp_path)
    assert [path.stem for path in checkpoints.paths] == names
    assert checkpoints.left_out == ["best.npz"]


@pytest.mark.parametrize("names", UNCLEAR, ids=lambda names: names[0])
def test_an_order_that_is_not_clear_is_refused(names, tmp_path, capsys):
    touch(tmp_path, names)
    assert run(tmp_path) == 2
    error = capsys.readouterr().err
    assert "--order" in error or "order is unknown" in error
    assert not list(tmp_path.glob("extrapolated*"))


@pytest.mark.parametrize(
    ("names", "order", "expected"),
    [
        (["a-1-9", "a-2-8", "a-3-7"], "1", [0, 1, 2]),
        (["a-1-9", "a-2-8", "a-3-7"], "-1", [2, 1, 0]),
        (["epoch_1", "epoch_2", "best_3"], "epoch", [0, 1]),
        (["loss0.3", "loss0.2", "loss0.1"], "loss", [2, 1, 0]),
        (["b", "c", "a"], "name", [2, 0, 1]),
        (["b", "c", "a"], "time", [0, 1, 2]),
    ],
)
def test_the_order_that_is_asked_for(names, order, expected, tmp_path):
    import os

    touch(tmp_path, names)
    for k, name in enumerate(names):
        os.utime(tmp_path / f"{name}.npz", (1000 + k, 1000 + k))
    assert [path.stem for path in find(tmp_path, order).paths] == [names[k] for k in expected]
    with pytest.raises(FileNotFoundError, match="--order nothing"):
        find(tmp_path, "nothing")
