"""Images of your own: folders whose sub-folders are classes, and dictionaries of arrays in either order."""

import numpy as np
import pytest
from PIL import Image

from optaxaccel import data, tasks, training
from optaxaccel.data.arrays import from_arrays
from optaxaccel.training import loop
from optaxaccel.training.keeping.keep import Keep
from optaxaccel.training.run.spec import Run

RNG = np.random.default_rng(0)


def fill(folder, count, shape=(8, 8)):
    folder.mkdir(parents=True)
    made = RNG.integers(0, 256, (count, *shape), dtype=np.uint8)
    for k, pixels in enumerate(made):
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return made


def test_classes_are_sub_folders_and_a_fifth_is_measured_on(tmp_path):
    cats, dogs = fill(tmp_path / "cats", 6), fill(tmp_path / "dogs", 4)
    images = data.load(str(tmp_path))
    assert (images.classes, len(images.train.label), len(images.test.label)) == (2, 8, 2)
    whole = np.concatenate([images.train.image, images.test.image])[..., 0]
    assert {i.tobytes() for i in whole} == {i.tobytes() for i in [*cats, *dogs]}
    labels = dict(zip((i.tobytes() for i in images.train.image), images.train.label, strict=True))
    assert all(labels.get(i.tobytes(), 0) == 0 for i in cats)
    assert all(labels.get(i.tobytes(), 1) == 1 for i in dogs)


def test_parts_colour_and_other_sizes(tmp_path):
    fill(tmp_path / "train" / "a", 2, (8, 8, 3))
    fill(tmp_path / "train" / "b", 1, (4, 4))
    kept = fill(tmp_path / "val" / "b", 3, (8, 8, 3))
    before = data.contents_key(str(tmp_path))
    images = data.load(str(tmp_path))
    assert images.train.image.shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(images.test.image, kept)
    assert images.test.label.tolist() == [1, 1, 1]
    fill(tmp_path / "train" / "c", 1, (8, 8, 3))
    assert data.contents_key(str(tmp_path)) != before
    assert data.load(str(tmp_path)).classes == 3


def test_what_is_no_image_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cats/1\.png"):
        data.load(str(tmp_path))
    fill(tmp_path / "a", 2), fill(tmp_path / "b", 2)
    (tmp_path / "b" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"b/0\.png is damaged"):
        data.load(str(tmp_path))


def test_arrays_in_either_order_and_kind_are_the_same_images():
    x = RNG.integers(0, 256, (6, 8, 9, 3), dtype=np.uint8)
    y = np.array([0, 1, 2, 0, 1, 2])

    def made(x):
        return from_arrays({"x_train": x, "y_train": y, "x_test": x[:2], "y_test": y[:2]})

    for other in (x, x.transpose(0, 3, 1, 2), (x / 255.0).astype(np.float32), x.astype(float)):
        np.testing.assert_array_equal(made(other).train.image, x)
    task = tasks.make("images", dataset={"x_train": x, "y_train": y, "x_test": x, "y_test": y}, batch_size=2)
    assert task.train["image"].shape == (6, 8, 9, 3)
    whole = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    for name, array, said in (
        ("x_train", x - 300.0, "both splits alike"),
        ("y_train", y + 0.5, "labels are 6 integers"),
        ("y_train", y + 10**9, r"y_train holds the label 1,000,000,002.*np\.unique"),
        ("y_test", y - 1, "y_test holds the label -1"),
        ("x_test", x[:, :4], "x_test"),
    ):
        with pytest.raises(ValueError, match=said):
            from_arrays({**whole, name: array})
    with pytest.raises(ValueError, match="has no y_test"):
        from_arrays({"x_train": x, "y_train": y, "x_test": x})


RANGES = {
    "[0, 1]": (0.0, 1.0, ""),
    "[0, 255]": (0.0, 255.0, ""),
    "[-1, 1]": (-1.0, 1.0, "[-1, 1]"),
    "normalised": (-2.1179, 2.64, "normalised or resized before"),
}


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("case", RANGES)
def test_floating_images_become_the_bytes_that_they_were_made_of(case, order, tmp_path):
    """From a file and from memory; the test split has another range, and is spread by the same rule."""
    low, high, said = RANGES[case]
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
    pixels[0, 0, 0] = 0, 255, 7
    x = (low + pixels / 255 * (high - low)).astype(np.float32)
    x = x.transpose(0, 3, 1, 2) if order == "first" else x
    whole = {"x_train": x, "y_train": np.arange(6) % 2, "x_test": x[2:4], "y_test": np.arange(2)}
    np.savez(tmp_path / "x.npz", **whole)
    for made in (from_arrays(whole), data.load(str(tmp_path / "x.npz"))):
        np.testing.assert_array_equal(made.train.image, pixels)
        np.testing.assert_array_equal(made.test.image, pixels[2:4])
        assert said in made.note
        assert bool(made.note) == bool(said)
        mean, std = data.normalisation(made)
        seen = (made.train.image / 255.0 - mean) / std
        np.testing.assert_allclose([seen.mean((0, 1, 2)), seen.std((0, 1, 2))], [[0] * 3, [1] * 3], atol=1e-5)


