"""Sets that TFDS has prepared: found, decoded, and refused with a reason."""

import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from optaxaccel import data
from optaxaccel.data import array_records, prepared

from .sets import encode, pixels


def test_decodes_what_was_written_as_tfds_does(prepared_set):
    import tensorflow_datasets as tfds

    folder = prepared_set()
    dataset = data.load("tiny")
    np.testing.assert_array_equal(dataset.train.image, pixels(30, (6, 5, 3), seed=len("train")))
    np.testing.assert_array_equal(dataset.test.label, np.arange(12) % 3)
    assert (dataset.train.image.dtype, dataset.train.label.dtype) == (np.uint8, np.int32)
    assert (dataset.name, dataset.classes, dataset.note) == ("tiny", 3, "")
    theirs = tfds.builder_from_directory(folder).as_data_source("train[7:20]")
    ours = data.load("tiny", train_split="train[7:20]").train
    for index, record in enumerate(theirs):
        np.testing.assert_array_equal(ours.image[index], record["image"])
        assert ours.label[index] == record["label"]


def test_grey_images_and_configurations(prepared_set):
    prepared_set("tiny/grey", shape=(6, 5, 1))
    assert data.load("tiny/grey").train.image.shape == (30, 6, 5, 1)
    assert data.load("tiny/grey:1.0.0").name == "tiny/grey"


def test_the_newest_version_is_taken(prepared_set):
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        prepared_set(version=version)
    assert prepared.find("tiny").version == "1.10.0"
    assert prepared.find("tiny:1.2.0").version == "1.2.0"
    with pytest.raises(FileNotFoundError, match=r"no version '3.0.0'.*There is: 1.2.0, 1.9.0, 1.10.0"):
        data.check("tiny:3.0.0")


def test_many_chunks_and_threads(prepared_set, monkeypatch):
    prepared_set(sizes={"train": 30, "test": 12}, shards=4)
    monkeypatch.setattr(array_records, "_CHUNK_RECORDS", 7)
    monkeypatch.setattr(array_records, "_THREADED_PIXELS", 1)
    seen = []
    image, label, encoding = array_records.decode(
        prepared.find("tiny"), "train", progress=lambda *done: seen.append(done)
    )
    np.testing.assert_array_equal(image, pixels(30, (6, 5, 3), seed=len("train")))
    np.testing.assert_array_equal(label, np.arange(30) % 3)
    assert encoding == "png"
    assert seen == [(7, 30), (14, 30), (21, 30), (28, 30), (30, 30)]


def test_progress_is_for_terminals(prepared_set, monkeypatch, capsys):
    prepared_set()
    data.load("tiny", test_split="train[:10]", train_split="train[10:]")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    data.load("tiny")
    assert capsys.readouterr().err == "\rdecoding tiny test: 12 of 12 images (100%)\n"


def test_second_load_reads_the_cache_alone(prepared_set, monkeypatch):
    prepared_set()
    first = data.load("tiny")
    monkeypatch.setattr(array_records, "decode", None)
    second = data.load("tiny")
    np.testing.assert_array_equal(first.train.image, second.train.image)
    np.testing.assert_array_equal(first.test.label, second.test.label)


def test_a_new_copy_of_a_set_is_decoded_anew(prepared_set):
    folder = prepared_set()
    old = data.load("tiny")
    shutil.rmtree(folder)
    prepared_set(labels={"train": [2] * 30, "test": [1] * 12})
    new = data.load("tiny")
    assert new.train.label.tolist() == [2] * 30
    assert old.train.label.tolist() != [2] * 30


def test_a_damaged_cache_is_renewed(prepared_set, tmp_path):
    prepared_set()
    good = data.load("tiny")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.warns(UserWarning, match="damaged"):
        again = data.load("tiny")
    np.testing.assert_array_equal(good.train.image, again.train.image)
    data.load("tiny")  # no warning: whole again


def test_without_a_cache_it_works(prepared_set, tmp_path, monkeypatch):
    prepared_set()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPTAXACCEL_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not cached"):
        assert data.load("tiny").train.image.shape == (30, 6, 5, 3)


def test_a_lossy_copy_says_so(prepared_set):
    image = {
        split: [encode(p, "JPEG", quality=75) for p in pixels(n, (32, 32, 3))]
        for split, n in (("train", 10), ("test", 10))
    }
    prepared_set(
        "cifar10", version="3.0.2", shape=(32, 32, 3), classes=10, sizes={"train": 10, "test": 10}, images=image
    )
    note = data.load("cifar10").note
    assert "jpeg (quality 75)" in note
    assert "not the original pixels" in note
    assert data.load("cifar10").note == note  # from the cache too


def test_not_prepared_says_where_and_how(tmp_path):
    for name in ("mnist", "cifar100", "imagenet2012"):
        with pytest.raises(FileNotFoundError) as caught:
            data.check(name)
        message = str(caught.value)
        assert str(tmp_path / "tfds" / name) in message
        assert f"optaxaccel data prepare {name} --data-dir {tmp_path / 'tfds'}" in message
    with pytest.raises(FileNotFoundError, match="data prepare mnist --data-dir /nowhere"):
        data.load("mnist", data_dir="/nowhere")


def test_unknown_names_are_suggested():
    with pytest.raises(ValueError, match=r"Unknown data set 'mnits'. Did you mean 'mnist'\?"):
        data.check("mnits")


def test_check_is_fast_and_loads_nothing(prepared_set, tmp_path):
    prepared_set()
    code = """if True:
        import sys
        from optaxaccel import data
        data.check("tiny")
        data.check("digits")
        for name in ("mnist", "tinny"):
            try:
                data.check(name)
            except (ValueError, FileNotFoundError):
                pass
        print([m for m in ("jax", "tensorflow_datasets", "PIL", "grain", "tensorflow") if m in sys.modules])
    """
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - started < 10  # 0.4 s on a quiet machine; the network would take 205 s


def test_reading_never_asks_the_network_nor_tensorflow(prepared_set):
    prepared_set()
    code = """if True:
        import socket, sys
        def refuse(*args, **kwargs):
            raise AssertionError("the network was asked")
        socket.socket.connect = socket.getaddrinfo = refuse
        from optaxaccel import data
        print(len(data.load("tiny").train.label), "tensorflow" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "30 False", done.stderr


def test_the_command_that_prepares_a_configuration_names_it(prepared_set, tmp_path):
    (prepared_set("tiny/grey") / "features.json").write_text("{")
    with pytest.raises(ValueError, match=f"data prepare tiny/grey --data-dir {tmp_path / 'tfds'}"):
        data.check("tiny/grey")


@pytest.mark.parametrize("name", ["", ".", "../tfds/tiny", "/tfds/tiny", ":1.0.0", "tiny/"])
def test_what_cannot_be_a_name_is_refused(prepared_set, name):
    prepared_set()
    with pytest.raises(ValueError, match="is no name of a data set"):
        data.check(name)


def test_photographs_are_streamed_not_loaded(prepared_set):
    prepared_set(
        shape=(-1, -1, 3),
        images={s: [encode(p, "JPEG") for p in pixels(6, (9, 9, 3))] for s in ("train", "test")},
        sizes={"train": 6, "test": 6},
    )
    data.check("tiny")
    with pytest.raises(ValueError, match=r"differ in size.*stream\.batches"):
        data.load("tiny")
