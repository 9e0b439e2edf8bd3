"""`optaxaccel extrapolate`: checkpoints of three formats, taken from any training run."""

import pickle

import flax.serialization
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import optaxaccel
from optaxaccel import cli
from optaxaccel.training.histories.offline import extrapolate_folder, find


def iterate(k):
    """Gradient descent on a quadratic with two curvatures, after k steps; statistics that move along."""
    slow, fast = 0.9**k, 0.5**k
    params = {"dense": {"kernel": np.array([[1 + slow, 2 - fast]], np.float32), "bias": np.array([fast], np.float32)}}
    return {"params": params, "batch_stats": {"mean": np.array([slow + fast], np.float32)}}


def checkpoint(k):
    return {**iterate(k), "opt_state": {"mu": np.full(7, float(k), np.float32)}, "step": np.int32(k)}


def write_npz(folder, k):
    flat = {"/".join(path): x for path, x in flatten(checkpoint(k))}
    np.savez(folder / f"run2-step{k:03}.npz", **flat)


def flatten(tree, prefix=()):
    if not isinstance(tree, dict):
        return [(prefix, tree)]
    return [entry for key, child in tree.items() for entry in flatten(child, (*prefix, key))]


def write_msgpack(folder, k):
    (folder / f"checkpoint_{k}").write_bytes(flax.serialization.to_bytes(checkpoint(k)))


def write_orbax(folder, k):
    with ocp.CheckpointManager(folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=None)) as manager:
        tree = {name: jnp.asarray(value) if name == "step" else value for name, value in checkpoint(k).items()}
        manager.save(k, args=ocp.args.Composite(state=ocp.args.StandardSave(tree), notes=ocp.args.JsonSave({"k": k})))


WRITERS = {".npz": write_npz, "Flax msgpack": write_msgpack, "orbax": write_orbax}
STEPS = (8, 9, 10, 11)  # 8 < 10 as numbers, not as texts


@pytest.fixture(params=WRITERS)
def saved(request, tmp_path):
    for k in STEPS:
        WRITERS[request.param](tmp_path, k)
    return tmp_path


def test_three_formats_give_what_extrapolate_gives(saved, capsys):
    assert cli.run(["extrapolate", str(saved), "--last", "3", "--regularization", "1e-6"]) == 0
    history = [iterate(k) for k in STEPS[-3:]]
    expected, stats = optaxaccel.extrapolate(
        [h["params"] for h in history], regularization=1e-6, statistics=[h["batch_stats"] for h in history]
    )
    kind = find(saved).format
    written = kind.read(saved / f"extrapolated{kind.ending}")
    assert set(written) == {"params", "batch_stats"}  # neither the optimiser's state nor the step of some checkpoint
    assert flatten(written["params"])[0][0] == flatten(expected)[0][0]
    for (path, got), (_, want) in zip(flatten(written["params"]), flatten(expected), strict=True):
        np.testing.assert_array_equal(got, want, str(path))
    np.testing.assert_array_equal(written["batch_stats"]["mean"], stats["mean"])
    weights = optaxaccel.extrapolation_weights([h["params"] for h in history], regularization=1e-6)
    printed = capsys.readouterr().out
    for weight in weights.tolist():
        assert f"{weight: .4g}".strip() in printed
    assert f"the newer end of each: {find(saved).paths[-3].name} has none" in " ".join(printed.split())
    assert "params (2 arrays, 3 numbers)" in printed
    assert cli.run(["extrapolate", str(saved)]) == 2  # never over anything
    assert "exists already" in capsys.readouterr().err
    assert len(find(saved).paths) == len(STEPS)  # the result is not taken for a checkpoint


def test_the_minimum_of_a_quadratic_is_found_in_double_precision(tmp_path):
    for k in range(4):
        np.savez(tmp_path / f"{k}.npz", w=1 + np.array([0.9**k, -(0.5**k)]))
    done = extrapolate_folder(tmp_path, regularization=0.0)
    np.testing.assert_allclose(np.load(done.path, allow_pickle=False)["w"], 1.0, atol=1e-12)
    assert (done.where, done.statistics, sum(done.weights)) == ("", "", pytest.approx(1.0))


def npz(folder, number, **arrays):
    np.savez(folder / f"{number}.npz", **arrays)


ONE, TWO = np.ones(1, np.float32), np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("contents", "arguments", "text"),
    [
        ([{"w": ONE}] * 2, [], "three or more"),
        ([{"w": ONE}] * 3, ["--last", "2"], "last=2"),
        ([{"w": TWO}, {"w": ONE}, {"w": ONE}, {"w": ONE}], [], "not checkpoints of one model"),
        ([{"params/w": ONE}, {"params/v": ONE}, {"params/v": ONE}], [], "not checkpoints of one model"),
        ([{"model/w": ONE, "opt_state/m": ONE}] * 3, [], "--params PATH"),
        ([{"w": ONE}] * 3, ["--params", "modell"], "It holds: w"),
        ([], [], "no checkpoint with a number"),
    ],
)
def test_what_cannot_be_extrapolated_is_refused(tmp_path, capsys, contents, arguments, text):
    for number, arrays in enumerate(contents):
        npz(tmp_path, number, **arrays)
    assert cli.run(["extrapolate", str(tmp_path), *arguments]) == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.glob("*extrapolated*"))


def test_a_pickle_in_a_file_is_not_run(tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    for number in range(3):
        np.savez(tmp_path / f"{number}.npz", w=np.array([Trap()], dtype=object))
    sprung = tmp_path / "sprung"
    sprung.unlink(missing_ok=True)
    assert cli.run(["extrapolate", str(tmp_path)]) == 2
    assert "allow_pickle" in capsys.readouterr().err
    (tmp_path / "0.npz").write_bytes(pickle.dumps(Trap()))
    assert cli.run(["extrapolate", str(tmp_path)]) == 2
    for number in range(3):
        (tmp_path / f"{number}.npz").rename(tmp_path / f"{number}.msgpack")
        (tmp_path / f"{number}.msgpack").write_bytes(pickle.dumps(Trap()))
    assert cli.run(["extrapolate", str(tmp_path)]) == 2
    assert not sprung.exists()