def test_bytes_with_channels_first_are_turned_and_nan_is_refused(tmp_path):
    x = np.arange(6 * 3 * 8 * 9, dtype=np.uint8).reshape(6, 3, 8, 9)
    y = {"y_train": np.arange(6) % 2, "y_test": np.arange(2)}
    np.savez(tmp_path / "x.npz", x_train=x, x_test=x[:2], **y)
    np.testing.assert_array_equal(data.load(str(tmp_path / "x.npz")).train.image, x.transpose(0, 2, 3, 1))
    bad = np.where(x == 5, np.nan, x / 255)
    np.savez(tmp_path / "bad.npz", x_train=bad, x_test=bad[:2], **y)
    with pytest.raises(ValueError, match="NaN or infinite"):
        data.load(str(tmp_path / "bad.npz"))


LEVELS = {  # lowest and highest number, and the levels that must be left of 256
    "[0, 1.02]": (0.0, 1.02, 256),
    "[0, 10]": (0.0, 10.0, 256),
    "[-0.001, 1]": (-0.001, 1.0, 256),
    "[0, 200]": (0.0, 200.0, 200),
}


@pytest.mark.parametrize("case", LEVELS)
def test_floating_images_keep_their_levels_and_say_what_was_done(case):
    low, high, left = LEVELS[case]
    x = np.linspace(low, high, 16 * 8 * 8).reshape(16, 8, 8)
    made = from_arrays({"x_train": x, "y_train": np.arange(16) % 2, "x_test": x[:2], "y_test": [0, 1]})
    assert len(np.unique(made.train.image)) >= left
    assert bool(made.note) == (high < 128)


@pytest.mark.parametrize("channels", [2, 5, 13])
def test_other_numbers_of_channels_come_last_or_are_refused(channels, tmp_path):
    last = RNG.integers(0, 256, (4, 16, 17, channels), dtype=np.uint8)
    whole = {"y_train": np.arange(4) % 2, "y_test": np.arange(2)}
    assert from_arrays({"x_train": last, "x_test": last[:2], **whole}).train.image.shape == last.shape
    first = last.transpose(0, 3, 1, 2)
    np.savez(tmp_path / "x.npz", x_train=first, x_test=first[:2], **whole)
    for make in (lambda: from_arrays({"x_train": first, "x_test": first[:2], **whole}), lambda: load(tmp_path)):
        with pytest.raises(ValueError, match=r"x_train are .*transpose\(0, 2, 3, 1\)"):
            make()


def load(folder):
    return data.load(str(folder / "x.npz"))


def test_the_task_takes_data_sets_in_memory_and_splits_of_them():
    x, y = RNG.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8), np.arange(20) % 2
    whole = {"x_train": x, "y_train": y, "x_test": x[:6], "y_test": y[:6]}
    for dataset in (from_arrays(whole), whole):
        task = tasks.make("images", dataset=dataset, batch_size=2, train_split="train[:12]", test_split="train[12:]")
        np.testing.assert_array_equal(task.train["image"], x[:12])
        np.testing.assert_array_equal(task.test["image"], x[12:])
        with pytest.raises(ValueError, match="share 20 images"):
            tasks.make("images", dataset=dataset, test_split="train")
    with pytest.raises(ValueError, match="dataset is a ndarray"):
        tasks.make("images", dataset=x)


@pytest.mark.parametrize("high", [1.0, 1.1, 0.0], ids=["[0, 1]", "normalised", "bytes"])
def test_a_loaded_run_predicts_from_images_as_the_file_holds_them(high, tmp_path):
    digits = data.load("digits")
    dtype = np.float32 if high else np.uint8
    x, test = ((part.image * (high / 255 if high else 1)).astype(dtype) for part in (digits.train, digits.test))
    first = {"x_train": x.transpose(0, 3, 1, 2), "x_test": test.transpose(0, 3, 1, 2)}
    np.savez(tmp_path / "x.npz", y_train=digits.train.label, y_test=digits.test.label, **first)
    run = Run(data=str(tmp_path / "x.npz"), model_args={"hidden": (32,)}, method="optax.adam", batch_size=32, epochs=3)
    loop.train(run.replace(method_args={"learning_rate": 0.01}), tmp_path / "record.jsonl", keep=Keep(tmp_path))
    trained = training.load(tmp_path, "last")
    accuracy = trained.evaluate()["accuracy"]
    assert accuracy > 0.5
    for images in (first["x_test"], test, digits.test.image):
        assert np.mean(np.argmax(trained.predict(images), 1) == digits.test.label) == pytest.approx(accuracy, abs=1e-6)
    with pytest.raises(ValueError, match=r"one image as x\[None\]"):
        trained.predict(test[..., [0, 0, 0]])
    if not high:
        with pytest.raises(ValueError, match=r"trained on were uint8.*255 \* x"):
            trained.predict(test / 255)
