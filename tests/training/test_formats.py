"""Formats of others, held to bytes written here by hand from their descriptions, and to damage."""

import datetime
import json
import struct

import flax.serialization
import jax
import jax.numpy as jnp
import ml_dtypes
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from optaxaccel import cli
from optaxaccel.training.histories import formats, safetensors_files
from optaxaccel.training.histories.offline import extrapolate_folder

# --- safetensors ------------------------------------------------------------------------------------------------------

STAMP = msgpack.Timestamp.from_datetime(datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC))


def by_hand(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
DATA = struct.pack("<6f", *range(6))


def test_safetensors_are_read_as_their_description_says(tmp_path):
    path = tmp_path / "1.safetensors"
    header = {
        "__metadata__": {"format": "pt"},
        "a.weight": ENTRY,
        "half": {"dtype": "BF16", "shape": [1], "data_offsets": [24, 26]},
        "n": {"dtype": "I64", "shape": [], "data_offsets": [26, 34]},
        "none": {"dtype": "F64", "shape": [0, 4], "data_offsets": [34, 34]},
        "flag": {"dtype": "BOOL", "shape": [2], "data_offsets": [34, 36]},
    }
    by_hand(path, header, DATA + b"\x80\x3f" + struct.pack("<q", 2**40 + 1) + b"\x01\x00")
    arrays = safetensors_files.read(path)
    np.testing.assert_array_equal(arrays["a.weight"], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert arrays["half"].dtype == ml_dtypes.bfloat16
    assert arrays["half"].astype(float).tolist() == [1.0]
    assert (arrays["n"].shape, arrays["n"].dtype, int(arrays["n"])) == ((), np.int64, 2**40 + 1)
    assert (arrays["none"].shape, arrays["flag"].tolist()) == ((0, 4), [True, False])
    assert safetensors_files.metadata(path) == {"format": "pt"}


def test_safetensors_are_written_as_their_description_says_whatever_the_strides(tmp_path):
    path = tmp_path / "1.safetensors"
    square = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"view": square.T, "swapped": square.astype(">f4"), "step": square[:, ::2], "n": np.int8(3)}
    safetensors_files.write(path, arrays, {"format": "np"})
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    assert length % 8 == 0
    assert header.pop("__metadata__") == {"format": "np"}
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(data)
    for name, array in arrays.items():
        start, end = header[name]["data_offsets"]
        kind = {"F32": "<f4", "I8": "i1"}[header[name]["dtype"]]
        stored = np.frombuffer(data[start:end], kind).reshape(header[name]["shape"])
        np.testing.assert_array_equal(stored, array, name)
        np.testing.assert_array_equal(safetensors_files.read(path)[name], array, name)


DAMAGED = {
    "empty": (b"", None),
    "no JSON": (b"{]", DATA),
    "a list": (b"[1]", DATA),
    "deep": (b"[" * 100_000, DATA),
    "no object inside": ({"a": 3}, DATA),
    "no offsets": ({"a": {"dtype": "F32", "shape": [6]}}, DATA),
    "offsets of text": ({"a": {**ENTRY, "data_offsets": ["0", "24"]}}, DATA),
    "an unknown dtype": ({"a": {**ENTRY, "dtype": "F33"}}, DATA),
    "a negative shape": ({"a": {**ENTRY, "shape": [-2, -3]}}, DATA),
    "too large a shape": ({"a": {**ENTRY, "shape": [2**40, 2**40]}}, DATA),
    "behind the end": ({"a": {**ENTRY, "shape": [12], "data_offsets": [0, 48]}}, DATA),
    "a hole": ({"a": {**ENTRY, "shape": [3], "data_offsets": [12, 24]}}, DATA),
    "too much": ({"a": ENTRY}, DATA + b"more"),
    "two in one place": ({"a": ENTRY, "b": ENTRY}, DATA),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_safetensors_are_named_in_one_line(case, tmp_path, capsys):
    header, data = DAMAGED[case]
    for k in range(3):
        path = tmp_path / f"{k}.safetensors"
        if data is None:
            path.write_bytes(header)
        else:
            by_hand(path, header, data)
    assert cli.run(["extrapolate", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "2.safetensors is damaged or no safetensors checkpoint" in error
    assert error.count("\n") == 1


def test_a_header_of_gigabytes_is_not_asked_for(tmp_path):
    (tmp_path / "1.safetensors").write_bytes(struct.pack("<Q", 2**33) + b"{}")
    with pytest.raises(ValueError, match=r"its header would have 8,589,934,592 bytes"):
        formats.SAFETENSORS.read(tmp_path / "1.safetensors")


def weights(k):
    return {"model.a.weight": 1 + np.array([[0.9**k, 0.5**k]], np.float32), "head.bias": np.float32([2 - 0.9**k])}


def hugging_face(folder, k, shards):
    """A step folder of a trainer: weights whole or in two files with an index, and an optimiser that is a pickle."""
    step = folder / f"checkpoint-{500 * k}"
    step.mkdir()
    (step / "optimizer.pt").write_bytes(b"no matter")
    (step / "trainer_state.json").write_text("{}")
    if not shards:
        safetensors_files.write(step / "model.safetensors", weights(k), {"format": "pt"})
        return
    names = {name: f"model-0000{i + 1}-of-00002.safetensors" for i, name in enumerate(weights(k))}
    for name, file in names.items():
        safetensors_files.write(step / file, {name: weights(k)[name]}, {"format": "pt"})
    (step / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


@pytest.mark.parametrize("shards", [False, True])
def test_folders_of_hugging_face_give_one_file_that_its_libraries_read(shards, tmp_path, capsys):
    for k in (7, 8, 9, 10):
        hugging_face(tmp_path, k, shards)
    done = extrapolate_folder(tmp_path, regularization=0.0)
    assert done.names == ["checkpoint-3500", "checkpoint-4000", "checkpoint-4500", "checkpoint-5000"]
    arrays = safetensors_files.read(tmp_path / "extrapolated.safetensors")
    assert set(arrays) == set(weights(0))
    np.testing.assert_allclose(arrays["model.a.weight"], [[1.0, 1.0]], atol=1e-3)
    np.testing.assert_allclose(arrays["head.bias"], [2.0], atol=1e-3)
    about = safetensors_files.metadata(done.path)
    assert about.pop("format") == "pt"
    assert json.loads(about.pop("optaxaccel"))["weights"] == done.weights
    assert not about
    assert cli.run(["extrapolate", str(tmp_path / "checkpoint-5000")]) == 2
    assert "is itself one checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("[]", 'no "weight_map"'),
        ('{"weight_map": {"a": 3}}', 'no "weight_map"'),
        ('{"weight_map": {"a": "../model-00001-of-00002.safetensors"}}', "not beside it"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "gone.safetensors that it names is missing"),
        ('{"weight_map": {"other": "model-00001-of-00002.safetensors"}}', "lacks 'other'"),
    ],
)
def test_a_damaged_index_is_named(index, message, tmp_path, capsys):
    for k in range(3):
        hugging_face(tmp_path, k, shards=True)
        (tmp_path / f"checkpoint-{500 * k}" / "model.safetensors.index.json").write_text(index)
    assert cli.run(["extrapolate", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


# --- Flax -------------------------------------------------------------------------------------------------------------


class Network(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(2, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)


@pytest.mark.parametrize("pure", [False, True])
def test_orbax_steps_of_flax_nnx(pure, tmp_path):
    network = Network(nnx.Rngs(0))
    kernel = np.array(network.linear.kernel[...])
    with ocp.CheckpointManager(tmp_path.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=None)) as manager:
        for k in range(4):
            network.linear.kernel[...] = kernel + 0.5**k
            network.norm.mean[...] = jnp.full(3, float((-1) ** k))
            network.norm.var[...] = jnp.full(3, 0.4 * 0.8**k)
            state = nnx.state(network)
            manager.save(k, args=ocp.args.StandardSave(nnx.to_pure_dict(state) if pure else state))
    done = extrapolate_folder(tmp_path, regularization=1e-6)
    tree = formats.ORBAX.read(done.path)
    leaf = (lambda x: x) if pure else (lambda x: x["value"])
    np.testing.assert_allclose(leaf(tree["linear"]["kernel"]), kernel, atol=1e-3)
    assert leaf(tree["norm"]["var"]).min() >= 0.4 * 0.8**3
    assert leaf(tree["norm"]["var"]).max() <= 0.4
    assert jax.tree.structure(tree) == jax.tree.structure(formats.ORBAX.read(tmp_path / "3"))
    assert {name.split("/")[1] for name in done.inside} == {"mean", "var"}


def test_msgpack_with_texts_bytes_dates_and_nothing_in_it(tmp_path):
    stamp = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
    for k in range(3):
        tree = {"a": {"kernel": 1 + np.float32([0.5**k])}, "layers": [np.float32([2 - 0.5**k])], "note": f"epoch {k}"}
        tree |= {"raw": b"\x00" * k, "none": None, "when": msgpack.Timestamp.from_datetime(stamp)}
        (tmp_path / f"checkpoint_{k}").write_bytes(flax.serialization.msgpack_serialize(tree))
    done = extrapolate_folder(tmp_path, regularization=0.0, params=".")
    read = formats.MSGPACK.read(done.path)
    np.testing.assert_allclose([*read["a"]["kernel"], *read["layers"][0]], [1.0, 2.0], atol=1e-5)
    assert (read["note"], read["raw"], read["none"]) == ("epoch 2", b"\x00\x00", None)
    assert read["when"].to_datetime() == stamp
    assert set(done.kept) == {"note", "raw", "none", "when"}


def test_a_mapped_msgpack_is_the_one_that_is_read_and_its_arrays_lie_in_the_file(tmp_path):
    arrays = {
        "w": np.arange(6.0).reshape(2, 3),
        "half": np.ones(3, ml_dtypes.bfloat16),
        "none": np.zeros((0, 2), np.int8),
    }
    others = {"raw": b"a\0\0", "long": bytes(300), "note": "x" * 40, "no": None, "yes": True, "n": -(2**40), "f": 0.5}
    tree = {**arrays, **others, "when": STAMP, "layers": [np.float32([1.0]), {"deep": np.int64([7])}]}
    (tmp_path / "checkpoint_1").write_bytes(flax.serialization.msgpack_serialize(tree))
    mapped, read = (f(tmp_path / "checkpoint_1") for f in (formats.MSGPACK.map, formats.MSGPACK.read))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), mapped, read)
    assert {name: mapped[name] for name in others} == others
    assert mapped["when"] == STAMP
    assert not any(mapped[name].flags.owndata or mapped[name].flags.writeable for name in ("w", "half"))


@pytest.mark.parametrize("out", ["extrapolated.npz", "extrapolated.safetensors"])
def test_what_a_format_cannot_hold_is_refused_before_anything_is_written(out, tmp_path, capsys):
    for k in range(3):
        tree = {"a": {"kernel": np.float32([0.5**k])}, "note": f"epoch {k}", "none": None}
        (tmp_path / f"checkpoint_{k}").write_bytes(flax.serialization.msgpack_serialize(tree))
    assert cli.run(["extrapolate", str(tmp_path), "--params", ".", "--out", str(tmp_path / out)]) == 2
    assert "'none' is a NoneType" in capsys.readouterr().err
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize("leaf", ["a text", b"ends in\0", STAMP, None], ids=repr)
@pytest.mark.parametrize("to", ["NPZ", "SAFETENSORS"])
def test_bytes_texts_and_dates_have_no_place_among_arrays(leaf, to, tmp_path):
    """NumPy would drop the zeros at the end of bytes, and pickle a date."""
    with pytest.raises(ValueError, match=rf"'b/c' is a {type(leaf).__name__}, for which there is no place"):
        getattr(formats, to).write(tmp_path / "x", {"a": np.ones(2), "b": {"c": leaf}}, tmp_path / "y")


# --- npz --------------------------------------------------------------------------------------------------------------


def test_npz_keeps_a_name_beside_a_folder_of_that_name_in_either_order(tmp_path):
    names = ["a/b", "a", "a/b/c", "b", "b/c/d", "c//d", "/e"]
    np.savez(tmp_path / "1.npz", **{name: np.full(1, float(i)) for i, name in enumerate(names)})
    tree = formats.NPZ.read(tmp_path / "1.npz")
    formats.NPZ.write(tmp_path / "2.npz", tree, tmp_path / "1.npz")
    with np.load(tmp_path / "2.npz", allow_pickle=False) as file:
        assert {name: float(file[name][0]) for name in file.files} == {name: float(i) for i, name in enumerate(names)}


def test_raw_bytes_that_are_not_bfloat16_are_refused(tmp_path, capsys):
    for k in range(3):
        np.savez(tmp_path / f"{k}.npz", w=np.zeros(2, [("a", "f4")]))
    assert cli.run(["extrapolate", str(tmp_path)]) == 2
    assert "nobody can tell" in capsys.readouterr().err


def test_float8_goes_into_safetensors_and_not_into_npz(tmp_path, capsys):
    for k in range(3):
        small = (np.ones(2) * (k + 1)).astype(ml_dtypes.float8_e4m3fn)
        safetensors_files.write(tmp_path / f"{k}.safetensors", {"a.weight": small})
    assert cli.run(["extrapolate", str(tmp_path), "--out", str(tmp_path / "extrapolated.npz")]) == 2
    assert "float8_e4m3fn" in capsys.readouterr().err
    assert cli.run(["extrapolate", str(tmp_path)]) == 0
    assert safetensors_files.read(tmp_path / "extrapolated.safetensors")["a.weight"].dtype == ml_dtypes.float8_e4m3fn
