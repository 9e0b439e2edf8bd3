"""Damage at random: records, checkpoints, data files, descriptions and command lines end in a status and one message.

Bounded and seeded: the cases are the same every time, and a case that fails is named by its number. Nothing may end in
a traceback, in a status that README does not list, or in a message of many pages.
"""

import json
import random
import struct
import zipfile
from pathlib import Path

import flax.serialization
import numpy as np
import pytest

from optaxaccel import cli
from optaxaccel.report import figures
from optaxaccel.training.histories import safetensors_files

STATUSES = {0, 1, 2, 3}
ODD = [None, True, -1, 0, 2**70, 1e308, "", "x", "[/x]", "nan", "\0", "é" * 300, [], {}, [[]], {"a": {}}, 10**400]


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "draw", lambda *arguments, **options: None)


def ends_well(arguments, capsys, case):
    """Run a command and hold its end to what README promises."""
    try:
        status = cli.run(arguments)
    except SystemExit as stopped:  # what the parser of the command line does
        status = stopped.code
    captured = capsys.readouterr()
    assert status in STATUSES, f"case {case}: {arguments} ended with {status}"
    assert "Traceback" not in captured.err, f"case {case}: {arguments}"
    if status:
        assert captured.err.strip(), f"case {case}: {arguments} says nothing"
    assert len(captured.err) < 8000, f"case {case}: {len(captured.err)} characters"
    return status


