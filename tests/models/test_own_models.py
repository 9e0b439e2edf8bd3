"""Networks of your own, by class or by place: Linen, NNX and Equinox, with batch norm and dropout."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from optaxaccel import models
from optaxaccel.models.own import model_of

X = np.random.default_rng(0).normal(3.0, 2.0, (16, 4, 4, 1)).astype(np.float32)


class Linen(nn.Module):
    classes: int
    rate: float = 0.5

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x.reshape(len(x), -1))
        return nn.Dense(self.classes)(nn.Dropout(self.rate, deterministic=not train)(x))


class Nnx(nnx.Module):
    def __init__(self, classes, input_shape, rate=0.5, *, rngs):
        size = int(np.prod(input_shape))
        self.norm = nnx.BatchNorm(size, momentum=0.9, rngs=rngs)
        self.drop = nnx.Dropout(rate, rngs=rngs)
        self.out = nnx.Linear(size, classes, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(self.norm(x.reshape(len(x), -1))))


class Equinox(eqx.Module):
    norm: eqx.nn.BatchNorm
    drop: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, classes, input_shape, rate=0.5, *, key):
        size = int(np.prod(input_shape))
        self.norm = eqx.nn.BatchNorm(size, axis_name="batch", momentum=0.9, mode="batch")
        self.drop = eqx.nn.Dropout(rate)
        self.out = eqx.nn.Linear(size, classes, key=key)

    def __call__(self, x, state, *, key=None):
        x, state = self.norm(x.ravel(), state)
        return self.out(self.drop(x, key=key)), state


class Plain(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes)(x.reshape(len(x), -1))


def in_sequence(classes):
    return nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(8), nn.relu, nn.Dense(classes)])


def with_dropout_first(classes):
    return nn.Sequential([Linen(8), nn.relu, nn.Dense(classes)])


CLASSES = {"linen": Linen, "nnx": Nnx, "equinox": Equinox}


@pytest.fixture(scope="module", autouse=True)
def known():
    for name, maker in CLASSES.items():
        models.register(f"test_{name}", maker)
    yield
    for name in CLASSES:
        models._CARDS.pop(f"test_{name}")
        models._OWN.pop(f"test_{name}")


def begun(name, **overrides):
    model = models.make(f"test_{name}", classes=3, input_shape=X.shape[1:], **overrides)
    apply = jax.jit(model.apply, static_argnames="train")
    return apply, jax.jit(model.init)(jax.random.key(0), X[:1])


@pytest.mark.parametrize("name", CLASSES)
def test_batch_norm_and_dropout_are_as_the_contract_says(name):
    apply, (params, state) = begun(name)
    assert sum(p.size for p in jax.tree.leaves(params)) == 16 + 16 + 16 * 3 + 3
    first, second, third = (apply(params, state, X, key=jax.random.key(k), train=True) for k in (1, 1, 2))
    assert first[0].shape == (16, 3)
    np.testing.assert_array_equal(first[0], second[0])
    assert np.abs(first[0] - third[0]).max() > 1e-3
    old, new = jax.tree.leaves(state), jax.tree.leaves(first[1])
    assert jax.tree.structure(state) == jax.tree.structure(first[1])
    assert max(np.abs(np.asarray(a, float) - np.asarray(b, float)).max() for a, b in zip(old, new, strict=True)) > 0.1
    still, same = apply(params, first[1], X)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), same, first[1]))
    np.testing.assert_array_equal(still, apply(params, first[1], X)[0])
    grad = jax.grad(lambda p: jnp.sum(apply(p, state, X, key=jax.random.key(1), train=True)[0] ** 2))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))


def test_the_three_agree_where_their_numbers_do():
    """Without dropout, in training, the output is the normalised batch times the kernel, whatever the library."""
    normal = (X.reshape(16, -1) - X.reshape(16, -1).mean(0)) / np.sqrt(X.reshape(16, -1).var(0) + 1e-5)
    for name in CLASSES:
        apply, (params, state) = begun(name, rate=0.0)
        kernel = next(p for p in jax.tree.leaves(params) if p.ndim == 2)
        want = normal @ (kernel if kernel.shape == (16, 3) else kernel.T)
        bias = apply(
            jax.tree.map(lambda p: 0 * p if p.ndim == 2 else p, params), state, X, key=jax.random.key(0), train=True
        )[0]
        got = apply(params, state, X, key=jax.random.key(0), train=True)[0] - bias
        np.testing.assert_allclose(got, want, atol=2e-4)


def test_a_network_by_its_place_and_what_is_refused(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(
        "import flax.linen as nn\n\n\nclass Net(nn.Module):\n    classes: int\n    width: int = 4\n\n    @nn.compact\n"
        "    def __call__(self, x, *, train=False):\n"
        "        return nn.Dense(self.classes)(nn.Dense(self.width)(x.reshape(len(x), -1)))\n"
        "\n\ndef three():\n    return 3\n"
    )
    model = models.make(f"{path}:Net", classes=3, input_shape=(4, 4, 1), width=2)
    params, _ = model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))
    assert sum(p.size for p in jax.tree.leaves(params)) == 16 * 2 + 2 + 2 * 3 + 3
    for place, said in {
        f"{path}:Nett": "has no 'Nett'",
        f"{path}:three": "made a int, and no network",
        "no_such_module:Net": "could not be imported",
    }.items():
        with pytest.raises(ValueError, match=said):
            models.make(place, classes=3, input_shape=(4, 4, 1))
    with pytest.raises(ValueError, match="the network takes"):
        models.make(f"{path}:three", classes=3, input_shape=(4, 4, 1), wide=2)
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        models.make("none.py:Net", classes=3)
    with pytest.raises(ValueError, match="there already"):
        models.register("cnn", Linen)


@pytest.mark.parametrize("make", [Plain, in_sequence])
def test_a_linen_module_needs_no_argument_train(make):
    model = model_of(make, classes=3, input_shape=X.shape[1:])
    params, state = model.init(jax.random.key(0), X[:1])
    evaluated, trained = (
        model.apply(params, state, X, key=jax.random.key(1), train=train)[0] for train in (False, True)
    )
    assert evaluated.shape == (16, 3)
    np.testing.assert_array_equal(evaluated, trained)


def test_a_sequence_tells_its_first_layer_whether_it_trains():
    model = model_of(with_dropout_first, classes=3, input_shape=X.shape[1:])
    params, state = model.init(jax.random.key(0), X[:1])
    first, second = (model.apply(params, state, X, key=jax.random.key(k), train=True)[0] for k in (1, 2))
    assert np.abs(first - second).max() > 1e-3
