"""What the network sees: normalised, augmented by known rules, by each image's own draw."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilation import SHIPPED

from optaxaccel import data
from optaxaccel.data import augment

from .sets import pixels

KEY = jax.random.key(3)


@functools.cache
def compiled(**options):
    # As users get it: two programs of the quick compiler round multiplication and addition apart or in one.
    return jax.jit(lambda image, key: data.prepare(image, key=key, **options), compiler_options=SHIPPED)


def prepare(image, key=KEY, **options):
    """Prepare in compiled code, as training does; operation by operation it would take seconds to compile."""
    return compiled(**options)(image, key)


@functools.cache
def applied(transform):
    return jax.jit(transform)


def batch(n=64, shape=(32, 32, 3)):
    return jnp.asarray(pixels(n, shape))


def test_normalises_by_channel_and_by_pixel():
    image = batch(4, (6, 5, 3))
    scaled = np.asarray(image, np.float64) / 255
    by_channel = data.prepare(image, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    np.testing.assert_allclose(by_channel, (scaled - [0.1, 0.2, 0.3]) / [0.5, 1.0, 2.0], atol=1e-6)
    mean = scaled.mean(0)
    np.testing.assert_allclose(data.prepare(image, mean=mean), scaled - mean, atol=1e-6)
    assert by_channel.dtype == jnp.float32
    assert prepare(image, dtype=jnp.bfloat16).dtype == jnp.bfloat16


def test_augments_only_in_training():
    image = batch()
    plain = prepare(image)
    for name in augment.AUGMENTATIONS:
        np.testing.assert_array_equal(prepare(image, augment=name), plain)
        changed = prepare(image, augment=name, train=True)
        assert bool((changed == plain).all()) == (name == "none")
        assert changed.shape == plain.shape


def shifts(image, moved, reach):
    """Return (rows, columns) by which each image was moved, with zeros filled in."""
    offsets = []
    for one, other in zip(np.asarray(image), np.asarray(moved), strict=True):
        height, width, _ = one.shape
        padded = np.pad(one, ((reach[0],) * 2, (reach[1],) * 2, (0, 0)))
        options = [
            (r, c)
            for r in range(2 * reach[0] + 1)
            for c in range(2 * reach[1] + 1)
            if np.array_equal(padded[r : r + height, c : c + width], other)
        ]
        assert len(options) == 1
        offsets.append(options[0])
    return np.array(offsets)


def test_translation_moves_whole_images_by_up_to_an_eighth():
    image = prepare(batch(400), mean=0.5)
    offsets = shifts(image, applied(augment.translate)(KEY, image), (4, 4))
    for axis in range(2):
        counts = np.bincount(offsets[:, axis], minlength=9)
        assert len(counts) == 9
        assert counts.min() >= 20  # 44 expected
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.15


def test_translation_of_images_that_are_not_square():
    image = prepare(batch(50, (8, 16, 1)), mean=0.5)
    offsets = shifts(image, applied(augment.translate)(KEY, image), (1, 2))
    assert (offsets.max(0), offsets.min(0))[0].tolist() == [2, 4]


def test_flip_mirrors_half():
    image = prepare(batch(400, (8, 8, 3)))
    flipped = applied(augment.flip)(KEY, image)
    mirrored = (flipped == image[:, :, ::-1]).all((1, 2, 3))
    kept = (flipped == image).all((1, 2, 3))
    assert bool((mirrored ^ kept).all())
    assert 160 < int(mirrored.sum()) < 240


def test_crop_flip_is_a_translation_and_a_flip():
    image = prepare(batch(40), mean=0.5)
    moved = applied(augment.crop_flip)(KEY, image)
    first, second = (applied(augment.translate)(jax.random.fold_in(KEY, 0), image), jax.random.fold_in(KEY, 1))
    np.testing.assert_array_equal(moved, applied(augment.flip)(second, first))


def test_cutout_blanks_half_the_side_around_any_pixel():
    image = jnp.ones((300, 32, 32, 3))
    cut = np.asarray(applied(augment.cutout)(KEY, image))
    rows, columns = (cut == 0).any((2, 3)).sum(1), (cut == 0).any((1, 3)).sum(1)
    assert rows.max() == columns.max() == 16
    assert rows.min() >= 8  # a corner: half of the square lies outside
    np.testing.assert_array_equal((cut == 0).sum((1, 2, 3)), rows * columns * 3)
    assert ((cut == 0).mean((0, 3)) > 0.05).all()  # every pixel is cut now and then


def test_augmentations_join_in_order():
    image = batch(16)
    joined = prepare(image, augment="flip+cutout", train=True, mean=0.5)
    flipped = prepare(image, augment="flip", train=True, mean=0.5)
    kept = joined != 0
    np.testing.assert_array_equal(joined[kept], flipped[kept])
    assert augment.parse("none") == ()


def test_draws_differ_by_image_and_key_and_repeat():
    image = jnp.broadcast_to(batch(1), (32, 32, 32, 3))
    one = prepare(image, augment="crop_flip", train=True)
    np.testing.assert_array_equal(one, prepare(image, augment="crop_flip", train=True))
    assert len({np.asarray(each).tobytes() for each in one}) > 25
    other = prepare(image, jax.random.key(4), augment="crop_flip", train=True)
    assert not np.array_equal(one, other)


def test_devices_change_nothing():
    image = batch(16)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.device_put(image, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    one, other = (prepare(x, augment="crop_flip+cutout", train=True, mean=0.5) for x in (split, image))
    assert one.sharding.spec == jax.sharding.PartitionSpec("data")
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_wrong_names_and_missing_keys_are_named():
    with pytest.raises(ValueError, match=r"augment='crop\+flop': 'crop' is unknown"):
        prepare(batch(1), augment="crop+flop", train=True)
    with pytest.raises(ValueError, match="needs randomness"):
        prepare(batch(1), None, augment="flip", train=True)


def test_order_is_a_permutation_of_seed_and_epoch_alone():
    orders = [np.asarray(data.epoch_order(seed, epoch, 1000)) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert order.dtype == np.int32
        np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert len({order.tobytes() for order in orders}) == 4
    traced = jax.jit(data.epoch_order, static_argnums=2)(jnp.uint32(1), jnp.int32(1), 1000)
    np.testing.assert_array_equal(traced, orders[3])


def test_order_does_not_depend_on_settings():
    order = np.asarray(data.epoch_order(5, 2, 50))
    # written down once: a run of today must see the same batches when it is resumed by a later version
    assert order[:8].tolist() == [26, 27, 11, 25, 0, 19, 45, 28]
    with jax.enable_x64(True):
        wide = data.epoch_order(5, 2, 50)
        assert wide.dtype == jnp.int32
        np.testing.assert_array_equal(wide, order)
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(data.epoch_order(5, 2, 50), order)
