"""`optaxaccel merge`, and checkpoints that stay in their files: every format, against sums in NumPy."""

import json

import flax.serialization
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from optaxaccel import cli
from optaxaccel.training.histories import formats, npz_files, safetensors_files
from optaxaccel.training.histories.merging import merge_folder
from optaxaccel.training.histories.offline import extrapolate_folder

COUNT = 5
SIZES = {"dense.kernel": (130, 201), "dense.bias": (201,), "scalar": ()}  # several blocks and a remainder
INFINITE = np.float32([0, -np.inf, -np.inf])


def tree(k):
    """Descent with several rates; statistics, integers, a mask, and every width of number."""
    rng = np.random.default_rng(0)
    leaves = {name: 1 + rng.normal(size=shape) * rng.uniform(0.2, 0.9, shape) ** k for name, shape in SIZES.items()}
    leaves = {name: np.asarray(x, np.float32) for name, x in leaves.items()}
    leaves["double"] = leaves["dense.bias"].astype(float) / 3
    leaves["half"] = leaves["dense.bias"].astype(ml_dtypes.bfloat16)
    leaves["norm.running_mean"], leaves["norm.running_var"] = np.float32([k, 1]), np.float32([(k - 2) ** 2 + 1, 1])
    leaves["steps"], leaves["mask"], leaves["empty"] = np.int64([2**40 + k]), INFINITE, np.zeros((0, 3), np.float32)
    return leaves


def write_safetensors(folder, k, tree=tree):
    safetensors_files.write(folder / f"{k}.safetensors", tree(k), {"format": "pt"})


