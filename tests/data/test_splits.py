import pytest

from optaxaccel.data import splits

SIZES = {"train": 1000, "test": 10}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train", [("train", 0, 1000)]),
        ("train[:450]", [("train", 0, 450)]),
        ("train[450:]", [("train", 450, 1000)]),
        ("train[-10:]", [("train", 990, 1000)]),
        ("train[10%:20%]", [("train", 100, 200)]),
        ("train[-20%:]", [("train", 800, 1000)]),
        ("test[:25%]", [("test", 0, 2)]),
        ("train[:1] + test[9:]", [("train", 0, 1), ("test", 9, 10)]),
    ],
)
def test_notation_of_tfds(text, parts):
    assert splits.parse(text, SIZES) == parts


@pytest.mark.parametrize("text", ["train[5]", "train[a:b]", "train[:5", "", "train+", "train[1:2:3]"])
def test_wrong_notation_is_named(text):
    with pytest.raises(ValueError, match="cannot be read"):
        splits.parse(text, SIZES)


def test_unknown_and_empty_splits_are_named():
    with pytest.raises(ValueError, match=r"no split 'valid'. There are: train \(1,000\), test \(10\)"):
        splits.parse("valid", SIZES)
    for text in ("train[:1001]", "train[-1001:]", "test[:110%]"):
        with pytest.raises(ValueError, match="is beyond the"):
            splits.parse(text, SIZES)
    with pytest.raises(ValueError, match="is empty"):
        splits.parse("train[50:50]", SIZES)


def test_overlap_is_refused():
    splits.refuse_overlap("train[:900]", "train[900:]", SIZES)
    splits.refuse_overlap("train[:900]", "test", SIZES)
    with pytest.raises(ValueError, match="share 100 images"):
        splits.refuse_overlap("train[:900]", "train[800:]+test", SIZES)


@pytest.mark.parametrize(
    "text", ["train[:17]", "train[33%:66%]", "train[-7:]", "train[-50%:]", "train[:5%]", "train[25%:]"]
)
@pytest.mark.parametrize("size", [30, 50, 50_001])
def test_same_images_as_tfds(text, size):
    from tensorflow_datasets.core import splits as theirs

    info = theirs.SplitInfo(name="train", shard_lengths=[size], num_bytes=0)
    absolute = theirs.ReadInstruction.from_spec(text).to_absolute({"train": info})
    [part] = absolute
    assert splits.parse(text, {"train": size}) == [("train", part.from_ or 0, size if part.to is None else part.to)]
