"""Photographs, cropped while training: the same ones at a step, whatever reads them."""

import itertools

import numpy as np
import pytest

from optaxaccel.data import crops, stream

from .sets import encode

N = 25


@pytest.fixture(autouse=True)
def photographs(prepared_set):
    rng = np.random.default_rng(0)
    made = [rng.integers(0, 256, (int(h), int(w), 3), dtype=np.uint8) for h, w in rng.integers(20, 60, (N, 2))]
    stored = [encode(image) for image in made]
    prepared_set(
        "photos",
        shape=(-1, -1, 3),
        classes=N,
        sizes={"train": N, "validation": 10},
        images={"train": stored, "validation": stored[:10]},
        labels={"train": list(range(N)), "validation": list(range(10))},
    )
    return made


def read(split="train", *, batch_size=6, train=True, size=16, **options):
    return list(stream.batches("photos", split=split, batch_size=batch_size, train=train, size=size, **options))


def equal(one, two):
    return len(one) == len(two) and all(
        np.array_equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_an_epoch_visits_every_image_once():
    assert stream.steps_per_epoch("photos", split="train", batch_size=6) == 4
    batches = read(stop=8)
    for epoch in (batches[:4], batches[4:]):
        seen = np.concatenate([batch.label for batch in epoch])
        assert len(set(seen.tolist())) == 24  # one of 25 is dropped
    assert batches[0].image.shape == (6, 16, 16, 3)
    assert [part.dtype for part in batches[0]] == [np.uint8, np.int32, np.float32]
    orders = [tuple(np.concatenate([b.label for b in e])) for e in (batches[:4], batches[4:])]
    assert orders[0] != orders[1]


def test_resumes_at_any_step():
    whole = read(stop=9)
    assert equal(read(start=5, stop=9), whole[5:])
    assert not equal(read(stop=9, seed=1), whole)


def test_threads_change_nothing():
    assert equal(read(stop=6, threads=1), read(stop=6, threads=7))


@pytest.mark.slow
def test_workers_change_nothing():
    assert equal(read(stop=4), read(stop=4, workers=2))


def test_processes_share_each_batch():
    whole = read(stop=5)
    halves = [read(stop=5, process=(index, 2)) for index in range(2)]
    for step, batch in enumerate(whole):
        for part, (one, two) in zip(batch, zip(halves[0][step], halves[1][step], strict=True), strict=True):
            np.testing.assert_array_equal(part[0::2], one)
            np.testing.assert_array_equal(part[1::2], two)


def test_evaluation_is_one_pass_in_order_filled_up():
    batches = read("validation", batch_size=4, train=False)
    assert len(batches) == 3
    label = np.concatenate([batch.label for batch in batches])
    weight = np.concatenate([batch.weight for batch in batches])
    assert label.tolist() == [*range(10), 9, 9]
    assert weight.tolist() == [1.0] * 10 + [0.0] * 2
    shares = [read("validation", batch_size=4, train=False, process=(index, 2)) for index in range(2)]
    assert [len(share) for share in shares] == [3, 3]  # or one process would wait for the other for ever


def test_splits_join_and_slice():
    batches = read("train[20:]+validation[:3]", batch_size=4, train=False)
    assert np.concatenate([batch.label for batch in batches]).tolist() == [20, 21, 22, 23, 24, 0, 1, 2]


def test_central_crop_is_the_centre(photographs):
    from PIL import Image

    image = Image.fromarray(np.full((64, 128, 3), 7, np.uint8))
    image.paste((200, 200, 200), (64 - 28, 4, 64 + 28, 60))  # the central 56 x 56 of a short side of 64
    assert (crops.crop_image(image, size=56, draw=None) == 200).all()
    assert not (crops.crop_image(image, size=56, draw=np.random.default_rng(0)) == 200).all()


@pytest.mark.parametrize("crop", ["random_resized", "resize:16", "resize:17-40"])
def test_crops_stay_inside_and_vary(photographs, crop):
    from PIL import Image

    image = Image.fromarray(photographs[0])
    made = [crops.crop_image(image, size=16, crop=crop, draw=np.random.default_rng(seed)) for seed in range(20)]
    assert all(each.shape == (16, 16, 3) for each in made)
    assert len({each.tobytes() for each in made}) > 5


def test_random_resized_boxes_follow_their_law():
    draw = np.random.default_rng(0)
    boxes = np.array([crops._random_resized_box(draw, 500, 400) for _ in range(2000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 500
    assert boxes[:, 3].max() <= 400
    area, ratio = width * height / (500 * 400), width / height
    assert 0.07 < area.min() < 0.09
    assert area.max() > 0.95
    assert 0.74 < ratio.min() < 0.77
    assert 1.30 < ratio.max() < 1.35
    long = np.array([crops._random_resized_box(draw, 1000, 10) for _ in range(50)])
    assert (long[:, 2] - long[:, 0] <= 10 * 4 / 3 + 1e-9).all()


def test_flip_can_be_left_out():
    from PIL import Image

    ramp = Image.fromarray(np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None], (32, 32, 3)).copy())
    for flip, expected in ((False, {True}), (True, {True, False})):
        made = [
            crops.crop_image(ramp, size=16, crop="resize:16", flip=flip, draw=np.random.default_rng(seed))
            for seed in range(20)
        ]
        assert {bool(each[0, 0, 0] < each[0, -1, 0]) for each in made} == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"crop": "resize"}, "crop='resize' is unknown"),
        ({"crop": "resize:8"}, "leaves less than size=16"),
        ({"crop": "resize:40-20"}, "leaves less"),
        ({"batch_size": 26}, "exceeds the 25 images"),
        ({"batch_size": 5, "process": (0, 2)}, "an equal share"),
        ({"process": (2, 2)}, "an equal share"),
        ({"split": "test"}, "no split 'test'"),
        ({"train": False, "stop": 9}, "beyond the 5 batches"),
    ],
)
def test_bad_input_is_refused_before_the_first_image(options, says):
    with pytest.raises(ValueError, match=says):
        read(**({"stop": 1} | options))


def test_a_corrupt_image_is_named(prepared_set, photographs):
    stored = [encode(image) for image in photographs]
    stored[3] = stored[3][:50]
    prepared_set("broken", shape=(-1, -1, 3), sizes={"train": N}, images={"train": stored})
    with pytest.raises(ValueError, match="image 3 of split 'train' cannot be decoded"):
        list(stream.batches("broken", split="train", batch_size=5, train=False, size=16))


def test_prefetch_keeps_the_order_and_stays_ahead():
    put = []
    waiting = stream.prefetch(iter(range(6)), put=lambda x: put.append(x) or x, ahead=2)
    assert next(waiting) == 0
    assert put == [0, 1, 2]
    assert list(waiting) == [1, 2, 3, 4, 5]
    endless = stream.prefetch(itertools.count(), put=lambda x: x)
    assert list(itertools.islice(endless, 3)) == [0, 1, 2]
