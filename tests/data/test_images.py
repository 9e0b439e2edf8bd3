"""Embedded, synthetic and .npz sets, and what `load` promises of any set."""

import numpy as np
import pytest

from optaxaccel import data
from optaxaccel.data import DATASETS, catalogue, digits


def test_digits_are_the_published_ones():
    dataset = data.load("digits")
    assert dataset.train.image.shape == (1437, 8, 8, 1)
    assert dataset.test.image.shape == (360, 8, 8, 1)
    # class counts as the repository gives them for its test part
    assert np.bincount(digits.read()[1]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    for split, images in (("train", dataset.train), ("test", dataset.test)):
        assert catalogue.digest(*images) == DATASETS["digits"].checksums[split]


def test_digits_scale_is_lossless():
    image, _ = digits.read()
    values = np.unique(image)
    assert values.tolist() == [count * 255 // 16 for count in range(17)]


def test_statistics_on_the_card_are_those_of_the_images():
    dataset = data.load("digits")
    np.testing.assert_allclose(dataset.train.image.mean() / 255, dataset.mean[0], atol=5e-5)
    np.testing.assert_allclose(dataset.train.image.std() / 255, dataset.std[0], atol=5e-5)


@pytest.mark.parametrize("name", ["digits", "synthetic", "synthetic/12x10x3/5"])
def test_cards_agree_with_the_images(name):
    dataset, card = data.load(name), data.card_of(name)
    assert dataset.train.image.shape == (card.splits["train"], *card.shape)
    assert dataset.test.image.shape == (card.splits["test"], *card.shape)
    for images in (dataset.train, dataset.test):
        assert images.image.dtype == np.uint8
        assert images.label.dtype == np.int32
        assert set(images.label.tolist()) == set(range(card.classes))


def test_every_card_is_complete():
    for name, card in DATASETS.items():
        assert card.name == name
        assert card.source
        assert card.licence
        assert card.kind in ("embedded", "tfds", "synthetic")
        assert len(card.mean) == len(card.std) in (1, card.shape[-1])
        assert not card.test_split or card.test_split in card.splits
        assert (card.kind == "tfds") == bool(card.version)


def test_synthetic_is_reproducible_and_can_be_learnt():
    one, two = data.load("synthetic/8x8x1/3"), data.load("synthetic/8x8x1/3")
    np.testing.assert_array_equal(one.train.image, two.train.image)
    means = np.stack([one.train.image[one.train.label == c].mean(0) for c in range(3)])
    distance = ((one.test.image[:, None] - means[None]) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == one.test.label).all()
    assert not np.array_equal(one.train.image[:256], one.test.image)


@pytest.mark.parametrize("name", ["synthetic/8x8", "synthetic/0x8x3/2", "synthetic/8x8x3/0", "synthetic/"])
def test_a_wrong_synthetic_shape_is_named(name):
    with pytest.raises(ValueError, match="HEIGHTxWIDTHxCHANNELS"):
        data.check(name)


def test_overlapping_and_unknown_splits_are_refused():
    with pytest.raises(ValueError, match="share 37 images"):
        data.load("digits", train_split="train", test_split="train[1400:]")
    with pytest.raises(ValueError, match="no split 'valid'"):
        data.load("digits", test_split="valid")


def test_splits_join():
    dataset = data.load("digits", train_split="train[:3]+test[:2]", test_split="test[2:]")
    whole = data.load("digits")
    np.testing.assert_array_equal(dataset.train.label, [*whole.train.label[:3], *whole.test.label[:2]])


def test_normalisations():
    dataset = data.load("digits")
    mean, std = data.normalisation(dataset, "pixel")
    np.testing.assert_allclose(mean, (dataset.train.image / 255).mean(0), rtol=1e-6)
    assert std.tolist() == [1.0]
    assert [part.tolist() for part in data.normalisation(dataset, "half")] == [[0.5], [0.5]]
    assert [part.tolist() for part in data.normalisation(dataset, "none")] == [[0.0], [1.0]]
    with pytest.raises(ValueError, match="how='mean' is unknown"):
        data.normalisation(dataset, "mean")


def arrays(n=6, **changed):
    rng = np.random.default_rng(0)
    made = {
        "x_train": rng.integers(0, 256, (n, 5, 4, 3), dtype=np.uint8),
        "y_train": np.arange(n) % 3,
        "x_test": rng.integers(0, 256, (4, 5, 4, 3), dtype=np.uint8),
        "y_test": np.arange(4)[:, None] % 3,
    }
    return {key: value for key, value in (made | changed).items() if value is not None}


def test_npz(tmp_path):
    np.savez(tmp_path / "set.npz", **arrays())
    name = str(tmp_path / "set.npz")
    data.check(name)
    dataset = data.load(name, train_split="train[:4]")
    np.testing.assert_array_equal(dataset.train.image, arrays()["x_train"][:4])
    assert (dataset.classes, dataset.test.label.tolist()) == (3, [0, 1, 2, 0])
    np.testing.assert_allclose(dataset.mean, (arrays()["x_train"] / 255).mean((0, 1, 2)))


def test_npz_of_grey_images(tmp_path):
    grey = {"x_train": np.zeros((6, 5, 4), np.uint8), "x_test": np.zeros((4, 5, 4), np.uint8)}
    np.savez(tmp_path / "set.npz", **arrays(**grey))
    dataset = data.load(str(tmp_path / "set.npz"))
    assert dataset.train.image.shape == (6, 5, 4, 1)
    assert dataset.std[0] > 0  # a constant image must not divide by zero


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"y_test": None}, "has no array 'y_test', only: x_train"),
        ({"x_train": np.zeros((6, 5, 4, 3))}, "x_train is float64, and the other split uint8"),
        ({"x_test": np.zeros((4, 5, 5, 3), np.uint8)}, "x_test"),
        ({"y_train": np.zeros(5, int)}, "labels must be 6 integers"),
        ({"y_train": np.zeros(6)}, "labels must be 6 integers"),
        ({"y_train": -np.ones(6, int)}, "labels must be 6 integers"),
        ({"x_train": np.zeros((0, 5, 4, 3), np.uint8), "y_train": np.zeros(0, int)}, "images must be uint8 or f"),
        ({"y_train": np.array([None] * 6)}, "damaged.*Object arrays"),
        ({"x_test": np.zeros((4, 0, 4, 3), np.uint8)}, "images must be uint8"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2**40])}, "the label 1,099,511,627,776.*np.unique"),
        ({"y_test": np.array([0, 1, 2, 2**63 + 1], np.uint64)}, "the label 9,223,372,036,854,775,809"),
    ],
)
def test_a_wrong_npz_is_refused(tmp_path, changed, says):
    np.savez(tmp_path / "set.npz", **arrays(**changed))
    with pytest.raises(ValueError, match=says):
        data.load(str(tmp_path / "set.npz"))


def test_a_damaged_or_missing_npz_is_named(tmp_path):
    (tmp_path / "set.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ValueError, match=r"damaged or no \.npz file"):
        data.check(str(tmp_path / "set.npz"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        data.check(str(tmp_path / "none.npz"))
    np.save(tmp_path / "lone.npy", arrays()["x_train"])
    (tmp_path / "lone.npy").rename(tmp_path / "lone.npz")
    with pytest.raises(ValueError, match=r"damaged or no \.npz file.*np\.savez\('.*lone\.npz'"):
        data.check(str(tmp_path / "lone.npz"))


def test_no_damage_to_an_npz_goes_unnoticed_or_unexplained(tmp_path):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, **arrays(x_train=np.zeros((6, 5, 4, 3), np.uint8)))
    whole, good, said = path.read_bytes(), data.load(str(path)), []
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            read = data.load(str(path))
        except ValueError as error:
            said.append(str(error))
        else:  # in one of the fields that an archive holds twice
            for a, b in zip((*read.train, *read.test), (*good.train, *good.test), strict=True):
                np.testing.assert_array_equal(a, b)
    assert len(said) > 100
    assert all(str(path) in text for text in said)
