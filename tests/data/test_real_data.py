"""The real sets, where they are at hand, through TFDS's own interface."""

import numpy as np
import pytest

from optaxaccel import data
from optaxaccel.data import DATASETS, array_records, catalogue, prepared, stream


@pytest.mark.parametrize("name", ["mnist", "cifar10", "imagenet_sample"])
def test_descriptions_agree_with_the_registry(real_data, name):
    card, source = DATASETS[name], prepared.find(name, directory=real_data(name))
    assert (source.splits, source.shape, source.classes, source.version) == (
        card.splits,
        card.shape,
        card.classes,
        card.version,
    )
    for split in source.splits:
        array_records.check_counts(source, split)


@pytest.mark.slow
def test_mnist_is_the_original(real_data):
    image, label, encoding = array_records.decode(prepared.find("mnist", directory=real_data("mnist")), "test")
    assert encoding == "png"
    assert catalogue.digest(image, label) == DATASETS["mnist"].checksums["test"]
    assert np.bincount(label).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.slow
def test_cifar10_says_what_copy_it_is_and_slices_as_tfds(real_data):
    import tensorflow_datasets as tfds

    source = prepared.find("cifar10", directory=real_data("cifar10"))
    dataset = data.load("cifar10", train_split="test[:9000]", test_split="test[9000:]", data_dir=real_data("cifar10"))
    assert dataset.train.image.shape == (9000, 32, 32, 3)
    labels = np.concatenate([dataset.train.label, dataset.test.label])
    assert np.bincount(labels).tolist() == [1000] * 10
    lossy = array_records.encoding(array_records.open_split(source, "test")[0]["image"]).startswith("jpeg")
    assert ("not the original pixels" in dataset.note) == lossy
    theirs = tfds.builder_from_directory(source.folder).as_data_source("test[9000:9020]").__getitems__(list(range(20)))
    assert dataset.test.label[:20].tolist() == [record["label"] for record in theirs]
    if not lossy:  # two decoders of JPEG may differ by one
        np.testing.assert_array_equal(dataset.test.image[:20], [record["image"] for record in theirs])


def test_photographs_stream_at_full_size(real_data):
    folder = str(real_data("imagenet_sample"))
    options = {"split": "train", "batch_size": 20, "data_dir": folder}
    [first, second] = stream.batches("imagenet_sample", train=True, stop=2, **options)
    assert first.image.shape == (20, 224, 224, 3)
    assert len({*first.label.tolist(), *second.label.tolist()}) == 40
    [again] = stream.batches("imagenet_sample", train=True, start=1, stop=2, **options)
    np.testing.assert_array_equal(second.image, again.image)
    assert second.image.std() > 30
    [central] = stream.batches("imagenet_sample", train=False, stop=1, **options)
    assert central.label.tolist() == [r["label"] for r in _labels(folder)]


def _labels(folder):
    source = prepared.find("imagenet_sample", directory=folder)
    return array_records.read_records(source, "train", array_records.open_split(source, "train"), range(20))
