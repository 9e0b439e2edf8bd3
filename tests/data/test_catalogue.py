"""What `optaxaccel data` shows and does."""

import importlib.util

import numpy as np
import pytest

from optaxaccel import data
from optaxaccel.data import DATASETS, catalogue

from .sets import encode, pixels


def bad(findings):
    return [finding.text for finding in findings if not finding.good]


def test_lists_the_registry_and_what_else_is_prepared(prepared_set, tmp_path):
    prepared_set()
    prepared_set("many/one")
    prepared_set("text", with_label=False)
    rows = {row.name: row for row in catalogue.rows()}
    assert list(rows) == [*DATASETS, "many/one", "tiny"]
    assert rows["tiny"] == ("tiny", "6x5x3", 3, "train 30, test 12", "prepared 1.0.0")
    assert rows["mnist"].state == "not prepared"
    assert rows["imagenet2012"].shape == "anyxanyx3"


def test_info_tells_what_and_where(prepared_set, tmp_path):
    prepared_set()
    assert catalogue.info("tiny")["cache"] == "nothing yet"
    data.load("tiny")
    facts = catalogue.info("tiny")
    assert facts["folder"] == str(tmp_path / "tfds" / "tiny")
    assert str(tmp_path / "cache" / "tiny-1.0.0-train") in facts["cache"]
    assert catalogue.info("cifar100")["state"] == "not prepared"
    assert "CC BY 4.0" in catalogue.info("digits")["licence"]
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        catalogue.info("mnits")


def test_verifies_whole_sets(prepared_set):
    prepared_set()
    assert bad(catalogue.verify("tiny")) == []
    assert bad(catalogue.verify("digits")) == []
    assert bad(catalogue.verify("synthetic/4x4x1/2")) == []
    assert "train: pixels and labels are the original" in [f.text for f in catalogue.verify("digits")]


def write_cifar(prepared_set, *, labels=None, form="PNG", version="3.0.2", n=20):
    images = {split: [encode(p, form) for p in pixels(n, (32, 32, 3))] for split in ("train", "test")}
    labels = labels or {split: [i % 10 for i in range(n)] for split in ("train", "test")}
    prepared_set(
        "cifar10",
        version=version,
        shape=(32, 32, 3),
        classes=10,
        sizes={"train": n, "test": n},
        images=images,
        labels=labels,
    )


def test_wrong_counts_versions_and_balance_are_found(prepared_set):
    write_cifar(prepared_set, version="2.0.0", labels={"train": [0] * 10 + [*range(10)], "test": [*range(10)] * 2})
    assert bad(catalogue.verify("cifar10")) == [
        "version 2.0.0, expected 3.0.2",
        "images: train 20, test 20, not train 50,000, test 10,000",
        "train: 1 to 11 images a class, not 2 in each",
    ]


def test_the_order_in_which_splits_are_described_does_not_matter(prepared_set, monkeypatch):
    prepared_set()
    card = data.card_of("tiny")._replace(splits={"test": 12, "train": 30})
    monkeypatch.setattr("optaxaccel.data.catalogue.DATASETS", {"tiny": card})
    assert bad(catalogue.verify("tiny")) == []


def test_lossy_copies_are_found(prepared_set):
    write_cifar(prepared_set, form="JPEG")
    assert any("lossy copy: jpeg (quality 75)" in text for text in bad(catalogue.verify("cifar10")))


def test_other_pixels_are_found(prepared_set, monkeypatch):
    prepared_set()
    images = data.load("tiny")
    sums = {"train": catalogue.digest(*images.train), "test": "0" * 64}
    card = DATASETS["digits"]._replace(name="tiny", kind="tfds", version="1.0.0", checksums=sums, classes=3)
    card = card._replace(shape=(6, 5, 3), splits={"train": 30, "test": 12})
    monkeypatch.setattr("optaxaccel.data.image_sets.DATASETS", {"tiny": card})
    monkeypatch.setattr("optaxaccel.data.catalogue.DATASETS", {"tiny": card})
    assert bad(catalogue.verify("tiny")) == ["test: pixels and labels are NOT the original"]


def test_photographs_are_decoded_to_the_last(prepared_set):
    stored = [encode(p, "JPEG") for p in pixels(70, (9, 9, 3))]
    prepared_set("photos", shape=(-1, -1, 3), sizes={"train": 70}, images={"train": stored})
    seen = []
    findings = catalogue.verify("photos", progress=lambda *done: seen.append(done))
    assert bad(findings) == []
    assert seen == [(64, 70), (70, 70)]
    stored[69] = stored[69][:100]
    prepared_set("broken", shape=(-1, -1, 3), sizes={"train": 70}, images={"train": stored})
    with pytest.raises(ValueError, match="image 69 of split 'train'"):
        catalogue.verify("broken")


def test_the_digest_sees_pixels_and_labels_but_not_order():
    image, label = pixels(5, (3, 3, 1)), np.arange(5, dtype=np.int32)
    digest = catalogue.digest(image, label)
    assert digest == catalogue.digest(image[::-1], label[::-1])
    assert digest != catalogue.digest(image[::-1], label)
    other = image.copy()
    other[2, 1, 1, 0] ^= 1
    assert digest != catalogue.digest(other, label)


def test_prepare_says_what_is_there_already(prepared_set):
    prepared_set()
    said = []
    for name in ("digits", "tiny"):
        catalogue.prepare(name, say=said.append)
    assert said[0] == "digits needs no preparation."
    assert "tiny 1.0.0 is prepared already" in said[1]


def test_prepare_needs_a_known_name_files_and_tensorflow(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"'cifar1000' is not in TFDS's catalogue.*Did you mean 'cifar100'"):
        catalogue.prepare("cifar1000")
    with pytest.raises(ValueError, match=r"cannot prepare it\. It is made of 1,000 images of ImageNet"):
        catalogue.prepare("imagenet_sample")
    with pytest.raises(FileNotFoundError, match=r"ILSVRC2012_img_train\.tar"):
        catalogue.prepare("imagenet2012")
    with pytest.raises(ValueError, match=r"needs TensorFlow.*pip install 'optaxaccel\[prepare\]'"):
        catalogue.prepare("mnist")


def test_prepare_calls_tfds_and_reports_its_failures(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    from .sets import write_set

    asked, said = [], []

    class Builder:
        def download_and_prepare(self):
            if not asked[1:]:
                raise OSError("no network")
            write_set(tmp_path / "tfds", "mnist", version="3.0.1", shape=(4, 4, 1))

    def builder(name, **options):
        asked.append((name, options))
        return Builder()

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(tfds, "builder", builder)
    with pytest.raises(ValueError, match=r"could not download mnist.*no network"):
        catalogue.prepare("mnist", say=said.append)
    catalogue.prepare("mnist", say=said.append)
    assert asked[1] == ("mnist", {"data_dir": tmp_path / "tfds", "file_format": "array_record"})
    assert "optaxaccel data verify mnist" in said[-1]
