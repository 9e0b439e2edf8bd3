"""The plain loop of studies: what it trains is what one would train by hand, alone or together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optaxaccel.training.many import minibatches

SETTINGS = [{"rate": 0.1}, {"rate": 0.5}]
SEEDS = (3, 4)


def problem():
    random = np.random.default_rng(0)
    x = random.normal(size=(10, 3)).astype(np.float32)
    y = (x @ random.normal(size=(3, 2))).argmax(1)
    logits = lambda w, x: x @ w  # noqa: E731
    return minibatches.Problem(
        lambda key: jax.random.normal(key, (3, 2)),
        lambda w, x, y: minibatches.cross_entropy(logits(w, x), y),
        lambda w, x, y: jnp.mean(jnp.argmax(logits(w, x), -1) != y),
        (x[:7], y[:7]),
        (x[7:], y[7:]),
    )


def trained(**more):
    return minibatches.train(
        lambda s: optax.sgd(s["rate"], momentum=0.9),
        problem(),
        SETTINGS,
        seeds=SEEDS,
        epochs=2,
        batch_size=3,
        watch=lambda state: state[0].trace,
        keep=True,
        **more,
    )


@pytest.fixture(scope="module")
def runs():
    return trained()


def softmax_gradient(w, x, y):
    p = np.exp(x @ w - (x @ w).max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return x.T @ (p - np.eye(2)[y]) / len(y)


def test_it_trains_every_setting_with_every_seed_as_one_would_by_hand(runs):
    (x, y), (x_test, y_test) = problem().train, problem().test
    for i, setting in enumerate(SETTINGS):
        for j, seed in enumerate(SEEDS):
            key = jax.random.key(seed)
            w, trace = np.asarray(problem().init(jax.random.fold_in(key, 0)), float), np.zeros((3, 2))
            assert runs.error[i, j, 0] == pytest.approx(np.mean((x_test @ w).argmax(1) != y_test))
            for epoch in range(2):
                order = np.asarray(jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, 1), epoch), 7))
                for step in range(2):  # the seventh image is left out of the epoch
                    at = order[3 * step : 3 * step + 3]
                    trace = 0.9 * trace + softmax_gradient(w, x[at], y[at])
                    w = w - setting["rate"] * trace
                    np.testing.assert_allclose(runs.watched[i, j, epoch, step], trace, atol=1e-6)
                np.testing.assert_allclose(runs.kept[i, j, epoch + 1], w, atol=1e-6)
                logp = x @ w - np.log(np.exp(x @ w).sum(1, keepdims=True))
                assert runs.train_loss[i, j, epoch + 1] == pytest.approx(-logp[np.arange(7), y].mean(), abs=1e-6)
                assert runs.error[i, j, epoch + 1] == pytest.approx(np.mean((x_test @ w).argmax(1) != y_test))


@pytest.mark.parametrize("together", [1, 3])
def test_runs_that_go_together_are_the_same_alone(runs, together):
    for one, other in zip(jax.tree.leaves(runs), jax.tree.leaves(trained(together=together)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_tuning_sees_no_image_of_the_test_set():
    tuning = problem().held_out(0.3)
    assert (len(tuning.train[0]), len(tuning.test[0])) == (5, 2)
    np.testing.assert_array_equal(np.concatenate([tuning.train[0], tuning.test[0]]), problem().train[0])


def test_squared_error_and_pooled_images():
    outputs = jnp.array([[1.0, 0.5], [0.0, 0.0]])
    assert float(minibatches.squared_error(outputs, jnp.array([0, 1]))) == pytest.approx((0.25 + 1.0) / 4)
    whole, halved = (minibatches.images("digits", "mlp", train=4, test=3, pool=p, hidden=(2,)) for p in (1, 2))
    assert halved.train[0].shape == (4, 4, 4, 1)
    assert halved.train[0][1, 0, 1, 0] == pytest.approx(whole.train[0][1, :2, 2:4, 0].mean(), abs=1e-6)


def test_a_batch_of_more_than_all_images_is_refused():
    with pytest.raises(ValueError, match="batch_size=8 is more than the 7 training images"):
        minibatches.train(lambda s: optax.sgd(0.1), problem(), [{}], seeds=[1], epochs=1, batch_size=8)
