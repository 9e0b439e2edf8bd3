"""Hostile and unlucky files: described, sized or scaled wrongly, and refused before they cost anything."""

import io
import json
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from optaxaccel.data import array_records, cache, crops, npz, prepared


def save(path, image, label=None, **more):
    label = np.arange(len(image)) % 3 if label is None else label
    np.savez(path, x_train=image, y_train=label, x_test=image, y_test=label, **more)
    return path


# --- npz --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        (np.int64, "x = x.astype(np.uint8), where they are 0 to 255"),
        (np.uint16, "x = x.astype(np.uint8), where they are 0 to 255"),
        (np.bool_, r"255 \* x.astype"),
    ],
)
def test_the_advice_is_right_for_the_dtype_at_hand(dtype, advice, tmp_path):
    values = np.array([0, 3, 200, 255]).reshape(1, 2, 2)
    path = save(tmp_path / "x.npz", values.astype(dtype))
    with pytest.raises(ValueError, match=advice.replace("x = x.astype(", r"x = x.astype\(").replace("8),", r"8\),")):
        npz.read(path, "train")
    if np.issubdtype(dtype, np.integer):  # what is advised gives the same pixels; 255 times as much would wrap around
        x = values.astype(dtype)
        np.testing.assert_array_equal(x.astype(np.uint8), values)
        assert (np.round(255 * x).astype(np.uint8) != values).any()


def test_a_file_that_would_fill_memory_is_refused_from_its_headers(tmp_path):
    path = tmp_path / "x.npz"
    image = np.zeros((40, 500, 500), np.int64)  # 80 MB of zeros, a few kB when compressed
    np.savez_compressed(path, x_train=image, y_train=np.zeros(40, int), x_test=image[:1], y_test=np.zeros(1, int))
    del image
    tracemalloc.start()
    with pytest.raises(ValueError, match="is int64"):
        npz.read(path, "train")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize("shape", [(2**40, 2**20, 3), (3, -1, 4), (7, 2, 2)])
def test_a_header_that_lies_about_its_size_is_refused(shape, tmp_path):
    path = tmp_path / "x.npz"
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with zipfile.ZipFile(save(path, np.zeros((3, 2, 2), np.uint8)), "a") as archive:
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, header)
        archive.writestr("extra.npy", buffer.getvalue() + bytes(12))
    with pytest.raises(ValueError, match="'extra' would be uint8"):
        npz.read(path, "train")


# --- Descriptions of prepared sets ------------------------------------------------------------------------------------


def describe(folder, info=None, features=None):
    folder = folder / "made" / "1.0.0"
    folder.mkdir(parents=True)
    shape = {"shape": {"dimensions": ["8", "8", "1"]}}
    table = {"image": {"image": shape}, "label": {"classLabel": {"numClasses": "10"}}}
    described = {"name": "made", "fileFormat": "array_record", "splits": [{"name": "train", "shardLengths": ["3"]}]}
    described["supervisedKeys"] = {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}}
    (folder / "dataset_info.json").write_text(json.dumps(described | (info or {})))
    text = json.dumps({"featuresDict": {"features": table | (features or {})}})
    (folder / "features.json").write_text(text)
    return folder


def image_of(*sides):
    return {"image": {"image": {"shape": {"dimensions": list(sides)}}}}


def template(text):
    return {"splits": [{"name": "train", "shardLengths": ["3"], "filepathTemplate": text}]}