def write_shards(folder, k, tree=tree):
    step = folder / f"checkpoint-{k}"
    step.mkdir()
    names = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(tree(k))}
    for file in set(names.values()):
        part = {name: x for name, x in tree(k).items() if names[name] == file}
        safetensors_files.write(step / file, part, {"format": "pt"})
    (step / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def write_npz(folder, k, tree=tree):
    np.savez(folder / f"{k}.npz", **tree(k))


def write_compressed(folder, k, tree=tree):
    np.savez_compressed(folder / f"{k}.npz", **tree(k))


def write_msgpack(folder, k, tree=tree):
    (folder / f"checkpoint_{k}").write_bytes(flax.serialization.msgpack_serialize(tree(k)))


def write_orbax(folder, k, tree=tree):
    with ocp.StandardCheckpointer() as writer:
        writer.save(folder.absolute() / str(k), {name: x for name, x in tree(k).items() if name != "empty"})


WRITERS = {
    "safetensors": write_safetensors,
    "shards": write_shards,
    "npz": write_npz,
    "compressed": write_compressed,
    "msgpack": write_msgpack,
    "orbax": write_orbax,
}


def saved(folder, write, tree=tree, count=COUNT):
    folder.mkdir(exist_ok=True)
    for k in range(count):
        write(folder, k, tree)
    return folder


def written(done):
    """The arrays of a result by name, whatever its format."""
    return npz_files.flat(formats.of(done.path).read(done.path))


def check(got, weights, names=None):
    trees = [tree(k) for k in range(COUNT)]
    for name in names or got:
        newest, merged = trees[-1][name], np.asarray(got[name])
        assert (merged.dtype, merged.shape) == (newest.dtype, newest.shape), name
        if name in ("steps", "mask"):
            np.testing.assert_array_equal(merged, newest, name)
            continue
        stack = np.stack([tree[name].astype(float) for tree in trees])
        expected = np.tensordot(weights, stack, 1)
        if name.endswith("var"):
            expected = np.clip(expected, stack.min(0), stack.max(0))
        scale = np.abs(weights).sum() * np.abs(stack).max(initial=0.0)
        eps = {"double": 2.0**-52, "half": 2.0**-8}.get(name, 2.0**-23)
        np.testing.assert_allclose(merged.astype(float), expected, rtol=0, atol=2 * eps * scale, err_msg=name)


# --- What stays in its files gives what is read -----------------------------------------------------------------------


@pytest.mark.parametrize("in_memory", [1 << 26, 0])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_is_merged(kind, in_memory, tmp_path):
    folder = saved(tmp_path / "run", WRITERS[kind])
    done = merge_folder(folder, "ema", decay=0.7, in_memory=in_memory)
    weights = np.array([0.7**4, *(0.3 * 0.7 ** (4 - j) for j in range(1, 5))])
    np.testing.assert_allclose(done.weights, weights, rtol=1e-12)
    assert set(written(done)) == set(tree(0)) - ({"empty"} if kind == "orbax" else set())
    check(written(done), weights)
    assert done.kept == ["mask", "steps"]
    note = json.loads(done.path.with_name(done.path.name + ".json").read_text())
    assert (note["weights"], note["checkpoints"], note["kind"]) == (done.weights, done.names, "ema")
    if kind == "shards":
        about = safetensors_files.metadata(done.path)
        assert (about["format"], json.loads(about["optaxaccel"])["weights"]) == ("pt", done.weights)
    left = {path.name for path in folder.iterdir()} - {path.name for path in saved_names(folder, kind)}
    assert left == {done.path.name, f"{done.path.name}.json"}


def saved_names(folder, kind):
    return [path for path in folder.iterdir() if not path.name.startswith("merged")]


@pytest.mark.parametrize("iterate", ["tail", "head"])
@pytest.mark.parametrize("regularization", [1e-8, 1e-3])
def test_extrapolations_from_files_are_those_in_memory(regularization, iterate, tmp_path):
    folder = saved(tmp_path / "run", write_safetensors)
    how = {"regularization": regularization, "iterate": iterate}
    one = extrapolate_folder(folder, **how)
    other = extrapolate_folder(folder, in_memory=0, out=tmp_path / "other.safetensors", **how)
    np.testing.assert_allclose(other.weights, one.weights, rtol=0, atol=1e-4 * np.abs(one.weights).max())
    # In double precision it is the paper's formula for the very numbers in the files.
    names = [name for name in tree(0) if name not in ("steps", "mask", "empty") and "running" not in name]
    flat = np.stack([np.concatenate([tree(k)[n].astype(float).ravel() for n in names]) for k in range(COUNT)])
    r = np.diff(flat, axis=0)
    z = np.linalg.solve(r @ r.T + regularization * np.linalg.norm(r, 2) ** 2 * np.eye(COUNT - 1), np.ones(COUNT - 1))
    np.testing.assert_allclose(other.weights, z / z.sum(), rtol=0, atol=1e-5 * np.abs(z / z.sum()).max())
    weights = np.pad(other.weights, (1, 0) if iterate == "tail" else (0, 1))
    check(written(other), weights, names)
    again = merge_folder(folder, "rna", in_memory=0, last=COUNT, **how)
    for name, array in written(other).items():
        np.testing.assert_allclose(written(again)[name].astype(float), array.astype(float), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("in_memory", [1 << 26, 0])
def test_what_is_not_finite_is_refused_or_left_out(in_memory, tmp_path):
    def spoilt(k):
        leaves = tree(k)
        if k == 2:
            leaves["dense.kernel"][100, 100] = np.nan
        return leaves

    folder = saved(tmp_path / "run", write_safetensors, spoilt)
    with pytest.raises(ValueError, match=r"2.safetensors: dense/kernel holds NaN"):
        merge_folder(folder, in_memory=in_memory)
    with pytest.raises(ValueError, match=r"2.safetensors: dense/kernel holds NaN"):
        extrapolate_folder(folder, in_memory=in_memory)
    assert len(list(folder.iterdir())) == COUNT  # and nothing half-written
    done = merge_folder(folder, in_memory=in_memory, skip_not_finite=True)
    assert (list(done.skipped), len(done.names)) == (["2.safetensors"], COUNT - 1)
    check(written(done), np.array([0.25, 0.25, 0, 0.25, 0.25]))


def test_several_hosts_write_one_part_each(tmp_path):
    folder = saved(tmp_path / "run", write_safetensors)
    for part in (2, 1, 3):
        assert cli.run(["merge", str(folder), "--shard", f"{part}/3", "--out", f"{tmp_path}/y/model.safetensors"]) == 0
    index = tmp_path / "y" / "model.safetensors.index.json"
    parts = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    assert parts[0] == "model-00001-of-00003.safetensors"
    arrays = npz_files.flat(formats.SAFETENSORS.read(index))
    assert set(arrays) == set(tree(0))
    check(arrays, np.full(COUNT, 1 / COUNT))
    (tmp_path / "y" / parts[0]).unlink()
    with pytest.raises(FileExistsError, match=r"index.json exists already"):
        merge_folder(folder, shard=(1, 3), out=tmp_path / "y" / "model.safetensors")
    with pytest.raises(ValueError, match="only safetensors"):
        merge_folder(folder, shard=(1, 2), out=tmp_path / "y.npz")


def test_a_wrong_check_sum_is_found_though_nothing_is_read_whole(tmp_path):
    folder = saved(tmp_path / "run", write_npz)
    raw = bytearray((folder / "3.npz").read_bytes())
    raw[60_000] ^= 1
    (folder / "3.npz").write_bytes(raw)
    for in_memory in (1 << 26, 0):
        with pytest.raises(ValueError, match=r"3.npz is damaged"):
            merge_folder(folder, in_memory=in_memory)


def test_arrays_in_chunks_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 1000)
    folder = saved(tmp_path / "run", write_msgpack)
    check(written(merge_folder(folder, "linear", in_memory=0)), np.full(COUNT, 1 / COUNT))


# --- The choice by a loss, and the command ----------------------------------------------------------------------------


def simple(k):
    return {"w": np.float32([[6.0, -1.0, 1.0][k], 1.0])}


@pytest.mark.parametrize("in_memory", [1 << 26, 0])
@pytest.mark.parametrize("kind", ["greedy", "adaptive"])
def test_a_loss_chooses(kind, in_memory, tmp_path):
    folder = saved(tmp_path / "run", write_npz, simple, 3)
    done = merge_folder(folder, kind, value_fn=lambda tree: tree["w"][0] ** 2, in_memory=in_memory)
    assert done.weights == [0.0, 0.5, 0.5]
    np.testing.assert_array_equal(written(done)["w"], [0.0, 1.0])
    assert bool(done.candidates) == (kind == "adaptive")


def test_the_command_prints_weights_and_says_where_the_result_is(tmp_path, capsys):
    folder = saved(tmp_path / "run", write_npz, simple, 3)
    (tmp_path / "judge.py").write_text("def loss(tree):\n    return tree['w'][0] ** 2\n")
    assert cli.run(["merge", str(folder), "--weights", "0.25,0.25,0.5"]) == 0
    printed = capsys.readouterr().out
    assert "0.25" in printed
    assert "merged.npz.json" in printed
    assert "w (1 arrays" not in printed
    np.testing.assert_array_equal(np.load(folder / "merged.npz")["w"], [1.75, 1.0])
    judged = ["--weights", "adaptive", "--value-fn", f"{tmp_path}/judge.py:loss", "--out", f"{tmp_path}/y.npz"]
    assert cli.run(["merge", str(folder), *judged]) == 0
    assert "mean of the last 2" in capsys.readouterr().out
    assert cli.run(["extrapolate", str(folder)]) == 0  # the merged one is no checkpoint
    assert len(json.loads((folder / "extrapolated.npz.json").read_text())["checkpoints"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "means"], "'means' are unknown"),
        (["--weights", "0.5,0.6,0.1"], "sum to 1.2"),
        (["--weights", "0.5,,0.5"], "are no numbers"),
        (["--weights", "0.25,0.25,0.25,0.25"], "holds 3 checkpoint"),
        (["--weights", "greedy"], "--value-fn"),
        (["--value-fn", "judge.py:loss"], "not chosen by a loss"),
        (["--shard", "2"], "--shard 2 is no part"),
        (["--last", "0"], "nothing to merge"),
        (["--weights", "ema", "--decay", "1"], "decay=1.0 is out of range"),
    ],
)
def test_what_cannot_be_merged_is_refused(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge.py").write_text("def loss(tree):\n    return 0.0\n")
    folder = saved(tmp_path / "run", write_npz, simple, 3)
    assert cli.run(["merge", str(folder), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("in_memory", [0, 2**30])
def test_only_what_is_squared_must_have_a_square(in_memory, tmp_path):
    folder = tmp_path / "large"
    folder.mkdir()
    for k in range(3):
        np.savez(folder / f"c-{k}.npz", w=np.ones(3, np.float32) * k, s=np.float32([1e17 + k * 1e16]))
    done = merge_folder(folder, out=tmp_path / "mean.npz", in_memory=in_memory)
    assert done.skipped == {}
    np.testing.assert_allclose(np.load(tmp_path / "mean.npz")["s"], 1.1e17, rtol=1e-6)


@pytest.mark.parametrize("in_memory", [0, 2**30])
def test_an_integer_of_another_shape_is_of_another_model(in_memory, tmp_path):
    np.savez(tmp_path / "c-0.npz", w=np.ones(3, np.float32), i=np.int32(3))
    np.savez(tmp_path / "c-1.npz", w=np.ones(3, np.float32), i=np.arange(5))
    with pytest.raises(ValueError, match=r"c-0\.npz holds something of shape \(\) at i, c-1\.npz holds"):
        merge_folder(tmp_path, in_memory=in_memory)
