"""Training steps of networks against plain JAX and PyTorch, and gradients of convolutions inside control flow.

The plain JAX network is what one writes first: `lax.conv` and `lax.reduce_window` on one device. Ours runs on as many
CPU devices as there are cores, as the command line does. PyTorch runs with as many threads, in its faster memory
format. The limit is the time that all multiplications take at the speed of a large matrix product.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.measure import Donated, Row, alternate, interleave, rows_of, second_call
from optaxaccel import models
from optaxaccel.models.convolution import Geometry, conv

BATCH = 128
RATE = 1e-4


def run(rounds: int) -> list[Row]:
    """Return one row a variant; the ResNet's step takes seconds, so it gets few rounds."""
    return [
        *_cnn(max(5, rounds // 2)),
        *_resnet(max(3, rounds // 12)),
        *_control_flow(max(5, rounds // 2)),
    ]


# --- Whole steps ------------------------------------------------------------------------------------------------------


def _cnn(rounds: int) -> list[Row]:
    x, label = _images(BATCH, 32)
    net = models.make("cnn", classes=10, input_shape=x.shape[1:])
    params, state = net.init(jax.random.key(0), x[:1])

    def ours(params, state, x):
        logits, state = net.apply(params, state, x, train=True)
        return logits, state

    def naive(params, state, x):
        return _plain_cnn(params, x), state

    variants = {
        "plain JAX, one device": _stepper(naive, params, state, x, label),
        "ours, one device": _stepper(ours, params, state, x, label),
        "ours, a device a core": _stepper(ours, params, state, x, label, devices=os.cpu_count()),
        **_torch_step("cnn", x, label),
    }
    peak = _peak()
    flops = 3 * 2 * BATCH * (32 * 32 * 75 * 32 + 16 * 16 * 288 * 64 + 8 * 8 * 576 * 64 + 1024 * 10)
    title = f"training step, three-convolution network, 32x32x3, batch {BATCH}"
    timings = interleave(variants, rounds=rounds)
    rows = rows_of(title, timings, goals={"ours, a device a core": 0.40})
    rows.append(_limit_row(title, flops / peak, timings["plain JAX, one device"].seconds))
    return rows + _against_torch(title, variants, timings, "ours, a device a core", 1.2, rounds)


def _resnet(rounds: int) -> list[Row]:
    batch = 32
    x, label = _images(batch, 32)
    net = models.make("resnet18_cifar", classes=10, input_shape=x.shape[1:])
    params, state = net.init(jax.random.key(0), x[:1])

    def ours(params, state, x):
        logits, state = net.apply(params, state, x, train=True)
        return logits, state

    torch_step = _torch_step("resnet18", x, label)
    variants = {"ours, a device a core": _stepper(ours, params, state, x, label, devices=os.cpu_count()), **torch_step}
    title = f"training step, ResNet-18 with a CIFAR stem, batch {batch}"
    timings = interleave(variants, rounds=rounds)
    rows = rows_of(title, timings)
    flops = 3 * 2 * batch * 0.5564e9  # multiplications and additions of a forward pass at 32x32
    rows.append(_limit_row(title, flops / _peak(), timings["ours, a device a core"].seconds))
    return rows + _against_torch(title, variants, timings, "ours, a device a core", 2.0, rounds)


def _against_torch(title, variants, timings, name: str, goal: float, rounds: int) -> list[Row]:
    """Return our ratio to PyTorch's step; the two take turns, each after a step of its own that does not count.

    After PyTorch's step its threads spin for a while and take a core from whatever comes next: directly behind it our
    step takes 29 ms; where they sleep instead (OMP_WAIT_POLICY=PASSIVE) 26, and PyTorch's own step 27 instead of 25.
    """
    peer = next((v for v in variants if v.startswith("PyTorch")), None)
    if peer is None:
        return [{"benchmark": title, "variant": "PyTorch: not installed (pip install '.[bench]')"}]
    pair = alternate({v: second_call(variants[v]) for v in (peer, name)}, rounds=rounds)
    return rows_of(f"{title}, against PyTorch", pair, goals={name: goal})


def _limit_row(title: str, seconds: float, reference: float) -> Row:
    return {
        "benchmark": title,
        "variant": "limit: its multiplications at the speed of a large matrix product",
        "ms": 1e3 * seconds,
        "ratio": seconds / reference,
    }


def _peak() -> float:
    """Return the floating-point operations a second of a large float32 matrix product, the best of a few."""
    n = 2048
    a = jnp.ones((n, n))
    product = jax.jit(lambda a: a @ a)
    timing = interleave({"product": lambda: product(a)}, rounds=5)["product"]
    return 2 * n**3 / timing.seconds


def _images(batch: int, side: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    return (
        jnp.asarray(rng.normal(size=(batch, side, side, 3)).astype(np.float32)),
        jnp.asarray(rng.integers(0, 10, batch)),
    )


def _stepper(forward: Callable, params, state, x, label, devices: int | None = 1) -> Donated:
    """Compile a step of SGD with momentum on a number of devices, the batch cut over them."""
    mesh = jax.make_mesh((devices or 1,), ("data",), devices=jax.devices()[: devices or 1], axis_types=_AUTO)
    whole, cut = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("data")))
    tx = optax.sgd(RATE, momentum=0.9)

    def loss(params, state, x, label):
        logits, state = forward(params, state, x)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label)), state

    def step(carry, x, label):
        params, state, opt_state = carry
        grads, state = jax.grad(loss, has_aux=True)(params, state, x, label)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state

    carry = jax.device_put(jax.tree.map(jnp.copy, (params, state, tx.init(params))), whole)
    return Donated(step, carry, *jax.device_put((x, label), cut))


_AUTO = (jax.sharding.AxisType.Auto,)


def _plain_cnn(params, x: jax.Array) -> jax.Array:
    layers = [params[f"Conv_{i}"] for i in range(3)]
    for layer in layers:
        x = lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + layer["bias"])
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return x.reshape(x.shape[0], -1) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def _torch_step(which: str, x: jax.Array, label: jax.Array) -> dict[str, Callable[[], None]]:
    """Return PyTorch's step on the same images, or nothing where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return {}
    torch, nn = importlib.import_module("torch"), importlib.import_module("torch.nn")
    torch.set_num_threads(os.cpu_count() or 1)
    net = _torch_cnn(nn) if which == "cnn" else _torch_resnet18(torch, nn)
    net = net.to(memory_format=torch.channels_last)
    images = torch.from_numpy(np.array(x).transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(np.array(label)).long()
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(net(images), labels).backward()
        optimiser.step()

    return {"PyTorch, channels_last, a thread a core": step}


def _torch_cnn(nn):
    layers = []
    for i, o, size in ((3, 32, 5), (32, 64, 3), (64, 64, 3)):
        layers += [nn.Conv2d(i, o, size, padding=size // 2), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 10))


def _torch_resnet18(torch, nn):
    class Block(nn.Module):
        def __init__(self, i, o, stride):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(i, o, 3, stride, 1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(),
                nn.Conv2d(o, o, 3, 1, 1, bias=False),
                nn.BatchNorm2d(o),
            )
            self.shortcut = nn.Identity()
            if stride > 1 or i != o:
                self.shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

        def forward(self, x):
            return torch.relu(self.body(x) + self.shortcut(x))

    layers, channels = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for stage, o in enumerate((64, 128, 256, 512)):
        for block in range(2):
            layers.append(Block(channels, o, 2 if stage and not block else 1))
            channels = o
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


# --- Convolutions in control flow -------------------------------------------------------------------------------------


def _control_flow(rounds: int) -> list[Row]:
    """Time the gradient of one convolution inside a branch and inside a loop against straight-line code."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(BATCH, 16, 16, 32)).astype(np.float32))
    kernel = jnp.asarray(rng.normal(size=(3, 3, 32, 64)).astype(np.float32))

    def grad(x, kernel):
        return jax.grad(lambda x, k: jnp.sum(jnp.square(conv(x, k, Geometry()))), argnums=(0, 1))(x, kernel)

    straight = jax.jit(grad)
    branch = jax.jit(lambda go, x, k: lax.cond(go, grad, lambda x, k: (x, k), x, k))
    loop = jax.jit(lambda n, x, k: lax.fori_loop(0, n, lambda _, carry: grad(*carry), (x, k)))
    variants = {
        "straight-line": lambda: straight(x, kernel),
        "inside lax.cond": lambda: branch(True, x, kernel),
        "inside lax.fori_loop": lambda: loop(1, x, kernel),
    }
    goals = {"inside lax.cond": 1.2, "inside lax.fori_loop": 1.2}
    title = "gradient of a 3x3 convolution, 128x16x16x32 to 64 channels"
    return rows_of(title, interleave(variants, rounds=rounds), goals=goals)
