"""Image folders as people have them: 16 bits, transparency, nested and hidden folders, parts that do not fit."""

import numpy as np
import pytest
from PIL import Image

from optaxaccel import data

RNG = np.random.default_rng(0)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def grey(*low_high):
    return RNG.integers(*low_high, (8, 8)).astype(np.uint8)


def by_class(made):
    """Return the images of each class, of both parts, sorted."""
    image = np.concatenate([made.train.image, made.test.image])
    label = np.concatenate([made.train.label, made.test.label])
    return [sorted(one.tobytes() for one in image[label == k]) for k in range(made.classes)]


def sorted_bytes(images):
    return sorted(one.tobytes() for one in images)


@pytest.mark.parametrize("bits", [16, 12, 8])
def test_grey_images_of_16_bits_keep_their_highest_8(bits, tmp_path):
    saved = []
    for k in range(5):
        pixels = RNG.integers(0, 2**bits, (8, 8)).astype(np.uint16)
        pixels[0, 0] = 2**bits - 1
        saved.append(save(tmp_path / "dark" / f"{k}.png", pixels))
        save(tmp_path / "light" / f"{k}.png", pixels)
    made = data.load(str(tmp_path))
    assert made.train.image.shape == (8, 8, 8, 1)
    assert by_class(made)[0] == sorted_bytes((pixels >> (bits - 8)).astype(np.uint8) for pixels in saved)
    assert made.note == f"10 grey images of {bits} bits, of which the highest 8 are taken"


def test_a_shape_in_the_transparency_alone_is_seen(tmp_path):
    saved = []
    for k in range(5):
        pixels = np.zeros((8, 8, 4), np.uint8)
        pixels[..., 3] = grey(0, 256)
        saved.append(save(tmp_path / "a" / f"{k}.png", pixels))
        save(tmp_path / "b" / f"{k}.png", np.full((8, 8, 4), 255, np.uint8))
    made = data.load(str(tmp_path))
    assert by_class(made)[0] == sorted_bytes(saved)
    assert "fourth channel" in made.note
    for path in (tmp_path / "a").iterdir():
        save(path, np.full((8, 8, 4), 255, np.uint8))  # none is transparent now
    made = data.load(str(tmp_path))
    assert (made.train.image.shape, made.note) == ((8, 8, 8, 3), "")


def test_the_class_is_the_first_folder_and_hidden_ones_are_passed_over(tmp_path):
    cats = [save(tmp_path / "cats" / place / f"{k}.png", grey(0, 256)) for k in range(3) for place in ("", "more")]
    dogs = [save(tmp_path / "dogs" / place / f"{k}.png", grey(0, 256)) for k in range(3) for place in ("", "cats")]
    for hidden in (".trash/cats/1.png", "cats/.thumbnails/1.png", "cats/._1.png"):
        save(tmp_path / hidden, grey(0, 256))
    (tmp_path / "notes").mkdir()  # without images: no class
    assert by_class(data.load(str(tmp_path))) == [sorted_bytes(cats), sorted_bytes(dogs)]


def test_parts_that_do_not_fit_are_refused_with_the_remedy(tmp_path):
    for part in ("train", "testing"):
        for k in range(4):
            save(tmp_path / part / ("cats" if k % 2 else "dogs") / f"{k}.png", grey(0, 256))
    with pytest.raises(ValueError, match=r"hold images .*testing, train.*below train and test"):
        data.load(str(tmp_path))
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match=r"test holds no images in sub-folders.*cats/1\.png.*a fifth"):
        data.load(str(tmp_path))
    save(tmp_path / "test" / "cats" / "1.png", grey(0, 256))
    assert data.load(str(tmp_path)).test.label.tolist() == [0]
    save(tmp_path / "test" / "birds" / "1.png", grey(0, 256))
    with pytest.raises(ValueError, match=r"classes that .*train lacks: birds \(1 images\)"):
        data.load(str(tmp_path))