def damaged(content, draw):
    """Return bytes with a few cut out, changed, repeated or put in."""
    content = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(content) + 1)
        match draw.randrange(5):
            case 0:
                del content[at : at + draw.randint(1, 40)]
            case 1:
                content[at : at + 1] = bytes([draw.randrange(256)])
            case 2:
                content[at:at] = content[at : at + draw.randint(1, 60)]
            case 3:
                content[at:at] = bytes(draw.randrange(256) for _ in range(8))
            case _:
                del content[draw.randrange(len(content) // 2, len(content) + 1) :]
        content = content or bytearray(b"\0")
    return bytes(content)


def changed(tree, draw):
    """Return JSON-like data with one value exchanged, left out, or put in."""
    if isinstance(tree, dict) and tree and draw.random() < 0.8:
        key = draw.choice(list(tree))
        if draw.random() < 0.2:
            return {k: v for k, v in tree.items() if k != key}
        return {**tree, key: changed(tree[key], draw)}
    if isinstance(tree, list) and tree and draw.random() < 0.8:
        k = draw.randrange(len(tree))
        return [*tree[:k], changed(tree[k], draw), *tree[k + 1 :]]
    return draw.choice(ODD)


# --- Records ----------------------------------------------------------------------------------------------------------

SPEC = {"method": "pal", "method_args": {"momentum": 0.4}, "schedule": {}, "model": "mlp", "data": "digits", "seed": 1}
POSITION = {"step": 3, "epoch": 1.0, "value_calls": 3.0, "grad_calls": 3.0, "hvp_calls": 0.0, "seconds": 0.5}
RECORD = [
    {"kind": "start", "spec": SPEC, "label": "pal", "phase": "final", "digest": "d", "data_note": "", "devices": 1},
    {"kind": "train", **POSITION, "loss": 0.4, "accuracy": 0.8, "grad_norm": 1.0},
    {"kind": "train_eval", **POSITION, "split": "train", "loss": 0.3, "accuracy": 0.9},
    {"kind": "eval", **POSITION, "split": "test", "loss": 0.35, "accuracy": 0.85},
    {"kind": "end", "status": "done", "step": 3, "seconds": 0.5, "skipped": 0},
]


def test_records(tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "record.jsonl"
    refused = 0
    for case in range(300):
        draw = random.Random(case)
        rows = changed(RECORD, draw) if case % 2 else RECORD
        rows = rows if isinstance(rows, list) else [rows]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(content if case % 2 else damaged(content, draw))
        refused += ends_well(["report", str(folder)], capsys, case) == 2
    assert refused > 80


# --- Checkpoints ------------------------------------------------------------------------------------------------------


def tree_of(k):
    params = {"dense": {"kernel": 1 + np.float32([0.5**k, 0.9**k])}}
    return {"params": params, "opt_state": {"mu": np.float32([k])}, "note": "x"}


def write_npz(path, k):
    np.savez(path, **{"params/dense/kernel": tree_of(k)["params"]["dense"]["kernel"], "opt_state/mu": np.float32([k])})


def write_msgpack(path, k):
    path.write_bytes(flax.serialization.msgpack_serialize(tree_of(k)))


def write_safetensors(path, k):
    safetensors_files.write(path, {"params/dense/kernel": tree_of(k)["params"]["dense"]["kernel"]}, {"format": "np"})


WRITERS = {".npz": write_npz, ".msgpack": write_msgpack, ".safetensors": write_safetensors}


@pytest.mark.parametrize("ending", WRITERS)
def test_checkpoints(ending, tmp_path, capsys):
    for k in range(3):
        WRITERS[ending](tmp_path / f"{k}{ending}", k)
    target = tmp_path / f"1{ending}"
    whole, refused = target.read_bytes(), 0
    for case in range(60):
        target.write_bytes(damaged(whole, random.Random(case)))
        refused += ends_well(["extrapolate", str(tmp_path)], capsys, case) == 2
        for path in tmp_path.glob("extrapolated*"):
            path.unlink()
    assert refused > 30


def test_headers_of_safetensors(tmp_path, capsys):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for k in (0, 1):
        write_safetensors(tmp_path / f"{k}.safetensors", k)
    for case in range(100):
        header = changed({"params/dense/kernel": entry, "__metadata__": {"format": "pt"}}, random.Random(case))
        text = json.dumps(header).encode()
        (tmp_path / "2.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
        ends_well(["extrapolate", str(tmp_path)], capsys, case)
        for path in tmp_path.glob("extrapolated*"):
            path.unlink()


# --- Data -------------------------------------------------------------------------------------------------------------

TRAIN = ["train", "--method", "optax.sgd", "--method-args", "learning_rate=0.1", "--model-args", "hidden=(4,)"]
TRAIN += ["--steps", "1", "--batch-size", "4", "--devices", "1", "--train-split", "nowhere"]  # refused in the end


def test_npz_data(tmp_path, capsys):
    path = tmp_path / "data.npz"
    image, label = np.zeros((8, 4, 4), np.uint8), np.arange(8) % 2
    np.savez(path, x_train=image, y_train=label, x_test=image, y_test=label)
    whole = path.read_bytes()
    for case in range(100):
        path.write_bytes(damaged(whole, random.Random(case)))
        assert ends_well([*TRAIN, "--data", str(path)], capsys, case) == 2
    for case in range(60):
        draw = random.Random(case)
        shape = tuple(draw.choice([0, 1, 3, 4, 8, 2**40]) for _ in range(draw.randrange(6)))
        header = (
            f"{{'descr': '{draw.choice(['|u1', '<f8', '|b1', '<U4', '|O', '<i8', '|V2'])}', 'fortran_order': False, "
        )
        header += f"'shape': {shape}}}"
        text = (header.ljust(117) + "\n").encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("x_train", "y_train", "x_test", "y_test"):
                content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(draw.choice([0, 8, 64]))
                archive.writestr(f"{name}.npy", content)
        assert ends_well([*TRAIN, "--data", str(path)], capsys, case) == 2


INFO = {
    "name": "made",
    "fileFormat": "array_record",
    "supervisedKeys": {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}},
    "splits": [{"name": "train", "shardLengths": ["3"], "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}"}],
}
FEATURES = {
    "featuresDict": {
        "features": {
            "image": {"image": {"shape": {"dimensions": ["8", "8", "1"]}}},
            "label": {"classLabel": {"numClasses": "10"}},
        }
    }
}


def test_descriptions(tmp_path, capsys):
    folder = tmp_path / "made" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "made-train.array_record").touch()
    for case in range(120):
        draw = random.Random(case)
        info, features = (changed(INFO, draw), FEATURES) if case % 2 else (INFO, changed(FEATURES, draw))
        texts = {"dataset_info.json": json.dumps(info).encode(), "features.json": json.dumps(features).encode()}
        if case % 5 == 0:
            texts = {name: damaged(text, draw) for name, text in texts.items()}
        for name, text in texts.items():
            (folder / name).write_bytes(text)
        arguments = [*TRAIN, "--data", "made", "--data-dir", str(tmp_path)]
        assert ends_well(arguments, capsys, case) == 2
        ends_well(["data", "info", "made", "--data-dir", str(tmp_path)], capsys, case)


# --- Command lines ----------------------------------------------------------------------------------------------------

WORDS = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e300",
    "9" * 30,
    "",
    "x",
    "=",
    "a=",
    "a=b",
    "learning_rate=(1,2)",
    "learning_rate='a'",
]
WORDS += [
    "(" * 200,
    "learning_rate=f(x=1)",
    "seed=1,1",
    "method=pal,pal",
    "[",
    "train[a:b]",
    "\0",
    "é",
    "-",
    "--",
    "a" * 300,
]
OPTIONS = [
    "--method",
    "--method-args",
    "--schedule",
    "--model",
    "--model-args",
    "--data",
    "--train-split",
    "--test-split",
]
OPTIONS += ["--validation", "--batch-size", "--epochs", "--steps", "--seconds", "--seed", "--normalise", "--image-size"]
OPTIONS += [
    "--crop",
    "--augment",
    "--weight-decay",
    "--decay",
    "--precision",
    "--micro-batches",
    "--parallel",
    "--on-fault",
]
OPTIONS += [
    "--max-skips",
    "--extrapolate",
    "--eval-every",
    "--log-every",
    "--grid",
    "--seeds",
    "--save-seconds",
    "--log",
]
OPTIONS += ["--profile", "--devices", "--coordinator", "--process-count", "--process-index", "--vectorize"]


def test_command_lines(tmp_path, capsys):
    refused = 0
    for case in range(120):
        draw = random.Random(case)
        more = [word for _ in range(draw.randint(1, 3)) for word in (draw.choice(OPTIONS), draw.choice(WORDS))]
        # Whatever is left of it is refused at last, so that nothing trains here.
        arguments = ["train", "--devices", "1", *more, "--data", str(tmp_path / "missing.npz")]
        refused += ends_well(arguments, capsys, case) == 2
    assert refused == 120
    assert not Path("runs").exists()


def test_other_commands(tmp_path, capsys):
    commands = [["report"], ["extrapolate"], ["run"], ["data", "info"], ["data", "verify"], ["list"], ["data"], []]
    paths = ["", ".", "missing", "\0", "x" * 5000, str(tmp_path), "/dev/null", "--", "*"]
    for case, (command, path) in enumerate((command, path) for command in commands for path in paths):
        assert ends_well([*command, path], capsys, case) in (0, 2)