BAD = {
    "a side of 0": (None, image_of("0", "8", "1")),
    "a huge side": (None, image_of("1" * 30, "8", "1")),
    "a side of -2": (None, image_of("-2", "8", "1")),
    "a side of None": (None, image_of(None, "8", "1")),
    "no classes": (None, {"label": {"classLabel": {"numClasses": "0"}}}),
    "huge classes": (None, {"label": {"classLabel": {"numClasses": "9" * 20}}}),
    "images below zero": ({"splits": [{"name": "train", "shardLengths": ["-3"]}]}, None),
    "an attribute": (template("{DATASET.__class__}"), None),
    "an index": (template("{DATASET[0]}"), None),
    "a width": (template("{DATASET:>1000000000}"), None),
    "an absolute path": (template("/etc/passwd"), None),
    "a path upwards": (template("../{DATASET}"), None),
    "a NUL": (template("{DATASET}\0"), None),
    "an unknown name": (template("{HOME}"), None),
    "a long name": (template("x" * 5000), None),
    "splits that are none": ({"splits": 3}, None),
    "a name that is none": ({"name": {}}, None),
}


@pytest.mark.parametrize("case", BAD)
def test_a_description_that_tfds_would_not_write_is_refused(case, tmp_path):
    folder = describe(tmp_path, *BAD[case])
    with pytest.raises(ValueError, match="not as TFDS writes them") as refused:
        prepared.find("made", directory=tmp_path)
    assert str(folder) in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_json_without_an_end_of_nesting_is_refused(tmp_path):
    folder = describe(tmp_path)
    (folder / "features.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="cannot be read"):
        prepared.find("made", directory=tmp_path)


# --- The cache --------------------------------------------------------------------------------------------------------

HEADS = [
    b"[" * 9000,
    b"3",
    b"{}",
    json.dumps({"format": 2, "shape": []}).encode(),
    json.dumps({"format": 2, "shape": [2**70, 2, 2, 1], "checksum": "", "facts": {}}).encode(),
    json.dumps({"format": 2, "shape": [2**40, 2, 2, 1], "checksum": "", "facts": {}}).encode(),
    json.dumps({"format": 2, "shape": [-1, 2, 2, 1], "checksum": "", "facts": {}}).encode(),
    json.dumps({"format": 2, "shape": ["a"], "checksum": "", "facts": {}}).encode(),
    json.dumps({"format": 2, "shape": {"a": 1}, "checksum": "", "facts": {}}).encode(),
]


@pytest.mark.parametrize("head", range(len(HEADS)))
def test_a_damaged_head_of_a_cached_file_is_a_warning(head, tmp_path):
    path = tmp_path / "x.u8"
    path.write_bytes(HEADS[head] + b"\n" + bytes(50))
    with pytest.warns(UserWarning, match="decoded again"):
        assert cache.load(path) is None


# --- Images -----------------------------------------------------------------------------------------------------------


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_grey_images_of_sixteen_bits_are_scaled_and_not_cut_off():
    values = np.array([[0, 257, 32896], [65535, 300, 128]], np.uint16)
    image = Image.open(io.BytesIO(encoded(Image.fromarray(values))))
    assert image.mode.startswith("I")
    square = Image.fromarray(np.full((8, 8), 32896, np.uint16))
    np.testing.assert_array_equal(crops.crop_image(square, size=4, draw=None), np.full((4, 4, 3), 128))
    np.testing.assert_array_equal(np.asarray(crops._eight_bits(image)), [[0, 1, 128], [255, 1, 0]])
    with pytest.raises(ValueError, match="floats"):
        crops.crop_image(Image.fromarray(np.zeros((8, 8), np.float32)), size=4, draw=None)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_numbers_of_a_palette_are_not_taken_for_brightness(channels, tmp_path):
    grey = np.array([[0, 90], [200, 255]], np.uint8)
    picture = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "L").convert("P")
    picture.putpalette([level for pair in grey.reshape(-1) for level in (pair, pair, pair)])
    picture.putdata([0, 1, 2, 3])
    folder = describe(tmp_path, features=image_of("2", "2", str(channels)))
    (folder / "made-train.array_record-00000-of-00001").touch()
    source = prepared.find("made", directory=tmp_path)
    pixels = array_records.decode_image(source, "train", 0, encoded(picture))
    np.testing.assert_array_equal(pixels, np.repeat(grey[..., None], channels, axis=2))
    shutil.rmtree(tmp_path / "made")
