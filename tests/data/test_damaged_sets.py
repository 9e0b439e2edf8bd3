"""A prepared set that is damaged, half written or malformed is refused by name."""

import json
import shutil

import pytest

from optaxaccel import data
from optaxaccel.data import prepared

from .sets import encode, pixels


def test_a_missing_shard_is_named(prepared_set):
    folder = prepared_set()
    (folder / "tiny-train.array_record-00001-of-00002").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"not complete: .*train.array_record-00001-of-00002 is missing \(1 of 4"
    ):
        data.check("tiny")


@pytest.mark.parametrize("cut", ["half", "end", "all"])
def test_a_truncated_shard_is_refused(prepared_set, cut):
    folder = prepared_set()
    path = folder / "tiny-train.array_record-00001-of-00002"
    whole = path.read_bytes()
    path.write_bytes(whole[: {"half": len(whole) // 2, "end": len(whole) - 10, "all": 0}[cut]])
    with pytest.raises(ValueError, match=r"train.array_record-00001-of-00002 cannot be read; it may be truncated"):
        data.load("tiny")


def test_a_damaged_record_is_refused(prepared_set):
    folder = prepared_set()
    path = folder / "tiny-train.array_record-00001-of-00002"
    whole = bytearray(path.read_bytes())
    at = whole.index(b"IHDR")
    whole[at : at + 4] = b"XXXX"
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"records 0 to 29 of split 'train' cannot be read.*prepare"):
        data.load("tiny")


def test_a_corrupt_image_is_named(prepared_set):
    stored = {split: [encode(p) for p in pixels(n, (6, 5, 3))] for split, n in (("train", 30), ("test", 12))}
    stored["train"][17] = stored["train"][17][:40]
    prepared_set(images=stored)
    with pytest.raises(ValueError, match="image 17 of split 'train' cannot be decoded"):
        data.load("tiny")


def test_an_image_of_another_shape_is_named(prepared_set):
    stored = {split: [encode(p) for p in pixels(n, (6, 5, 3))] for split, n in (("train", 30), ("test", 12))}
    stored["test"][3] = encode(pixels(1, (7, 5, 3))[0])
    prepared_set(images=stored)
    with pytest.raises(ValueError, match=r"image 3 of split 'test' is uint8 \(7, 5, 3\)"):
        data.load("tiny")


def test_a_missing_label_is_named(prepared_set):
    prepared_set(labels={"train": [0] * 30, "test": [0, -1] * 6})
    with pytest.raises(ValueError, match="image 1 of split 'test' has label -1"):
        data.load("tiny")


def test_a_record_without_a_label_is_named(prepared_set):
    prepared_set(labels={"train": [0] * 17 + [None] + [0] * 12, "test": [0] * 12})
    with pytest.raises(ValueError, match=r"image 17 of split 'train' has no label.*prepare"):
        data.load("tiny")


def test_a_set_that_is_being_prepared_is_not_prepared(prepared_set):
    """TFDS writes into a folder of another name, in which a killed process may leave a whole description."""
    folder = prepared_set(version="2.0.0")
    unfinished = folder.with_name("incomplete.ABC_3.0.0")
    shutil.copytree(folder, unfinished)
    assert prepared.find("tiny").version == "2.0.0"
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=f"not prepared.*{unfinished} is unfinished"):
        data.check("tiny")
    assert prepared.names() == []


def test_a_set_without_labels_is_refused(prepared_set):
    prepared_set(with_label=False)
    with pytest.raises(ValueError, match=r"none of its features \(image\) is a class label"):
        data.check("tiny")


def test_files_that_need_tensorflow_are_refused(prepared_set):
    prepared_set(file_format="tfrecord")
    with pytest.raises(ValueError, match=r"tfrecord files, which cannot be read without TensorFlow"):
        data.check("tiny")


def test_a_count_that_disagrees_is_refused(prepared_set):
    folder = prepared_set()
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["15", "14"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match=r"holds 15 records, dataset_info\.json says 14"):
        data.load("tiny")


def test_a_half_written_description_is_refused(prepared_set):
    folder = prepared_set()
    (folder / "features.json").write_text('{"featuresDict": {')
    with pytest.raises(ValueError, match=r"features\.json cannot be read.*prepare"):
        data.check("tiny")


MALFORMED = [
    ("dataset_info.json", lambda info: [], "it holds no table"),
    ("dataset_info.json", lambda info: info.pop("name"), "'name'"),
    ("dataset_info.json", lambda info: info["splits"][0].update(shardLengths=["x"]), "'x' is no integer"),
    ("dataset_info.json", lambda info: info["splits"][0].update(filepathTemplate="{OTHER}"), "'OTHER'"),
    ("features.json", lambda features: features.update(featuresDict=3), "'int' object"),
    ("features.json", lambda features: _image(features).pop("shape"), "'shape'"),
    (
        "features.json",
        lambda features: _image(features)["shape"].update(dimensions=["6", "5"]),
        r"\(6, 5\), not height",
    ),
]


def _image(features):
    return features["featuresDict"]["features"]["image"]["image"]


@pytest.mark.parametrize(("file", "change", "says"), MALFORMED, ids=[says for *_, says in MALFORMED])
def test_a_malformed_description_is_refused(prepared_set, file, change, says):
    path = prepared_set() / file
    described = json.loads(path.read_text())
    changed = change(described)
    path.write_text(json.dumps(changed if changed == [] else described))
    with pytest.raises(ValueError, match=f"{says}.*Remove .*tiny/1.0.0 and prepare it again: .*data prepare tiny"):
        data.check("tiny")
