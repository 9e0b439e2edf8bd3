"""Sets of Hugging Face's `datasets`, by a stand-in that has what of it is used."""

import numpy as np
import pytest
from PIL import Image

from optaxaccel import tasks
from optaxaccel.data.hugging_face import from_hugging_face

RNG = np.random.default_rng(0)


class Split:
    """Columns by name, decoded when they are asked for."""

    def __init__(self, **columns):
        self.columns = columns

    @property
    def column_names(self):
        return list(self.columns)

    def __getitem__(self, name):
        return self.columns[name]


def split(count, size=(5, 4, 3), **names):
    pixels = RNG.integers(0, 256, (count, *size), dtype=np.uint8)
    images = [Image.fromarray(one) for one in pixels]
    return pixels, Split(
        **{names.get("image", "image"): images, names.get("label", "label"): [k % 3 for k in range(count)]}
    )


def test_decoded_images_and_labels_arrive():
    (x, train), (u, test) = split(6), split(3)
    made = from_hugging_face({"train": train, "test": test})
    np.testing.assert_array_equal(made.train.image, x)
    np.testing.assert_array_equal(made.test.image, u)
    assert made.train.label.tolist() == [0, 1, 2, 0, 1, 2]
    task = tasks.make("images", dataset={"train": train, "validation": test}, batch_size=2)
    assert task.train["image"].shape == (6, 5, 4, 3)


def test_other_columns_and_splits_are_named():
    (x, train), (_, held_out) = (split(n, image="photo", label="kind") for n in (6, 3))
    sets = {"train": train, "held_out": held_out}
    made = from_hugging_face(sets, image="photo", label="kind", test="held_out")
    np.testing.assert_array_equal(made.train.image, x)
    for more, said in (
        ({}, r"no split to measure on, only train, held_out.*train_test_split"),
        ({"train": "all"}, "no split 'all', only train, held_out"),
        ({"test": "held_out"}, "no column for the image, only photo, kind. Pass image="),
        ({"test": "held_out", "image": "photo"}, "no column for the label"),
    ):
        with pytest.raises(ValueError, match=said):
            from_hugging_face(sets, **more)


def test_images_of_several_sizes_are_refused_with_the_way_to_resize_them():
    mixed = Split(image=[np.zeros((4, 4), np.uint8), np.zeros((5, 4), np.uint8)], label=[0, 1])
    with pytest.raises(ValueError, match=r"\(4, 4\), \(5, 4\).*resize"):
        from_hugging_face({"train": mixed, "test": mixed})
