"""Every family shrunk, and what the tests of the zoo do with a net."""

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel import models

CLASSES = 5
# name: (model, overrides that shrink it, input shape); every family with every kind of block, head and stem
SHRUNK = {
    "mlp": ("mlp", {"hidden": (4,)}, (8, 8, 1)),
    "deep_linear": ("deep_linear", {"hidden": (4,)}, (8, 8, 1)),
    "cnn": ("cnn", {"width": 1 / 8}, (8, 8, 1)),
    "nin": ("nin", {"width": 1 / 32}, (8, 8, 3)),
    "alexnet": ("alexnet", {"width": 1 / 32, "initialiser": "he"}, (63, 63, 3)),
    "vgg": ("vgg11", {"width": 1 / 16}, (32, 32, 3)),
    "vgg_bn": ("vgg16_bn_cifar", {"width": 1 / 32, "blocks": (1, 1, 1, 1, 2)}, (32, 32, 3)),
    "resnet_v2": ("resnet34_v2_cifar", {"width": 1 / 16, "blocks": (1, 1), "remat": True}, (8, 8, 3)),
    "resnet_bottleneck": ("resnet50", {"width": 1 / 16, "blocks": (1, 1)}, (32, 32, 3)),
    "resnet_cifar": ("resnet20_cifar", {"width": 1 / 4, "blocks": (1, 1)}, (8, 8, 3)),
    "densenet": ("densenet121", {"growth": 4, "blocks": (1, 1)}, (32, 32, 3)),
    "densenet40": ("densenet40", {"growth": 4, "blocks": (1, 1), "dropout": 0.2}, (8, 8, 3)),
}
WITH_DROPOUT = {"nin", "alexnet", "vgg", "densenet40"}
WITH_BATCH_NORM = {name for name in SHRUNK if "resnet" in name or "densenet" in name or "bn" in name}


def shrunk(name, **more):
    model, overrides, shape = SHRUNK[name]
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    return models.make(model, classes=CLASSES, input_shape=shape, **{**overrides, **more}), x


def start(model, x):
    """Return parameters and state as `init` would, drawn by NumPy, which has nothing to compile."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        kind = path[-1].key
        if kind == "kernel":
            return rng.normal(size=leaf.shape, scale=(2 / np.prod(leaf.shape[:-1])) ** 0.5).astype(leaf.dtype)
        return np.full(leaf.shape, kind in ("scale", "var"), leaf.dtype)

    params, net_state, _ = shapes(model, x.shape[1:])
    return jax.tree.map_with_path(draw, (params, net_state))


def shapes(model, shape):
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    return *jax.eval_shape(model.init, jax.random.key(0), x), x


def training_step(model):
    def loss(params, net_state, x, key):
        logits, net_state = model.apply(params, net_state, x, key=key, train=True)
        return -jax.nn.log_softmax(logits)[:, 0].mean(), (logits, net_state)

    return jax.value_and_grad(loss, has_aux=True)


def largest(tree):
    return [float(np.abs(leaf).max()) for leaf in jax.tree.leaves(jax.device_get(tree))]
